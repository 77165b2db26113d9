package signature_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/google/go-cmp/cmp"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/skerry-dev/skerry/internal/signature"
)

// fixtureTime is after the fixtures were signed, by gpg 2.2 and ssh-keygen 9.2 through git 2.39.
var fixtureTime = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	return must(os.ReadFile(filepath.Join("testdata", name)))(t)
}

func object(t testing.TB, name string, raw []byte) signature.Object {
	t.Helper()
	if strings.HasSuffix(name, ".tag") {
		return must(signature.Tag(raw))(t)
	}
	return must(signature.Commit(raw))(t)
}

// TestRealSignaturesAreVerified holds what git itself made with gpg and with ssh-keygen: commits, tags, and a
// merge commit that carries a signed tag in a header of its own.
func TestRealSignaturesAreVerified(t *testing.T) {
	const pgp, sshKey = "37773CCAE23590CC", "SHA256:"
	for _, c := range []struct{ object, keys, want string }{
		{"gpg.commit", "gpg.asc", pgp},
		{"gpg.tag", "gpg.asc", pgp},
		{"ssh.commit", "ssh.sshpub", sshKey},
		{"ssh.tag", "ssh.sshpub", sshKey},
		{"merge.commit", "ssh.sshpub", sshKey},
		{"ssh.commit", "allowed_signers", sshKey},
	} {
		t.Run(c.object+" by "+c.keys, func(t *testing.T) {
			keys := must(signature.ParseKeys(map[string][]byte{c.keys: fixture(t, c.keys)}))(t)
			raw := fixture(t, c.object)
			got := must(keys.Verify(object(t, c.object, raw), fixtureTime))(t)
			if !strings.HasPrefix(got, c.want) {
				t.Errorf("verified by %s, want %s", got, c.want)
			}
			// Each byte that is changed is noticed, headers and message alike.
			for at := 0; at < len(raw); at += 7 {
				changed := bytes.Clone(raw)
				changed[at] ^= 1
				var o signature.Object
				var err error
				if strings.HasSuffix(c.object, ".tag") {
					o, err = signature.Tag(changed)
				} else {
					o, err = signature.Commit(changed)
				}
				if err != nil {
					continue
				}
				same := bytes.Equal(o.Payload, object(t, c.object, raw).Payload)
				if _, err := keys.Verify(o, fixtureTime); err == nil && !same {
					t.Fatalf("a change of byte %d is not noticed", at)
				}
			}
		})
	}
}

func TestOtherKeysAreNamed(t *testing.T) {
	pgp := must(signature.ParseKeys(map[string][]byte{"a.asc": fixture(t, "gpg.asc")}))(t)
	sshKeys := must(signature.ParseKeys(map[string][]byte{"a.sshpub": fixture(t, "ssh.sshpub")}))(t)
	for _, c := range []struct {
		keys         signature.Keys
		object, want string
	}{
		{pgp, "ssh.commit", "is signed by the SSH key SHA256:"},
		{sshKeys, "gpg.commit", "is signed by the PGP key F5CED8ED3738C9AC, which is not among the trusted ones, or may not sign"},
		{sshKeys, "gpg.tag", "is signed by the PGP key F5CED8ED3738C9AC, which is not among the trusted ones, or may not sign"},
	} {
		_, err := c.keys.Verify(object(t, c.object, fixture(t, c.object)), fixtureTime)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: got %v", c.object, err)
		}
	}
}

const plainCommit = "tree b53003bdb9612ba56a1859c112dadf0195dcacc7\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nmessage\n"

// signed puts an armored signature into a commit.
func signed(commit, armored string) []byte {
	head, message, _ := strings.Cut(commit, "\n\n")
	return []byte(head + "\ngpgsig " + strings.ReplaceAll(strings.TrimSpace(armored), "\n", "\n ") + "\n\n" + message)
}

// pgpKey makes a key, signs plainCommit with it, and returns its public part after the change.
func pgpKey(t *testing.T, c *packet.Config, change func(*openpgp.Entity)) (public []byte, signature string) {
	t.Helper()
	e := must(openpgp.NewEntity("A", "", "a@example.com", c))(t)
	var s, b bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&s, e, strings.NewReader(plainCommit), c); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(e)
	}
	w := must(armor.Encode(&b, openpgp.PublicKeyType, nil))(t)
	if err := e.Serialize(w); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	return b.Bytes(), s.String()
}

