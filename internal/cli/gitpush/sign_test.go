package gitpush_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skerry-dev/skerry/internal/cli/gitpush"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

// program runs a real program, for which a test is skipped where it is not there.
func program(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not there", name)
	}
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(gitserver.Env(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// signed pushes a commit that is signed, and returns its repository.
func signed(t *testing.T, sign gitpush.Signer) *gitserver.Repo {
	t.Helper()
	h := gitserver.New(t)
	repo, err := h.Repo("fleet")
	if err != nil {
		t.Fatal(err)
	}
	server, err := h.ServeHTTP(gitserver.HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	remote, err := gitpush.Open(server.URL(repo), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	seen, err := remote.Fetch(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	next, err := seen.Write(map[string][]byte{"a/b": []byte("c")}, gitpush.Author{Name: "Ann", Email: "ann@example.com", When: time.Now(), Sign: sign}, "Let there be\n\na commit.")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Push(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	return repo
}

// TestGPGSignatureIsGoodToGitAndGPG, with a key that real gpg has made and exported, by id and with a passphrase.
func TestGPGSignatureIsGoodToGitAndGPG(t *testing.T) {
	home, err := os.MkdirTemp("", "gpg") //nolint:usetesting // a socket in t.TempDir() would have too long a name
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"GNUPGHOME=" + home}
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		_ = os.RemoveAll(home)
	})
	// Else the agent finds out how often it can hash a passphrase in a tenth of a second, and what reads the keys does it
	// as often.
	if err := os.WriteFile(filepath.Join(home, "gpg-agent.conf"), []byte("s2k-count 65536\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	gpg := func(args ...string) string {
		t.Helper()
		return program(t, env, "gpg", append([]string{"--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "open sesame"}, args...)...)
	}
	gpg("--quick-generate-key", "Other <other@example.com>", "ed25519", "cert", "never")
	gpg("--quick-generate-key", "Bob <bob@example.com>", "rsa2048", "sign", "never")
	gpg("--quick-generate-key", "Ann <ann@example.com>", "ed25519", "sign", "never")
	id := func(of string) string {
		for line := range strings.Lines(gpg("--list-keys", "--with-colons", of)) {
			if fields := strings.Split(line, ":"); fields[0] == "fpr" {
				return fields[9]
			}
		}
		t.Fatal("no fingerprint of " + of)
		return ""
	}
	ring := []byte(gpg("--export-secret-keys"))
	armored := []byte(gpg("--armor", "--export-secret-keys", "ann@example.com"))
	for name, tt := range map[string]struct {
		ring []byte
		id   string
		by   string
	}{
		"the first that can sign": {ring, "", "bob@example.com"},
		"by fingerprint":          {ring, id("ann@example.com"), "ann@example.com"},
		"by short id":             {ring, "0x" + strings.ToLower(id("ann@example.com")[32:]), "ann@example.com"},
		"armored":                 {armored, "", "ann@example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			sign, err := gitpush.PGPSigner(tt.ring, tt.id, []byte("open sesame"), time.Now)
			if err != nil {
				t.Fatal(err)
			}
			repo := signed(t, sign)
			said := program(t, env, "git", "-C", repo.Dir(), "verify-commit", "-v", "main")
			if !strings.Contains(said, "Good signature from") || !strings.Contains(said, tt.by) {
				t.Errorf("git says:\n%s", said)
			}
		})
	}
	for name, tt := range map[string]struct {
		ring           []byte
		id, passphrase string
		want           error
		says           string
	}{
		"no passphrase":        {ring, "", "", gitpush.ErrPassphraseMissing, ""},
		"a wrong passphrase":   {ring, "", "wrong", gitpush.ErrPassphrase, ""},
		"another key":          {ring, "0123456789ABCDEF", "open sesame", gitpush.ErrSigningKey, id("ann@example.com")[24:]},
		"a short id":           {ring, "01", "open sesame", gitpush.ErrSigningKey, "at least 8 digits"},
		"public keys":          {[]byte(gpg("--export")), "", "open sesame", gitpush.ErrSigningKey, "has no private key for signing"},
		"a key that certifies": {[]byte(gpg("--export-secret-keys", "other@example.com")), "", "open sesame", gitpush.ErrSigningKey, "has no private key for signing"},
		"no key ring":          {[]byte("junk"), "", "", gitpush.ErrSigningKey, "is not a PGP key ring"},
	} {
		if _, err := gitpush.PGPSigner(tt.ring, tt.id, []byte(tt.passphrase), time.Now); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %v, %q", name, err, tt.want, tt.says)
		}
	}
}

// TestSSHSignatureIsGoodToGitAndSSHKeygen, with keys that real ssh-keygen has made.
func TestSSHSignatureIsGoodToGitAndSSHKeygen(t *testing.T) {
	dir := t.TempDir()
	// The smallest key of each kind; one round, as what makes guesses at the passphrase slow makes the test slow.
	for kind, bits := range map[string]string{"ed25519": "256", "ecdsa": "256", "rsa": "2048"} {
		t.Run(kind, func(t *testing.T) {
			file := filepath.Join(dir, kind)
			program(t, nil, "ssh-keygen", "-q", "-t", kind, "-b", bits, "-a", "1", "-N", "open sesame", "-C", "ann", "-f", file)
			private, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			public, err := os.ReadFile(file + ".pub")
			if err != nil {
				t.Fatal(err)
			}
			sign, err := gitpush.SSHSigner(private, []byte("open sesame"))
			if err != nil {
				t.Fatal(err)
			}
			repo := signed(t, sign)
			allowed := filepath.Join(dir, "allowed_signers")
			if err := os.WriteFile(allowed, fmt.Appendf(nil, "ann@example.com %s", public), 0o600); err != nil {
				t.Fatal(err)
			}
			said := program(t, nil, "git", "-C", repo.Dir(), "-c", "gpg.ssh.allowedSignersFile="+allowed, "verify-commit", "-v", "main")
			if !strings.Contains(said, `Good "git" signature for ann@example.com`) {
				t.Errorf("git says:\n%s", said)
			}
			if _, err := gitpush.SSHSigner(private, nil); !errors.Is(err, gitpush.ErrPassphraseMissing) {
				t.Errorf("no passphrase: %v", err)
			}
			if _, err := gitpush.SSHSigner(private, []byte("wrong")); !errors.Is(err, gitpush.ErrPassphrase) {
				t.Errorf("a wrong passphrase: %v", err)
			}
			if _, err := gitpush.SSHSigner(public, nil); !errors.Is(err, gitpush.ErrSigningKey) || bytes.Contains([]byte(err.Error()), public) {
				t.Errorf("a public key: %v", err)
			}
		})
	}
}
