package git_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

func secret(pairs ...string) map[string][]byte {
	s := map[string][]byte{}
	for i := 0; i < len(pairs); i += 2 {
		s[pairs[i]] = []byte(pairs[i+1])
	}
	return s
}

// with returns the request with the credentials of a Secret.
func (w *world) with(req git.Request, secret map[string][]byte) git.Request {
	w.Helper()
	req.Auth = must(git.ParseAuth(req.URL, secret))(w)
	return req
}

func TestBasicAuth(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{Username: "ann", Password: "pass word"}, git.Options{})
	w.commit("main", write("f", "1"))
	req := w.request(git.Reference{})
	w.fails(git.ErrAuthenticationFailed, req)
	w.fails(git.ErrAuthenticationFailed, w.with(req, secret("username", "ann", "password", "wrong")))
	w.follow(w.with(req, secret("username", "ann\n", "password", "pass word\n")))
}

func TestBearerToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{Token: "t0ken"}, git.Options{})
	w.commit("main", write("f", "1"))
	req := w.request(git.Reference{})
	w.fails(git.ErrAuthenticationFailed, req)
	w.fails(git.ErrAuthenticationFailed, w.with(req, secret("bearerToken", "wrong")))
	w.follow(w.with(req, secret("bearerToken", "t0ken\n")))
}

func TestCertificateAuthority(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{Username: "ann", Password: "secret", TLS: true}, git.Options{})
	w.commit("main", write("f", "1"))
	req := w.request(git.Reference{})
	if got := w.fails(git.ErrUnreachable, req); !strings.Contains(got, "certificate signed by an unknown authority") {
		t.Errorf("message is %q", got)
	}
	other := must(w.host.ServeHTTP(gitserver.HTTPOptions{TLS: true}))(t)
	w.fails(git.ErrUnreachable, w.with(req, secret("ca.crt", string(other.CA()))))
	w.fails(git.ErrAuthenticationFailed, w.with(req, secret("ca.crt", string(w.http.CA()))))
	good := w.with(req, secret("ca.crt", string(w.http.CA()), "username", "ann", "password", "secret"))
	w.follow(good)
	w.follow(w.with(req, secret("caFile", string(w.http.CA()), "username", "ann", "password", "secret")))
	// The authority was for those requests alone.
	w.fails(git.ErrUnreachable, req)

	good.URL = strings.Replace(w.http.URL(w.repo), "https://", "http://", 1)
	w.fails(git.ErrFetchFailed, good) // 400: plain HTTP to a TLS port
	plain := must(w.host.ServeHTTP(gitserver.HTTPOptions{}))(t)
	req.URL = strings.Replace(plain.URL(w.repo), "http://", "https://", 1)
	if got := w.fails(git.ErrUnreachable, req); !strings.Contains(got, "does not speak TLS") {
		t.Errorf("message is %q", got)
	}
}