func TestPGPSignaturesThatDoNotCount(t *testing.T) {
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	at := func(t time.Time) func() time.Time { return func() time.Time { return t } }
	ed := func(c packet.Config) *packet.Config { c.Algorithm, c.Time = packet.PubKeyAlgoEdDSA, at(now); return &c }
	for name, c := range map[string]struct {
		config *packet.Config
		change func(*openpgp.Entity)
		after  time.Duration
		want   string
	}{
		"good":              {config: ed(packet.Config{})},
		"expired key":       {config: ed(packet.Config{KeyLifetimeSecs: 3600}), after: 2 * time.Hour, want: "has expired"},
		"expired signature": {config: ed(packet.Config{SigLifetimeSecs: 3600}), after: 2 * time.Hour, want: "has expired"},
		"revoked key": {config: ed(packet.Config{}), want: "is revoked", change: func(e *openpgp.Entity) {
			if err := e.RevokeKey(packet.KeyCompromised, "", ed(packet.Config{})); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			public, armored := pgpKey(t, c.config, c.change)
			keys := must(signature.ParseKeys(map[string][]byte{"a.asc": public}))(t)
			_, err := keys.Verify(must(signature.Commit(signed(plainCommit, armored)))(t), now.Add(c.after))
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if _, err := keys.Verify(must(signature.Commit(signed(strings.Replace(plainCommit, "message", "other", 1), armored)))(t), now); err == nil {
				t.Error("another message passes")
			}
		})
	}
}

func TestWeakPGPKeyIsRefused(t *testing.T) {
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	c := &packet.Config{RSABits: 1024, Time: func() time.Time { return now }}
	t.Setenv("GODEBUG", "rsa1024min=0") // or Go makes no such key
	public, armored := pgpKey(t, c, nil)
	keys := must(signature.ParseKeys(map[string][]byte{"a.asc": public}))(t)
	_, err := keys.Verify(must(signature.Commit(signed(plainCommit, armored)))(t), now)
	if err == nil || !strings.Contains(err.Error(), "has fewer than 2048 bits") {
		t.Errorf("got %v", err)
	}
}

// TestWeakHashIsRefused has what gpg signed with SHA-1.
func TestWeakHashIsRefused(t *testing.T) {
	keys := must(signature.ParseKeys(map[string][]byte{"a.asc": fixture(t, "sha1.asc")}))(t)
	_, err := keys.Verify(object(t, "sha1.commit", fixture(t, "sha1.commit")), fixtureTime)
	if err == nil || !strings.Contains(err.Error(), "that is weak") {
		t.Errorf("got %v", err)
	}
}

func sshKey(t *testing.T, private any) (public string, sign func(payload, namespace string) string) {
	t.Helper()
	s := must(ssh.NewSignerFromKey(private))(t)
	return string(ssh.MarshalAuthorizedKey(s.PublicKey())), func(payload, namespace string) string {
		sig := must(sshsig.Sign(strings.NewReader(payload), s, sshsig.HashSHA512, namespace))(t)
		return string(sshsig.Armor(sig))
	}
}

