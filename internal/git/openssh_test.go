package git_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

// TestOpenSSH follows a repository by the machine's own sshd, with keys that ssh-keygen made.
func TestOpenSSH(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts sshd for each connection")
	}
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	w.commit("main", write("f", "1"))
	server, err := w.host.ServeOpenSSH()
	if errors.Is(err, gitserver.ErrNoOpenSSH) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{
		"ed25519": string(must(server.Key("ed25519", "ed25519", ""))(t)),
		"ecdsa":   string(must(server.Key("ecdsa", "ecdsa", ""))(t)),
		"rsa":     string(must(server.Key("rsa", "rsa", "", "-b", "3072"))(t)),
		"pem":     string(must(server.Key("pem", "rsa", "", "-m", "PEM"))(t)),
		"pkcs8":   string(must(server.Key("pkcs8", "ecdsa", "", "-m", "PKCS8"))(t)),
		"locked":  string(must(server.Key("locked", "ed25519", "open sesame"))(t)),
		"crlf":    strings.ReplaceAll(string(must(server.Key("crlf", "ed25519", ""))(t)), "\n", "\r\n"),
		"no end":  strings.TrimSpace(string(must(server.Key("no end", "ed25519", ""))(t))),
	}
	names := []string{"ed25519", "ecdsa", "rsa", "pem", "pkcs8", "locked", "crlf", "no end"}
	if err := server.Allow(names...); err != nil {
		t.Fatal(err)
	}
	all := string(must(server.KnownHosts(false, "ed25519", "ecdsa", "rsa"))(t))
	req := w.request(git.Reference{Branch: "main"})
	for _, name := range names {
		req.URL = server.URL(w.repo)
		w.follow(w.with(req, secret("identity", keys[name], "known_hosts", all, "password", "open sesame")))
	}
	for _, c := range []struct {
		kind   string
		hashed bool
	}{{"ed25519", false}, {"ecdsa", false}, {"rsa", false}, {"rsa", true}} {
		req.URL = server.Short(w.repo)
		known := string(must(server.KnownHosts(c.hashed, c.kind))(t))
		w.follow(w.with(req, secret("identity", keys["ed25519"], "known_hosts", known)))
	}
	second := w.commit("main", write("f", "2"))
	if got := w.follow(w.with(req, secret("identity", keys["rsa"], "known_hosts", all))); got.Hash != second {
		t.Errorf("followed %s, want %s", got.Hash, second)
	}

	if err := server.Allow("rsa"); err != nil {
		t.Fatal(err)
	}
	w.fails(git.ErrAuthenticationFailed, w.with(req, secret("identity", keys["ed25519"], "known_hosts", all)))
	good := secret("identity", keys["rsa"], "known_hosts", all)
	req.URL = strings.Replace(server.URL(w.repo), "config.git", "nothing.git", 1)
	w.fails(git.ErrRepositoryNotFound, w.with(req, good))
}