func TestParseAuth(t *testing.T) {
	t.Parallel()
	h := gitserver.New(t)
	server := must(h.ServeSSH())(t)
	identity := string(must(server.Identity(""))(t))
	locked := string(must(server.Identity("pass"))(t))
	known := string(server.KnownHosts())
	const https, plain, sshURL = "https://git.example/r", "http://git.example/r", "ssh://git@git.example/r"
	for _, c := range []struct {
		name, url string
		secret    map[string][]byte
		want      string // of the error, empty for none
	}{
		{"nobody", https, nil, ""},
		{"basic", https, secret("username", "u", "password", "p"), ""},
		{"user alone", https, secret("username", "token"), ""},
		{"bearer", https, secret("bearerToken", "b"), ""},
		{"other keys beside", https, secret("username", "u", "password", "p", "note", "x"), ""},
		{"password alone", https, secret("password", "SECRET"), "invalid Secret: key username is missing"},
		{"both", https, secret("username", "u", "password", "SECRET", "bearerToken", "SECRET"), "invalid Secret: it has both bearerToken and username or password"},
		{"unknown keys", https, secret("token", "SECRET"), "invalid Secret: keys username and password, bearerToken, tls.crt and ca.crt are all missing (nothing reads token)"},
		{"token with a newline inside", https, secret("bearerToken", "SE\nCRET"), "invalid Secret: key bearerToken holds characters that a header cannot"},
		{"no certificate", https, secret("ca.crt", "SECRET"), "invalid Secret: key ca.crt holds no PEM certificate"},
		{"no certificate, old key", https, secret("caFile", "SECRET"), "invalid Secret: key caFile holds no PEM certificate"},
		{"password over http", plain, secret("username", "u", "password", "SECRET"), "invalid URL: credentials over http can be read on the way: use https"},
		{"token over http", plain, secret("bearerToken", "SECRET"), "invalid URL: credentials over http can be read on the way: use https"},
		{"password over loopback", "http://localhost:3000/r", secret("username", "u", "password", "p"), ""},
		{"ssh", sshURL, secret("identity", identity, "known_hosts", known, "identity.pub", "x"), ""},
		{"ssh, locked", sshURL, secret("identity", locked, "known_hosts", known, "password", "pass\n"), ""},
		{"ssh, comments in known_hosts", sshURL, secret("identity", identity, "known_hosts", "# hosts\n\n"+known+"# end"), ""},
		{"ssh without a secret", sshURL, nil, "invalid Secret: key identity is missing"},
		{"ssh without known_hosts", sshURL, secret("identity", identity), "invalid Secret: key known_hosts is missing"},
		{"ssh, empty known_hosts", sshURL, secret("identity", identity, "known_hosts", "\n"), "invalid Secret: key known_hosts is missing"},
		{"ssh, only comments", sshURL, secret("identity", identity, "known_hosts", "# none\n"), "invalid Secret: key known_hosts has no line with a host and its key"},
		{"ssh, nothing in known_hosts that can be read", sshURL, secret("identity", identity, "known_hosts", "git.example ssh-rsa SECRET\n"), "invalid Secret: key known_hosts has no line with a host and its key"},
		{"ssh, revocation that cannot be read", sshURL, secret("identity", identity, "known_hosts", known+"@revoked * ssh-rsa SECRET\n"), "invalid Secret: key known_hosts cannot be read at line 2: which key does it revoke?"},
		{"ssh, no key", sshURL, secret("identity", "SECRET", "known_hosts", known), "invalid Secret: key identity is not a private key in PEM"},
		{"ssh, public key", sshURL, secret("identity", string(server.PublicKey()), "known_hosts", known), "invalid Secret: key identity is not a private key in PEM"},
		{"ssh, locked, no password", sshURL, secret("identity", locked, "known_hosts", known), "invalid Secret: key password is missing: identity is encrypted"},
		{"ssh, locked, wrong password", sshURL, secret("identity", locked, "known_hosts", known, "password", "SECRET"), "invalid Secret: key password does not open identity"},
		{"ssh, PuTTY", sshURL, secret("identity", "PuTTY-User-Key-File-3: ssh-ed25519 SECRET", "known_hosts", known), "invalid Secret: key identity is one of PuTTY, which 'puttygen KEY -O private-openssh' converts"},
		{"ssh, the keys of kubernetes.io/ssh-auth", sshURL, secret("ssh-privatekey", identity, "known_hosts", known), "invalid Secret: key identity is missing (nothing reads ssh-privatekey)"},
		{"https with the keys of ssh", https, secret("identity", identity, "known_hosts", known), "invalid Secret: keys username and password, bearerToken, tls.crt and ca.crt are all missing (nothing reads identity, known_hosts)"},
		{"certificate without its key", https, secret("tls.crt", "SECRET"), "invalid Secret: key tls.key is missing: it goes with tls.crt"},
		{"key without its certificate", https, secret("keyFile", "SECRET"), "invalid Secret: key tls.crt is missing: it goes with keyFile"},
		{"no certificate and key", https, secret("tls.crt", "SECRET", "tls.key", "SECRET"), "invalid Secret: keys tls.crt and tls.key are no certificate and its private key, in PEM"},
		{"many unknown keys", https, secret("a", "", "b", "", "c", "", "d", "", "e\x1b[31m", "", "f", "SECRET"), "invalid Secret: keys username and password, bearerToken, tls.crt and ca.crt are all missing (nothing reads a, b, c, d, e [31m and others)"},
		{"colon in the user name", https, secret("username", "u:SECRET", "password", "p"), "invalid Secret: key username holds a colon, behind which a server would read the password"},
		{"a GitHub App of no provider", https, secret("githubAppID", "1", "githubAppPrivateKey", "SECRET"), "invalid provider configuration: the Secret is that of a GitHub App (githubAppID), and spec.provider is not github"},
		{"bad URL", "ftp://git.example/r", nil, "invalid URL: only http, https and ssh are supported, and user@host:path"},
	} {
		t.Run(c.name, func(t *testing.T) {
			auth, err := git.ParseAuth(c.url, c.secret)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			for _, printed := range []string{fmt.Sprintf("%v", auth), fmt.Sprintf("%+v", auth), fmt.Sprintf("%#v", auth), auth.String()} {
				if strings.ContainsAny(printed, "[]") || len(printed) > 20 {
					t.Errorf("prints as %q", printed)
				}
			}
		})
	}
}

