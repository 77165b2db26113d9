package git_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

func TestClientCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{TLS: true, ClientCertificate: true}, git.Options{})
	w.commit("main", write("f", "1"))
	cert, key := w.http.Client()
	ca := string(w.http.CA())
	req := w.request(git.Reference{})
	w.follow(w.with(req, secret("ca.crt", ca, "tls.crt", string(cert), "tls.key", string(key))))
	w.follow(w.with(req, secret("caFile", ca, "certFile", string(cert), "keyFile", string(key))))
	if got := w.fails(git.ErrAuthenticationFailed, w.with(req, secret("ca.crt", ca))); !strings.Contains(got, "certificate") {
		t.Errorf("message is %q", got)
	}
	other := must(w.host.ServeHTTP(gitserver.HTTPOptions{TLS: true}))(t)
	cert, key = other.Client()
	w.fails(git.ErrAuthenticationFailed, w.with(req, secret("ca.crt", ca, "tls.crt", string(cert), "tls.key", string(key))))
	_, err := git.ParseAuth("http://127.0.0.1/r", secret("tls.crt", string(cert), "tls.key", string(key)))
	w.isKind(git.ErrInvalidURL, err)
}

func (w *world) through(req git.Request, secret map[string][]byte) git.Request {
	w.Helper()
	req.Auth = must(req.Auth.WithProxy(secret))(w)
	return req
}

func TestProxy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	w.commit("main", write("f", "1"))
	secure := must(w.host.ServeHTTP(gitserver.HTTPOptions{TLS: true, Username: "ann", Password: "s3cret"}))(t)
	shell := must(w.host.ServeSSH())(t)
	identity := must(shell.Identity(""))(t)
	plain := w.request(git.Reference{})
	https := plain
	https.URL = secure.URL(w.repo)
	https = w.with(https, secret("ca.crt", string(secure.CA()), "username", "ann", "password", "s3cret"))
	ssh := plain
	ssh.URL = shell.URL(w.repo)
	ssh = w.with(ssh, secret("identity", string(identity), "known_hosts", string(shell.KnownHosts())))

	web := must(w.host.ServeProxy("", ""))(t)
	webLogin := must(w.host.ServeProxy("bob", "pass word"))(t)
	socks := must(w.host.ServeSOCKS("", ""))(t)
	socksLogin := must(w.host.ServeSOCKS("bob", "pass word"))(t)
	for name, c := range map[string]struct {
		req   git.Request
		proxy *gitserver.Proxy
	}{
		"http by http": {plain, webLogin}, "https by http": {https, webLogin}, "http by socks": {plain, socksLogin},
		"https by socks": {https, socksLogin}, "ssh by socks": {ssh, socksLogin},
		"http by open http": {plain, web}, "https by open http": {https, web}, "ssh by open socks": {ssh, socks},
	} {
		t.Run(name, func(t *testing.T) {
			before := c.proxy.Used()
			login := secret("address", c.proxy.URL+"/", "username", "bob\n", "password", "pass word\n")
			w.follow(w.through(c.req, login))
			if c.proxy.Used() == before {
				t.Error("the proxy was not used")
			}
			if strings.Contains(name, "open") {
				return
			}
			_, err := w.store.Follow(t.Context(), w.through(c.req, secret("address", c.proxy.URL, "username", "bob", "password", "SECRET")))
			kind := git.ErrAuthenticationFailed
			if c.proxy == socksLogin {
				kind = git.ErrUnreachable
			}
			if got := w.isKind(kind, err); !strings.Contains(got, "the proxy") || strings.Contains(got, "SECRET") {
				t.Errorf("message is %q", got)
			}
		})
	}
	for _, req := range []git.Request{plain, https, ssh} {
		if got := w.fails(git.ErrUnreachable, w.through(req, secret("address", "socks5://127.0.0.1:1"))); !strings.HasSuffix(got, "the proxy: connection refused") {
			t.Errorf("message is %q", got)
		}
	}
	if got := w.fails(git.ErrUnreachable, w.through(https, secret("address", "http://127.0.0.1:1"))); !strings.HasSuffix(got, "the proxy: connection refused") {
		t.Errorf("message is %q", got)
	}
	gone := https
	gone.URL = "https://127.0.0.1:1/config.git"
	if got := w.fails(git.ErrUnreachable, w.through(gone, secret("address", web.URL))); !strings.Contains(got, "the proxy answers 502") {
		t.Errorf("message is %q", got)
	}
}

