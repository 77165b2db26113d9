package git_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/skerry-dev/skerry/internal/git"
)

// TestKnownHostsAsPeopleHaveThem connects with each known_hosts that names the server's key somewhere.
func TestKnownHostsAsPeopleHaveThem(t *testing.T) {
	t.Parallel()
	w := newSSHWorld(t)
	w.commit("main", write("f", "1"))
	own := strings.TrimSpace(string(w.ssh.KnownHosts()))
	host, key, _ := strings.Cut(own, " ")
	hashed := knownhosts.HashHostname(host) + " " + key
	other := strings.TrimSpace(ecdsaLine(w.ssh.Addr()))
	future := host + " ssh-future AAAACnNzaC1mdXR1cmUAAAAg"
	for name, content := range map[string]string{
		"hashed":                          hashed,
		"hashed, with others":             "|1|bm9ib2R5AAAAAAAAAAAAAAAAAAA=|bm9ib2R5AAAAAAAAAAAAAAAAAAA= " + key + "\n" + hashed,
		"comments and empty lines":        "# from ssh-keyscan\n\n   # indented\n" + own + " admin@example.com a comment\n#end",
		"another type of key first":       other + "\n" + own,
		"another key of the type first":   host + " " + ed25519Line(t) + "\n" + own,
		"CRLF":                            "# windows\r\n" + other + "\r\n" + own + "\r\n",
		"CR alone":                        other + "\r" + own + "\r",
		"byte order mark":                 "\ufeff" + own,
		"tabs":                            strings.ReplaceAll(own, " ", "\t"),
		"type of key that nobody knows":   future + "\n" + own,
		"garbage":                         "<html>Not Found</html>\n" + own,
		"key cut off":                     host + " ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA\n" + own,
		"key of another type than it is":  strings.Replace(own, "ssh-ed25519", "ssh-rsa", 1) + "\n" + own,
		"options of authorized_keys":      "no-pty,command=\"x y\" " + key + "\n" + own,
		"wildcard":                        "* " + key,
		"several hosts":                   "git.example,[10.0.0.1]:2222," + host + " " + key,
		"negation without a host":         "! " + key + "\n" + own,
		"broken hash":                     "|1|***|*** " + key + "\n" + own,
		"hash of another kind":            "|2|aaaa|bbbb " + key + "\n" + own,
		"authority of other hosts":        "@cert-authority *.example.com " + ed25519Line(t) + "\n" + own,
		"authority of all hosts":          "@cert-authority * " + ed25519Line(t) + "\n" + own,
		"marker that nobody knows":        "@future * " + key + "\n" + own,
		"two markers":                     "@cert-authority @revoked * " + key + "\n" + own,
		"another key revoked":             "@revoked * " + ed25519Line(t) + "\n" + own,
		"key of an unknown type revoked":  "@revoked * " + strings.TrimPrefix(future, host+" ") + "\n" + own,
		"IPv6 of another host, no port":   "[2001:db8::1 " + key + "\n" + own,
		"same line twice":                 own + "\n" + own,
		"line of OpenSSH's -t all output": "; comment of another program\n" + own,
	} {
		t.Run(name, func(t *testing.T) {
			req := w.request(git.Reference{Branch: "main"})
			w.follow(w.with(req, secret("identity", string(must(w.ssh.Identity(""))(t)), "known_hosts", content)))
		})
	}
	for name, content := range map[string]string{
		"the key itself revoked": "@revoked * " + key + "\n" + own,
		"negated":                "*,!" + host + " " + key,
		"only another key":       host + " " + ed25519Line(t),
	} {
		t.Run(name, func(t *testing.T) {
			req := w.request(git.Reference{Branch: "main"})
			w.fails(git.ErrHostKeyRefused, w.with(req, secret("identity", string(must(w.ssh.Identity(""))(t)), "known_hosts", content)))
		})
	}
	t.Run("lines that were ignored are named", func(t *testing.T) {
		req := w.request(git.Reference{Branch: "main"})
		content := "# comment\n" + future + "\ngit.example " + key + "\ngarbage\n"
		got := w.fails(git.ErrHostKeyRefused, w.with(req, secret("identity", string(must(w.ssh.Identity(""))(t)), "known_hosts", content)))
		if !strings.Contains(got, "line 2 and 1 other cannot be read") {
			t.Errorf("message is %q", got)
		}
	})
}

// ed25519Line is the key half of a line, with a key that no server has.
func ed25519Line(t *testing.T) string {
	t.Helper()
	return "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
}

// TestHostCertificates: the kind of an authority's key says nothing about the kind of the host's.
func TestHostCertificatesMayBeOfAnotherTypeThanTheirAuthority(t *testing.T) {
	authority := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	signer := must(ssh.NewSignerFromKey(authority))(t)
	line := "@cert-authority *.example.com " + string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
	known := must(git.ReadKnownHosts([]byte(line), t.TempDir()))(t)
	algorithms := strings.Join(must(known.Algorithms("git.example.com:22"))(t), " ")
	for _, want := range []string{ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoRSASHA512v01} {
		if strings.Count(algorithms, want) != 1 {
			t.Errorf("asked for %s", algorithms)
		}
	}
}
