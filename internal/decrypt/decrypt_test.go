package decrypt

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/ProtonMail/go-crypto/openpgp"
	pgparmor "github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	sopsage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/keys"
	"github.com/getsops/sops/v3/pgp"
	"golang.org/x/crypto/ssh"

	"github.com/skerry-dev/skerry/internal/render"
)

// canary is what no message may hold.
const canary = "hunter2-canary"

// newAge returns a recipient and the Secret that opens what is encrypted for it.
func newAge(t *testing.T) (recipient string, secret map[string][]byte) {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return identity.Recipient().String(), map[string][]byte{"id.agekey": []byte("# created: today\n" + identity.String() + "\n")}
}

func ageKey(t *testing.T, recipient string) keys.MasterKey {
	t.Helper()
	key, err := sopsage.MasterKeyFromRecipient(recipient)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// encrypt does what the command sops does. Keys that are encrypted beforehand stay as they are.
func encrypt(t *testing.T, plain string, f render.Format, regex string, master ...keys.MasterKey) []byte {
	t.Helper()
	branches, err := store(f).LoadPlainFile([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	tree := sops.Tree{Branches: branches, Metadata: sops.Metadata{KeyGroups: []sops.KeyGroup{master}, EncryptedRegex: regex, Version: "3.13.3"}}
	if regex == "" {
		tree.Metadata.UnencryptedSuffix = sops.DefaultUnencryptedSuffix
	}
	dataKey := bytes.Repeat([]byte{7}, 32)
	if _, err := rand.Read(dataKey); err != nil {
		t.Fatal(err)
	}
	for _, key := range master {
		if err := sealKey(key, dataKey); err != nil {
			t.Fatal(err)
		}
	}
	cipher := aes.NewCipher()
	mac, err := tree.Encrypt(dataKey, cipher)
	if err != nil {
		t.Fatal(err)
	}
	tree.Metadata.LastModified = time.Unix(1e9, 0).UTC()
	if tree.Metadata.MessageAuthenticationCode, err = cipher.Encrypt(mac, dataKey, tree.Metadata.LastModified.Format(time.RFC3339)); err != nil {
		t.Fatal(err)
	}
	out, err := store(f).EmitEncryptedFile(tree)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sealKey(key keys.MasterKey, dataKey []byte) error {
	if sealForService(key, dataKey) {
		return nil
	}
	if pgpKey, ok := key.(*pgp.MasterKey); ok {
		entity := pgpEntities[pgpKey.Fingerprint]
		var b bytes.Buffer
		armored, err := pgparmor.Encode(&b, "PGP MESSAGE", nil)
		if err != nil {
			return err
		}
		w, err := openpgp.Encrypt(armored, []*openpgp.Entity{entity}, nil, nil, nil)
		if err != nil {
			return err
		}
		if _, err := w.Write(dataKey); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		if err := armored.Close(); err != nil {
			return err
		}
		pgpKey.EncryptedKey = b.String()
		return nil
	}
	if len(key.EncryptedDataKey()) > 0 {
		return nil
	}
	return key.Encrypt(dataKey)
}

var pgpEntities = map[string]*openpgp.Entity{}

func mustParse(t *testing.T, secret map[string][]byte) *Keys {
	t.Helper()
	k, err := Parse("sops-keys", secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestEveryFormatComesBackAsItWas(t *testing.T) {
	recipient, secret := newAge(t)
	k := mustParse(t, secret)
	for f, plain := range map[render.Format]string{
		render.FormatYAML:   "# a comment\na: " + canary + "\nb: 12345678901234567\nc: true\nd: 1.5\ne: [1, x, null]\nf:\n    g: \"004\"\n    h: |\n        two\n        lines\n---\nsecond: document\n",
		render.FormatJSON:   `{"a":"` + canary + `","b":12345678901234567,"c":[true,null,{"d":1.5}],"e":"\u00e4"}`,
		render.FormatDotenv: "# a comment\nA=" + canary + "\nB=with = and \"quotes\"\nEMPTY=\n",
		render.FormatINI:    "[default]\na = " + canary + "\n\n[other]\nb = 2\n",
		render.FormatBinary: "\x00\x01 any bytes " + canary,
	} {
		file := encrypt(t, plain, f, "", ageKey(t, recipient))
		if bytes.Contains(file, []byte(canary)) {
			t.Fatalf("%s is not encrypted:\n%s", f, file)
		}
		got, failed := k.open(t.Context(), file, f, f)
		if failed != nil {
			t.Errorf("%s: %v", f, failed)
			continue
		}
		branches, err := store(f).LoadPlainFile(got)
		want, _ := store(f).LoadPlainFile([]byte(plain))
		if err != nil || fmt.Sprint(branches) != fmt.Sprint(want) {
			t.Errorf("%s: %v\n%s\nwant\n%s", f, err, got, plain)
		}
		if f == render.FormatBinary && string(got) != plain {
			t.Errorf("binary: %q", got)
		}
	}
}

// TestEveryKindOfKeyOpensItsFile, those that a machine has by itself.
func TestEveryKindOfKeyOpensItsFile(t *testing.T) {
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	sshKey, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	pgpKey, pgpSecret := newPGP(t)
	recipient, ageSecret := newAge(t)
	for name, c := range map[string]struct {
		key    keys.MasterKey
		secret map[string][]byte
	}{
		"age":                    {ageKey(t, recipient), ageSecret},
		"age, post-quantum":      {ageKey(t, hybrid.Recipient().String()), map[string][]byte{"pq.agekey": []byte(hybrid.String())}},
		"age, with a key of SSH": {ageKey(t, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(sshKey)))), map[string][]byte{"ssh.agekey": pem.EncodeToMemory(block)}},
		"PGP":                    {pgpKey, map[string][]byte{"team.asc": pgpSecret}},
	} {
		file := encrypt(t, "a: "+canary+"\n", render.FormatYAML, "", c.key)
		got, failed := mustParse(t, c.secret).open(t.Context(), file, render.FormatYAML, render.FormatYAML)
		if failed != nil || string(got) != "a: "+canary+"\n" {
			t.Errorf("%s: %v %q", name, failed, got)
		}
		_, other := newAge(t)
		_, failed = mustParse(t, other).open(t.Context(), file, render.FormatYAML, render.FormatYAML)
		if failed == nil || failed.Reason != render.DecryptionFailed || failed.IsTransient() || !strings.Contains(failed.Message, c.key.ToString()[:min(40, len(c.key.ToString()))]) || !strings.Contains(failed.Message, "sops-keys has no key") {
			t.Errorf("%s, with another key: %v; want the recipient and the Secret", name, failed)
		}
	}
}

func newPGP(t *testing.T) (keys.MasterKey, []byte) {
	t.Helper()
	entity, err := openpgp.NewEntity("hub", "", "hub@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w, err := pgparmor.Encode(&b, openpgp.PrivateKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := entity.SerializePrivate(w, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	fingerprint := fmt.Sprintf("%X", entity.PrimaryKey.Fingerprint)
	pgpEntities[fingerprint] = entity
	return pgp.NewMasterKeyFromFingerprint(fingerprint), b.Bytes()
}

const secretManifest = `apiVersion: v1
kind: Secret
metadata:
    name: db
    namespace: shop
stringData:
    user: admin-` + canary + `
    password: ` + canary + `
`

// TestFileThatWasChangedIsRefused, wherever it was changed, also where it is not encrypted.
func TestFileThatWasChangedIsRefused(t *testing.T) {
	recipient, secret := newAge(t)
	k := mustParse(t, secret)
	file := string(encrypt(t, secretManifest, render.FormatYAML, "^(data|stringData)$", ageKey(t, recipient)))
	other := string(encrypt(t, secretManifest, render.FormatYAML, "^(data|stringData)$", ageKey(t, recipient)))
	lineOf := func(text, start string) string {
		for line := range strings.Lines(text) {
			if strings.HasPrefix(strings.TrimSpace(line), start) {
				return line
			}
		}
		t.Fatalf("no line %q in\n%s", start, text)
		return ""
	}
	swapped := strings.NewReplacer(
		lineOf(file, "user:"), strings.Replace(lineOf(file, "password:"), "password:", "user:", 1),
		lineOf(file, "password:"), strings.Replace(lineOf(file, "user:"), "user:", "password:", 1),
	).Replace(file)
	for name, changed := range map[string]string{
		"values swapped":                   swapped,
		"plain field changed":              strings.Replace(file, "name: db", "name: other", 1),
		"field added":                      strings.Replace(file, "    name: db", "    labels: {a: b}\n    name: db", 1),
		"value put in as text":             strings.Replace(file, lineOf(file, "user:"), "    user: mine\n", 1),
		"value removed":                    strings.Replace(file, lineOf(file, "user:"), "", 1),
		"MAC removed":                      strings.Replace(file, lineOf(file, "mac:"), "", 1),
		"MAC empty":                        strings.Replace(file, lineOf(file, "mac:"), "    mac: \"\"\n", 1),
		"MAC of another file":              strings.Replace(file, lineOf(file, "mac:"), lineOf(other, "mac:"), 1),
		"last modified at another time":    strings.Replace(file, lineOf(file, "lastmodified:"), "    lastmodified: \"2026-01-01T00:00:00Z\"\n", 1),
		"MAC declared to cover less":       strings.Replace(file, lineOf(file, "mac:"), lineOf(file, "mac:")+"    mac_only_encrypted: true\n", 1),
		"less declared to be encrypted":    strings.Replace(file, "^(data|stringData)$", "^(data)$", 1),
		"one bit of a value":               strings.Replace(file, "user: ENC[AES256_GCM,data:", "user: ENC[AES256_GCM,data:AA", 1),
		"no recipient":                     file[:strings.Index(file, "    age:")] + file[strings.Index(file, "    lastmodified:"):],
		"recipients that are a text":       strings.Replace(file, lineOf(file, "age:"), "    age: text\n    old:\n", 1),
		"cut off in the part of SOPS":      file[:strings.Index(file, "    lastmodified:")],
		"cut off in the key for recipient": file[:strings.Index(file, "-----END AGE")],
	} {
		if changed == file {
			t.Fatalf("%s: nothing is changed", name)
		}
		got, failed := k.open(t.Context(), []byte(changed), render.FormatYAML, render.FormatYAML)
		if failed == nil || failed.Reason != render.DecryptionFailed || failed.IsTransient() {
			t.Errorf("%s: %v\n%s", name, failed, got)
		} else if strings.Contains(failed.Error(), canary) || strings.Contains(failed.Error(), "ENC[") {
			t.Errorf("%s: the message shows content: %s", name, failed)
		}
	}
	if _, failed := k.open(t.Context(), []byte(file), render.FormatYAML, render.FormatYAML); failed != nil {
		t.Errorf("unchanged: %v", failed)
	}
}

func TestSecretsThatCannotServeAreNamed(t *testing.T) {
	_, pgpSecret := newPGP(t)
	public := new(bytes.Buffer)
	list, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(pgpSecret))
	if err != nil {
		t.Fatal(err)
	}
	w, err := pgparmor.Encode(public, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := list[0].Serialize(w); err != nil {
		t.Fatal(err)
	}
	w.Close()
	for name, c := range map[string]struct{ key, value, want string }{
		"plugin":              {"a.agekey", "AGE-PLUGIN-YUBIKEY-1" + canary, "runs none"},
		"damaged identity":    {"a.agekey", "AGE-SECRET-KEY-1" + canary, "damaged"},
		"recipient":           {"a.agekey", "age1" + canary, "no age identity"},
		"key of SSH":          {"a.agekey", "-----BEGIN OPENSSH PRIVATE KEY-----\n" + canary, "private key of SSH"},
		"PGP":                 {"a.asc", canary, "no armored PGP key"},
		"public PGP":          {"a.asc", public.String(), "is a public key"},
		"AWS":                 {"sops.aws-kms", "aws_access_key_id: " + canary, "aws_secret_access_key"},
		"GCP reads a file":    {"sops.gcp-kms", `{"type":"external_account","credential_source":{"file":"/etc/passwd"},"x":"` + canary + `"}`, "service_account"},
		"GCP":                 {"sops.gcp-kms", canary, "service_account"},
		"Azure's own machine": {"sops.azure-kv", "clientId: " + canary, "must have tenantId"},
		"Azure":               {"sops.azure-kv", "{" + canary, "no YAML"},
	} {
		_, err := Parse("keys", map[string][]byte{c.key: []byte(c.value)})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "key "+c.key+" of the Secret keys ") || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v; want %q, the key and the Secret, and not the value", name, err, c.want)
		}
	}
	recipient, secret := newAge(t)
	secret["identity.txt"] = secret["id.agekey"]
	delete(secret, "id.agekey")
	_, failed := mustParse(t, secret).open(t.Context(), encrypt(t, "a: b\n", render.FormatYAML, "", ageKey(t, recipient)), render.FormatYAML, render.FormatYAML)
	if failed == nil || !strings.Contains(failed.Message, "identity.txt") {
		t.Errorf("a key of the Secret with a name that is not known: %v; want it named", failed)
	}
}

// TestSharedKeysAreLocal: credentials of a hub are not for files of any tenant.
func TestSharedKeysAreLocal(t *testing.T) {
	recipient, secret := newAge(t)
	secret[vaultTokenFile], secret[vaultAddressFile] = []byte("token"), []byte("https://vault.example.com")
	secret[awsFile] = []byte("aws_access_key_id: a\naws_secret_access_key: b\n")
	k := mustParse(t, secret).Local()
	if k.vaultToken != "" || k.aws != nil || k.gcp != nil || k.azure != nil {
		t.Error("the hub's credentials for a service are used")
	}
	file := encrypt(t, "a: b\n", render.FormatYAML, "", ageKey(t, recipient))
	if _, failed := k.open(t.Context(), file, render.FormatYAML, render.FormatYAML); failed != nil {
		t.Error(failed)
	}
}

func TestHostileFilesEnd(t *testing.T) {
	recipient, secret := newAge(t)
	k := mustParse(t, secret)
	file := string(encrypt(t, "a: b\n", render.FormatYAML, "", ageKey(t, recipient)))
	many := strings.Repeat("        - recipient: age1x\n          enc: x\n", 5000)
	for name, text := range map[string]string{
		"5,000 recipients": strings.Replace(file, "    age:\n", "    age:\n"+many, 1),
		"no document":      "",
		"a list":           "- a\n- sops: {mac: x}\n",
		"a scalar":         "text",
		"sops is a list":   "a: b\nsops: [mac]\n",
		"key is a map":     "{a: b}: c\nsops: {mac: x, lastmodified: \"2026-01-01T00:00:00Z\"}\n",
		"time is no time":  "a: b\nsops: {mac: x, lastmodified: yesterday}\n",
	} {
		for _, f := range []render.Format{render.FormatYAML, render.FormatJSON, render.FormatDotenv, render.FormatINI, render.FormatBinary} {
			if _, failed := k.open(t.Context(), []byte(text), f, f); failed == nil || len(failed.Message) > 2000 {
				t.Errorf("%s as %s: %v", name, f, failed)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, other := newAge(t)
	if _, failed := mustParse(t, other).open(ctx, []byte(file), render.FormatYAML, render.FormatYAML); failed == nil || !failed.IsTransient() {
		t.Errorf("while the hub stops: %v; want what may pass", failed)
	}
}