func TestSSHSignaturesThatDoNotCount(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	_, private, _ := ed25519.GenerateKey(rand.Reader)
	public, sign := sshKey(t, private)
	weak, signWeak := sshKey(t, must(rsa.GenerateKey(rand.Reader, 1024))(t))
	strong, signStrong := sshKey(t, must(rsa.GenerateKey(rand.Reader, 2048))(t))
	for name, c := range map[string]struct {
		keys, signature, want string
	}{
		"good":                      {public, sign(plainCommit, "git"), ""},
		"RSA":                       {strong, signStrong(plainCommit, "git"), ""},
		"among others":              {"# people\n\n" + strong + public, sign(plainCommit, "git"), ""},
		"allowed signer":            {"a@example.com,*@example.org " + public, sign(plainCommit, "git"), ""},
		"allowed signer of options": {`a@example.com namespaces="file,git",valid-after="20260101Z" ` + public, sign(plainCommit, "git"), ""},
		"a file's signature":        {public, sign(plainCommit, "file"), "not one for Git"},
		"another object":            {public, sign("else", "git"), "is not valid"},
		"weak key":                  {weak, signWeak(plainCommit, "git"), "has fewer than 2048 bits"},
		"expired":                   {`a@example.com valid-before="20260101" ` + public, sign(plainCommit, "git"), "has expired"},
		"not yet valid":             {`a@example.com valid-after="20270101" ` + public, sign(plainCommit, "git"), "not yet valid"},
		"not for Git":               {`a@example.com namespaces="file" ` + public + strong, sign(plainCommit, "git"), "not among the trusted ones"},
		"garbage":                   {public, "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----", "cannot be read"},
		"X.509":                     {public, "-----BEGIN SIGNED MESSAGE-----\nAAAA\n-----END SIGNED MESSAGE-----", "X.509"},
		"unknown":                   {public, "hello", "unknown format"},
	} {
		t.Run(name, func(t *testing.T) {
			keys := must(signature.ParseKeys(map[string][]byte{"authorized_keys": []byte(c.keys)}))(t)
			_, err := keys.Verify(must(signature.Commit(signed(plainCommit, c.signature)))(t), now)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestUnsignedIsRefused(t *testing.T) {
	keys := must(signature.ParseKeys(map[string][]byte{"a.asc": fixture(t, "gpg.asc")}))(t)
	inMessage := strings.Replace(plainCommit, "message", string(signed(plainCommit, "-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----")), 1)
	for _, raw := range []string{plainCommit, inMessage} {
		if _, err := keys.Verify(must(signature.Commit([]byte(raw)))(t), fixtureTime); err == nil || err.Error() != "is not signed" {
			t.Errorf("got %v", err)
		}
	}
}

// TestAnObjectWithTwoSignaturesIsRefused: two readers could take different ones.
func TestAnObjectWithTwoSignaturesIsRefused(t *testing.T) {
	twice := signed(string(signed(plainCommit, "-----BEGIN PGP SIGNATURE-----\n\nA\n-----END PGP SIGNATURE-----")), "-----BEGIN PGP SIGNATURE-----\n\nB\n-----END PGP SIGNATURE-----")
	for _, raw := range []string{string(twice), "tree x", " continued\n\n", "object a\nobject b\ntype commit\ntag v1\n\nm\n"} {
		if o, err := signature.Tag([]byte(raw)); err == nil {
			t.Errorf("%q is read as %+v", raw, o)
		}
	}
	if _, err := signature.Commit(twice); err == nil {
		t.Error("two gpgsig headers are taken")
	}
}

func TestTagNamesItsTarget(t *testing.T) {
	o := must(signature.Tag(fixture(t, "gpg.tag")))(t)
	o.Payload, o.Signature = nil, ""
	want := signature.Object{Target: "1f62423", TargetType: "commit", Name: "v1.0.0"}
	o.Target = o.Target[:7]
	if diff := cmp.Diff(want, o); diff != "" {
		t.Error(diff)
	}
}

func TestKeysThatCannotBeRead(t *testing.T) {
	gpg, sshPub := string(fixture(t, "gpg.asc")), string(fixture(t, "ssh.sshpub"))
	for name, c := range map[string]struct {
		data map[string]string
		want string
	}{
		"empty":              {nil, "it holds no public key"},
		"armor cut off":      {map[string]string{"a.asc": gpg[:200]}, "key a.asc holds a PGP public key that cannot be read"},
		"SSH under asc":      {map[string]string{"a.asc": sshPub}, "key a.asc holds no PGP public key that can be read"},
		"PGP under sshpub":   {map[string]string{"a.sshpub": gpg}, "key a.sshpub line 1 is no SSH public key"},
		"garbage":            {map[string]string{"x": "hello"}, "key x line 1 is no SSH public key"},
		"private":            {map[string]string{"x.sshpub": "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA"}, "key x.sshpub holds a private key: only public keys belong there"},
		"certificate of CA":  {map[string]string{"allowed_signers": "*@example.com cert-authority " + sshPub}, "key allowed_signers line 1 is a certificate authority, which is not supported: give the public keys themselves"},
		"time without sense": {map[string]string{"allowed_signers": `a@example.com valid-before="soon" ` + sshPub}, "key allowed_signers line 1 has a time that cannot be read"},
		"empty file":         {map[string]string{"a.sshpub": "# nobody\n"}, "key a.sshpub holds no SSH public key"},
		"one bad line":       {map[string]string{"a.sshpub": sshPub + "ssh-ed25519 AAAA\n"}, "key a.sshpub line 2 is no SSH public key"},
	} {
		t.Run(name, func(t *testing.T) {
			data := map[string][]byte{}
			for k, v := range c.data {
				data[k] = []byte(v)
			}
			_, err := signature.ParseKeys(data)
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestKeysOfAnyNameAndNumber: Flux takes a PGP key under any name, and people keep several in one file.
func TestKeysOfAnyNameAndNumber(t *testing.T) {
	other, _ := pgpKey(t, &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA}, nil)
	for name, data := range map[string]map[string][]byte{
		"any name":   {"author1": fixture(t, "gpg.asc")},
		"second":     {"all.asc": append(append(bytes.Clone(other), '\n'), fixture(t, "gpg.asc")...)},
		"other file": {"a.asc": other, "b.asc": fixture(t, "gpg.asc"), "c.sshpub": fixture(t, "ssh.sshpub")},
	} {
		keys := must(signature.ParseKeys(data))(t)
		if _, err := keys.Verify(object(t, "gpg.commit", fixture(t, "gpg.commit")), fixtureTime); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	a := must(signature.ParseKeys(map[string][]byte{"a.asc": other}))(t)
	b := must(signature.ParseKeys(map[string][]byte{"a.asc": fixture(t, "gpg.asc")}))(t)
	if a.Sum == b.Sum {
		t.Error("a rotation is not seen")
	}
}
