package git

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The keys of the Secret of a GitHub App, as Flux has them.
const (
	keyAppID           = "githubAppID"
	keyAppOwner        = "githubAppInstallationOwner"
	keyAppInstallation = "githubAppInstallationID"
	keyAppPrivateKey   = "githubAppPrivateKey"
	keyAppBaseURL      = "githubAppBaseURL"
)

var appKeys = []string{keyAppID, keyAppOwner, keyAppInstallation, keyAppPrivateKey, keyAppBaseURL}

// githubApp gets tokens for Git from the API of GitHub, or of a GitHub Enterprise Server.
type githubApp struct {
	id int64
	// installation or owner names the installation; the other is zero.
	installation int64
	owner        string
	key          *rsa.PrivateKey
	// api is the URL of the API without a slash at its end.
	api string
	at  endpoint
}

const (
	publicAPI = "https://api.github.com"
	// tokenUser is the user name that goes with a token of an installation.
	tokenUser = "x-access-token"
	// tokenMargin is how long before it expires a token is replaced: no request may meet an expired one.
	tokenMargin = 5 * time.Minute
	// assertionLife is how long the signed assertion holds, with which a token is asked for; it is dated
	// back by clockSkew for a server whose clock is slow.
	assertionLife = 2 * time.Minute
	clockSkew     = 30 * time.Second
	// maxAnswer bounds an answer of the API, in bytes.
	maxAnswer = 1 << 20
)

// parseApp reads the Secret of a GitHub App. The certificates are for the API and the repository alike.
func parseApp(e endpoint, secret map[string][]byte) (Auth, error) {
	switch {
	case e.scheme == "ssh":
		return Auth{}, fail(ErrProviderConfiguration, "the provider github needs an https URL")
	case len(secret) == 0:
		return Auth{}, fail(ErrProviderConfiguration, "the provider github needs secretRef with the keys %s, %s or %s, and %s",
			keyAppID, keyAppInstallation, keyAppOwner, keyAppPrivateKey)
	}
	a, err := parseTLS(secret)
	if err != nil {
		return Auth{}, err
	}
	app := &githubApp{owner: trimmed(secret[keyAppOwner])}
	installation := trimmed(secret[keyAppInstallation])
	switch app.id, err = strconv.ParseInt(trimmed(secret[keyAppID]), 10, 64); {
	case trimmed(secret[keyAppID]) == "":
		return Auth{}, fail(ErrProviderConfiguration, "key %s is missing", keyAppID)
	case err != nil || app.id <= 0:
		return Auth{}, fail(ErrInvalidSecret, "key %s is not a number", keyAppID)
	case (installation == "") == (app.owner == ""):
		return Auth{}, fail(ErrProviderConfiguration, "one of the keys %s and %s is needed, and only one", keyAppInstallation, keyAppOwner)
	case len(secret[keyAppPrivateKey]) == 0:
		return Auth{}, fail(ErrProviderConfiguration, "key %s is missing", keyAppPrivateKey)
	}
	if installation != "" {
		if app.installation, err = strconv.ParseInt(installation, 10, 64); err != nil || app.installation <= 0 {
			return Auth{}, fail(ErrInvalidSecret, "key %s is not a number", keyAppInstallation)
		}
	}
	if app.key, err = jwt.ParseRSAPrivateKeyFromPEM(secret[keyAppPrivateKey]); err != nil {
		return Auth{}, fail(ErrInvalidSecret, "key %s is not an RSA private key in PEM", keyAppPrivateKey)
	}
	app.api = publicAPI
	if base := trimmed(secret[keyAppBaseURL]); base != "" {
		app.api = strings.TrimRight(base, "/")
	}
	if app.at, err = parseAPI(app.api); err != nil {
		return Auth{}, fail(ErrInvalidSecret, "key %s is not the https URL of an API, as https://github.example/api/v3", keyAppBaseURL)
	}
	a.app = app
	return a, nil
}

func trimmed(value []byte) string { return strings.TrimSpace(string(value)) }

// parseAPI reads the URL of an API: what is signed for it must not be read on the way.
func parseAPI(raw string) (endpoint, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return endpoint{}, fail(ErrInvalidURL, "it cannot be parsed")
	}
	e := endpoint{scheme: u.Scheme, host: u.Hostname(), port: u.Port(), path: u.EscapedPath()}
	if e.host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || e.scheme != "https" && (e.scheme != "http" || !e.loopback()) {
		return endpoint{}, fail(ErrInvalidURL, "it is no https URL")
	}
	return e, nil
}

// tokens keeps the tokens of GitHub Apps until they expire: repositories with the same Secret share one.
type tokens struct {
	mu sync.Mutex
	of map[[sha256.Size]byte]*token // guarded by mu
}

// maxTokens bounds the tokens that are kept.
const maxTokens = 10_000

// token is that of one Secret. Its lock is held while it is asked for.
type token struct {
	lock    chan struct{}
	value   string
	expires time.Time
}

func newTokens() *tokens { return &tokens{of: map[[sha256.Size]byte]*token{}} }