func TestParseProxy(t *testing.T) {
	t.Parallel()
	server := must(gitserver.New(t).ServeSSH())(t)
	identity := must(server.Identity(""))(t)
	web := must(git.ParseAuth("https://git.example/r", nil))(t)
	ssh := must(git.ParseAuth("git@git.example:r", secret("identity", string(identity), "known_hosts", string(server.KnownHosts()))))(t)
	for _, c := range []struct {
		name   string
		auth   git.Auth
		secret map[string][]byte
		want   string
	}{
		{"http", web, secret("address", "http://proxy.example:3128"), ""},
		{"https", web, secret("address", "https://proxy.example\n"), ""},
		{"credentials in the address", web, secret("address", "http://u:p@proxy.example:3128"), ""},
		{"socks", ssh, secret("address", "socks5://[::1]"), ""},
		{"socks5h", ssh, secret("address", "socks5h://proxy.example:1080"), ""},
		{"no address", web, secret("username", "SECRET"), "key address is missing"},
		{"url in place of address", web, secret("url", "SECRET"), "key address is missing: the URL of the proxy (nothing reads url)"},
		{"no scheme", web, secret("address", "SECRET.example:3128"), "key address"},
		{"ftp", web, secret("address", "ftp://SECRET"), "key address has to begin with http://"},
		{"path", web, secret("address", "http://proxy.example/SECRET"), "key address is not the URL of a proxy"},
		{"no host", web, secret("address", "http://:3128"), "key address is not the URL of a proxy"},
		{"password alone", web, secret("address", "http://proxy.example", "password", "SECRET"), "key username is missing"},
		{"http for ssh", ssh, secret("address", "http://proxy.example"), "the proxy of an ssh URL is a socks5 one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.auth.WithProxy(c.secret)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) || strings.Contains(got, "SECRET") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestIgnoredKeysAreNamed(t *testing.T) {
	auth := must(git.ParseAuth("https://git.example/r", secret("username", "u", "password", "p", "type", "git", "identity", "x")))(t)
	auth = must(auth.WithProxy(secret("address", "http://proxy.example", "noProxy", "x")))(t)
	if diff := cmp.Diff([]string{"identity", "noProxy", "type"}, auth.Ignored()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// github is the API of a GitHub Enterprise Server with one App, which is installed once.
type github struct {
	t   *testing.T
	key *rsa.PrivateKey
	now func() time.Time
	*httptest.Server

	mu        sync.Mutex
	answer    int // a status in place of the right answer; guarded by mu
	token     string
	issued    int
	requested []string
	expires   time.Duration
}

func newGitHub(t *testing.T, now func() time.Time) *github {
	t.Helper()
	g := &github{t: t, key: must(rsa.GenerateKey(rand.Reader, 2048))(t), now: now, expires: time.Hour}
	g.Server = httptest.NewTLSServer(http.HandlerFunc(g.serve))
	t.Cleanup(g.Close)
	return g
}

func (g *github) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(g.key)}))
}

func (g *github) ca() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: g.Certificate().Raw}))
}