func TestURLs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	for url, want := range map[string]string{
		"":                               "it is empty",
		"https://git.example/a b":        "spaces",
		"https://git.example/a\nb":       "spaces",
		"file:///etc":                    "only http, https and ssh",
		"git://git.example/r":            "only http, https and ssh",
		"/srv/r.git":                     "only http, https and ssh",
		"../r.git":                       "only http, https and ssh",
		"ext::sh -c x":                   "spaces",
		"ext::sh":                        "only http, https and ssh",
		"https://u:SECRET@git.example/r": "credentials belong into the Secret",
		"https://SECRET@git.example/r":   "credentials belong into the Secret",
		"ssh://u:SECRET@git.example/r":   "credentials belong into the Secret",
		"https://git.example/r?t=SECRET": "query or a fragment",
		"https://git.example/r#SECRET":   "query or a fragment",
		"https://git.example":            "no path",
		"https://git.example/":           "no path",
		"https:///r":                     "no host",
		"https://git.example:SECRET/r":   "cannot be parsed",
		"git@git.example:-oProxy=SECRET": "starts with a dash",
		"ssh://-oProxy@git.example/r":    "starts with a dash",
		"ssh://git@-oProxy/r":            "starts with a dash",
		"git@git.example":                "only http, https and ssh",
		"git@git.example:":               "cannot be parsed",
		"git.example:team/r":             "only http, https and ssh",
		"https://git.example:99999/r":    "port is not a number from 1 to 65535",
		"ssh://git.example:0/r":          "port is not a number from 1 to 65535",
		// What Azure DevOps and Gerrit show beside "clone", and what people make of it.
		"https://org@dev.azure.com/org/project/_git/r": "a user name included",
		"ssh://git@ssh.dev.azure.com:v3/org/project/r": "a path in user@host:path",
		"ssh://git@git.example.com:team/fleet.git":     "a path in user@host:path",
		"git@[git.example:99999]:r":                    "port is not a number from 1 to 65535",
		"ssh://git@git.example/r%0Agit-receive-pack":   "control characters",
		"codecommit::us-east-1://fleet":                "only http, https and ssh",
		"https://git.example/scm/team/r.git?at=main":   "query or a fragment",
		"https:/git.example/r":                         "no host",
		"ssh://git@git.example":                        "no path",
	} {
		req := w.request(git.Reference{})
		req.URL = url
		if got := w.fails(git.ErrInvalidURL, req); !strings.Contains(got, want) || strings.Contains(got, "SECRET") {
			t.Errorf("%q: message is %q, want %q", url, got, want)
		}
	}
}