// login returns the credentials with a token in place of the app, if they are those of an app.
func (t *tokens) login(ctx context.Context, a Auth, o Options) (Auth, error) {
	if a.app == nil {
		return a, nil
	}
	if o.Now == nil {
		return Auth{}, fail(ErrUnsupportedProvider, "GitHub Apps need a clock")
	}
	kept := t.get(a)
	select {
	case kept.lock <- struct{}{}:
		defer func() { <-kept.lock }()
	case <-ctx.Done():
		return Auth{}, ctx.Err()
	}
	if kept.value == "" || !o.Now().Add(tokenMargin).Before(kept.expires) {
		value, expires, err := a.app.ask(ctx, a, o)
		if err != nil {
			return Auth{}, err
		}
		kept.value, kept.expires = value, expires
	}
	a.username, a.password = tokenUser, kept.value
	return a, nil
}

func (t *tokens) get(a Auth) *token {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept, ok := t.of[a.sum]
	if !ok {
		if len(t.of) >= maxTokens {
			clear(t.of) // Secrets that were rotated long ago
		}
		kept = &token{lock: make(chan struct{}, 1)}
		t.of[a.sum] = kept
	}
	return kept
}

// drop forgets the token of credentials that a server did not accept.
func (t *tokens) drop(a Auth) {
	if a.app == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.of, a.sum)
}

// ask gets a new token of the installation.
func (g *githubApp) ask(ctx context.Context, a Auth, o Options) (value string, expires time.Time, err error) {
	transport := newTransport(a, o)
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	now := o.Now().Truncate(time.Second).Add(-clockSkew) // GitHub takes whole seconds only
	assertion, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.RegisteredClaims{
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(assertionLife)), Issuer: strconv.FormatInt(g.id, 10),
	}).SignedString(g.key)
	if err != nil {
		return "", time.Time{}, fail(ErrInvalidSecret, "key %s cannot sign", keyAppPrivateKey)
	}
	installation := g.installation
	if installation == 0 {
		if installation, err = g.find(ctx, client, assertion); err != nil {
			return "", time.Time{}, err
		}
	}
	var answer struct {
		Token     string    `json:"token"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	path := fmt.Sprintf("/app/installations/%d/access_tokens", installation)
	if code, err := g.call(ctx, client, assertion, http.MethodPost, path, &answer); err != nil {
		return "", time.Time{}, err
	} else if code == http.StatusNotFound {
		return "", time.Time{}, fail(ErrAuthenticationFailed, "%s knows no installation %d of app %d", g.at, installation, g.id)
	}
	if answer.Token == "" || strings.ContainsFunc(answer.Token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", time.Time{}, fail(ErrFetchFailed, "%s does not answer as GitHub's API does", g.at)
	}
	return answer.Token, answer.ExpiresAt, nil
}

// find looks up the installation of an owner, which is an organization or else a user.
func (g *githubApp) find(ctx context.Context, client *http.Client, assertion string) (int64, error) {
	for _, kind := range []string{"orgs", "users"} {
		var answer struct {
			ID int64 `json:"id"`
		}
		code, err := g.call(ctx, client, assertion, http.MethodGet, "/"+kind+"/"+url.PathEscape(g.owner)+"/installation", &answer)
		if err != nil {
			return 0, err
		}
		if code != http.StatusNotFound && answer.ID > 0 {
			return answer.ID, nil
		}
	}
	return 0, fail(ErrAuthenticationFailed, "%s knows no installation of app %d for the owner %q", g.at, g.id, g.owner)
}

// call sends one request to the API. The status is 404, which is no error here, or one of success.
func (g *githubApp) call(ctx context.Context, client *http.Client, assertion, method, path string, answer any) (int, error) {
	req, err := http.NewRequestWithContext(ctx, method, g.api+path, http.NoBody)
	if err != nil {
		return 0, fail(ErrInvalidSecret, "key %s cannot be used", keyAppBaseURL)
	}
	req.Header.Set("Accept", "application/vnd.github+json")
	req.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	req.Header.Set("User-Agent", "skerry")
	req.Header.Set("Authorization", "Bearer "+assertion)
	res, err := client.Do(req)
	if err != nil {
		return 0, explain(ctx, g.at, 0, err)
	}
	defer res.Body.Close()
	body := io.LimitReader(res.Body, maxAnswer)
	switch code := res.StatusCode; {
	case code == http.StatusProxyAuthRequired:
		return 0, explainProxy(code)
	case code == http.StatusNotFound:
		return code, nil
	case code == http.StatusUnauthorized:
		return 0, fail(ErrAuthenticationFailed, "%s does not accept app %d: check %s, %s and the clock of the hub", g.at, g.id, keyAppID, keyAppPrivateKey)
	case code == http.StatusForbidden && slices.Contains(res.Header.Values("X-Ratelimit-Remaining"), "0"):
		return 0, fail(ErrUnreachable, "%s limits the rate of requests", g.at)
	case code == http.StatusForbidden:
		return 0, fail(ErrAuthenticationFailed, "%s forbids app %d to get a token: the installation may be suspended", g.at, g.id)
	case code/100 != 2:
		return 0, explainStatus(g.at, code)
	}
	if err := json.NewDecoder(body).Decode(answer); err != nil {
		return 0, fail(ErrFetchFailed, "%s does not answer as GitHub's API does", g.at)
	}
	return http.StatusOK, nil
}