func (g *github) serve(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.requested = append(g.requested, r.Method+" "+r.URL.Path)
	if g.answer != 0 {
		w.Header().Set("Location", "https://elsewhere.example/")
		w.WriteHeader(g.answer)
		return
	}
	// What GitHub checks: the signature, the issuer, and that it was made within the last ten minutes.
	claims := jwt.RegisteredClaims{}
	_, err := jwt.ParseWithClaims(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), &claims,
		func(*jwt.Token) (any, error) { return &g.key.PublicKey, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer("42"), jwt.WithIssuedAt(), jwt.WithExpirationRequired(), jwt.WithTimeFunc(g.now))
	if err != nil || claims.ExpiresAt.Sub(claims.IssuedAt.Time) > 10*time.Minute {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	switch r.Method + " " + r.URL.Path {
	case "GET /api/v3/users/ann/installation", "GET /api/v3/orgs/acme/installation":
		_ = json.NewEncoder(w).Encode(map[string]any{"id": 7, "app_id": 42})
	case "POST /api/v3/app/installations/7/access_tokens":
		g.issued++
		g.token = "ghs_" + strings.Repeat("x", g.issued)
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{"token": g.token, "expires_at": g.now().Add(g.expires).UTC().Format(time.RFC3339)})
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (g *github) set(answer int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answer = answer
}

// admits is a Git server that takes the last token only.
func (g *github) admits(w http.ResponseWriter, r *http.Request, next http.Handler) {
	g.mu.Lock()
	token := g.token
	g.mu.Unlock()
	if user, password, _ := r.BasicAuth(); user != "x-access-token" || password != token {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	next.ServeHTTP(w, r)
}

func TestGitHubApp(t *testing.T) {
	t.Parallel()
	clock := time.Unix(1_800_000_000, 0)
	now := func() time.Time { return clock }
	api := newGitHub(t, now)
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{Now: now})
	w.commit("main", write("f", "1"))
	w.http.SetFault(api.admits)
	req := w.request(git.Reference{})
	app := func(pairs ...string) git.Request {
		s := secret("githubAppID", "42\n", "githubAppPrivateKey", api.pem(), "githubAppBaseURL", api.URL+"/api/v3/", "ca.crt", api.ca())
		maps.Copy(s, secret(pairs...))
		req := req
		req.Auth = must(git.ParseProviderAuth(git.ProviderGitHub, req.URL, s))(t)
		return req
	}
	byID := app("githubAppInstallationID", "7")
	w.follow(byID)
	w.follow(byID)
	if api.issued != 1 {
		t.Errorf("asked for %d tokens where one is valid", api.issued)
	}
	w.follow(app("githubAppInstallationOwner", "acme"))
	w.follow(app("githubAppInstallationOwner", "ann"))
	if diff := cmp.Diff([]string{
		"POST /api/v3/app/installations/7/access_tokens",
		"GET /api/v3/orgs/acme/installation", "POST /api/v3/app/installations/7/access_tokens",
		"GET /api/v3/orgs/ann/installation", "GET /api/v3/users/ann/installation", "POST /api/v3/app/installations/7/access_tokens",
	}, api.requested); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}

	// A token that was revoked is gone at the next check, one that is about to expire before it is used.
	if _, err := w.store.Follow(t.Context(), byID); err == nil {
		t.Error("a revoked token was accepted")
	}
	w.follow(byID)
	issued := api.issued
	clock = clock.Add(56 * time.Minute)
	w.follow(byID)
	if api.issued != issued+1 {
		t.Errorf("asked for %d tokens after one was about to expire", api.issued-issued)
	}

	for status, kind := range map[int]error{
		http.StatusUnauthorized: git.ErrAuthenticationFailed, http.StatusForbidden: git.ErrAuthenticationFailed,
		http.StatusServiceUnavailable: git.ErrUnreachable, http.StatusTooManyRequests: git.ErrUnreachable,
		http.StatusTemporaryRedirect: git.ErrFetchFailed, http.StatusOK: git.ErrFetchFailed, http.StatusUnprocessableEntity: git.ErrFetchFailed,
	} {
		api.set(status)
		if got := w.fails(kind, app("githubAppInstallationID", "7", "note", http.StatusText(status))); !strings.Contains(got, "/api/v3") || strings.Contains(got, "ghs_") {
			t.Errorf("%d: message is %q", status, got)
		}
	}
	api.set(0)
	w.fails(git.ErrAuthenticationFailed, app("githubAppInstallationID", "8"))
	w.fails(git.ErrAuthenticationFailed, app("githubAppInstallationOwner", "nobody"))
	w.fails(git.ErrAuthenticationFailed, app("githubAppInstallationID", "7", "githubAppID", "43"))
	other := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	pkcs8 := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(other))(t)})
	w.fails(git.ErrAuthenticationFailed, app("githubAppInstallationID", "7", "githubAppPrivateKey", string(pkcs8)))

	proxy := must(w.host.ServeProxy("", ""))(t)
	w.follow(w.through(app("githubAppInstallationID", "7"), secret("address", proxy.URL)))
	if proxy.Used() != 2 {
		t.Errorf("the proxy was used %d times, want once for the API and once for the list", proxy.Used())
	}
	api.Close()
	w.fails(git.ErrUnreachable, app("githubAppInstallationID", "7", "note", "closed"))
}

func TestParseGitHubApp(t *testing.T) {
	key := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	private := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	good := func(pairs ...string) map[string][]byte {
		s := secret("githubAppID", "1", "githubAppInstallationID", "2", "githubAppPrivateKey", private)
		for k, v := range secret(pairs...) {
			if s[k] = v; len(v) == 0 {
				delete(s, k)
			}
		}
		return s
	}
	const https = "https://github.com/acme/fleet"
	for _, c := range []struct {
		name, provider, url string
		secret              map[string][]byte
		kind                error
		want                string
	}{
		{"good", "github", https, good(), nil, ""},
		{"by owner", "github", https, good("githubAppInstallationID", "", "githubAppInstallationOwner", "acme"), nil, ""},
		{"base URL", "github", https, good("githubAppBaseURL", "https://github.example/api/v3"), nil, ""},
		{"no Secret", "github", https, nil, git.ErrProviderConfiguration, "needs secretRef"},
		{"ssh", "github", "git@github.com:acme/fleet", good(), git.ErrProviderConfiguration, "needs an https URL"},
		{"over http", "github", "http://github.example/acme/fleet", good(), git.ErrInvalidURL, "use https"},
		{"basic", "github", https, secret("username", "u", "password", "SECRET"), git.ErrProviderConfiguration, "key githubAppID is missing (nothing reads password, username)"},
		{"no private key", "github", https, good("githubAppPrivateKey", ""), git.ErrProviderConfiguration, "key githubAppPrivateKey is missing"},
		{"both", "github", https, good("githubAppInstallationOwner", "acme"), git.ErrProviderConfiguration, "only one"},
		{"neither", "github", https, good("githubAppInstallationID", ""), git.ErrProviderConfiguration, "only one"},
		{"client ID", "github", https, good("githubAppID", "Iv1.SECRET"), git.ErrInvalidSecret, "key githubAppID is not a number"},
		{"installation", "github", https, good("githubAppInstallationID", "SECRET"), git.ErrInvalidSecret, "key githubAppInstallationID is not a number"},
		{"private key", "github", https, good("githubAppPrivateKey", "SECRET"), git.ErrInvalidSecret, "not an RSA private key"},
		{"base URL over http", "github", https, good("githubAppBaseURL", "http://SECRET.example"), git.ErrInvalidSecret, "key githubAppBaseURL"},
		{"base URL with credentials", "github", https, good("githubAppBaseURL", "https://SECRET@github.example"), git.ErrInvalidSecret, "key githubAppBaseURL"},
		{"azure", "azure", https, nil, git.ErrUnsupportedProvider, `"azure"`},
		{"aws", "aws", https, nil, git.ErrUnsupportedProvider, `"aws"`},
		{"gcp", "gcp", https, nil, git.ErrUnsupportedProvider, `"gcp"`},
		{"generic", "generic", https, nil, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := git.ParseProviderAuth(c.provider, c.url, c.secret)
			if c.kind == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			w := &world{T: t}
			if got := w.isKind(c.kind, err); !strings.Contains(got, c.want) || strings.Contains(got, "SECRET") {
				t.Errorf("message is %q, want %q", got, c.want)
			}
		})
	}
	if got := must(git.ParseProviderAuth("github", https, good("username", "u")))(t).Ignored(); !slices.Equal(got, []string{"username"}) {
		t.Errorf("ignored are %v", got)
	}
}
