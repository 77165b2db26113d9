package receiver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Issuers that every Receiver may name: public ones, whose keys lie on the Internet.
const (
	GoogleIssuer        = "https://accounts.google.com"
	GitHubActionsIssuer = "https://token.actions.githubusercontent.com"
	GitLabIssuer        = "https://gitlab.com"
)

const (
	// keysLifetime is how long keys are used before they are fetched again.
	keysLifetime = time.Hour
	// keysExpiry is how long keys are used that cannot be fetched again: one that was revoked meanwhile serves no
	// longer.
	keysExpiry = 24 * time.Hour
	// keysPause is the least time between two fetches for one issuer, whatever tokens arrive.
	keysPause = time.Minute
	// keysTimeout bounds one fetch, of two documents.
	keysTimeout = 5 * time.Second
	// maxDocument bounds each document, in bytes, and maxKeys the keys in it.
	maxDocument = 256 << 10
	maxKeys     = 64
)

// errIssuerNotAllowed means that the hub fetches no keys of an issuer.
var errIssuerNotAllowed = errors.New("the hub fetches no keys of this issuer")

// Keys fetches the keys with which OIDC issuers sign, and keeps them. A user who may create a Receiver names its
// issuer, so the hub asks only those that are allowed: over https, without following a redirect, bounded in size
// and time, and never at an address of a private network, unless the flag names the very host.
type Keys struct {
	// Allowed are issuers beside the public ones, as the hub's flag names them.
	Allowed []string
	// Transport reaches issuers; one that is safe against what a Receiver names when nil.
	Transport http.RoundTripper
	Now       func() time.Time

	mu      sync.Mutex
	issuers map[string]*issuerKeys // guarded by mu
}

// issuerKeys are those of one issuer.
type issuerKeys struct {
	fetching sync.Mutex // held by the one that fetches; taken before mu

	mu      sync.Mutex
	set     jose.JSONWebKeySet // guarded by mu
	fetched time.Time          // guarded by mu
	tried   time.Time          // guarded by mu
	failed  error              // of the last try; guarded by mu
}

// Allow reports why keys of an issuer are not fetched.
func (k *Keys) Allow(issuer string) error {
	if slices.Contains([]string{GoogleIssuer, GitHubActionsIssuer, GitLabIssuer}, issuer) {
		return nil
	}
	u, err := url.Parse(issuer)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("%w: it must be an https URL without a user, query or fragment", errIssuerNotAllowed)
	case !slices.Contains(k.Allowed, issuer):
		return fmt.Errorf("%w: the hub's flag --receiver-oidc-issuers does not name it", errIssuerNotAllowed)
	}
	return nil
}

// Of returns the keys of an issuer that may have signed with a key ID; all of them without one. An ID that is not
// known has them fetched again, at most once a minute.
func (k *Keys) Of(ctx context.Context, issuer, id string) ([]jose.JSONWebKey, error) {
	if err := k.Allow(issuer); err != nil {
		return nil, err
	}
	k.mu.Lock()
	of := k.issuers[issuer]
	if of == nil {
		of = &issuerKeys{}
		if k.issuers == nil {
			k.issuers = map[string]*issuerKeys{}
		}
		k.issuers[issuer] = of
	}
	k.mu.Unlock()
	now := k.Now()
	found, due, _ := of.known(id, now)
	if len(found) > 0 && !due {
		return found, nil
	}
	// One fetch at a time. Others wait for what it brings, but for those whose keys are known.
	if !of.fetching.TryLock() {
		if len(found) > 0 {
			return found, nil
		}
		of.fetching.Lock()
	}
	defer of.fetching.Unlock()
	if found, due, err := of.known(id, now); !due {
		return found, err
	}
	// A sender that hangs up does not end it: the next one would be refused for want of keys until the pause is over.
	set, err := k.fetch(context.WithoutCancel(ctx), issuer)
	of.took(set, now, err)
	// Keys that could not be renewed stay valid for a day: an issuer that is away for an hour is no reason to refuse.
	found, _, err = of.known(id, now)
	return found, err
}

// known returns the keys that there are for an ID, whether they are to be fetched, and why the last fetch failed.
func (of *issuerKeys) known(id string, now time.Time) (found []jose.JSONWebKey, due bool, failed error) {
	of.mu.Lock()
	defer of.mu.Unlock()
	if now.Sub(of.fetched) < keysExpiry {
		found = signing(of.set, id)
	}
	wanted := len(found) == 0 || now.Sub(of.fetched) >= keysLifetime
	return found, wanted && (of.tried.IsZero() || now.Sub(of.tried) >= keysPause), of.failed
}

// took takes what a fetch has brought.
func (of *issuerKeys) took(set jose.JSONWebKeySet, now time.Time, err error) {
	of.mu.Lock()
	defer of.mu.Unlock()
	if of.tried, of.failed = now, err; err == nil {
		of.set, of.fetched = set, now
	}
}

// signing are the keys of a set that verify signatures and have an ID.
func signing(set jose.JSONWebKeySet, id string) []jose.JSONWebKey {
	var out []jose.JSONWebKey
	for _, key := range set.Keys {
		if (id == "" || key.KeyID == id) && (key.Use == "" || key.Use == "sig") && key.IsPublic() && key.Valid() {
			out = append(out, key)
		}
	}
	return out
}

// fetch asks the issuer where its keys are, and reads them there.
func (k *Keys) fetch(ctx context.Context, issuer string) (jose.JSONWebKeySet, error) {
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	var found struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	var set jose.JSONWebKeySet
	if err := k.document(ctx, issuer, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", &found); err != nil {
		return set, err
	}
	if found.Issuer != issuer {
		return set, errors.New("the issuer's document names another issuer")
	}
	if err := k.document(ctx, issuer, found.JWKSURI, &set); err != nil {
		return set, err
	}
	if len(set.Keys) > maxKeys {
		return jose.JSONWebKeySet{}, fmt.Errorf("the issuer has more than %d keys", maxKeys)
	}
	return set, nil
}

// document reads one document. Its errors hold nothing of what was answered.
func (k *Keys) document(ctx context.Context, issuer, at string, into any) error {
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return errors.New("the issuer names no https URL for its keys")
	}
	if own, err := url.Parse(issuer); err == nil && own.Host == u.Host && slices.Contains(k.Allowed, issuer) {
		ctx = context.WithValue(ctx, privateAllowed{}, true)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return errors.New("the URL of the issuer's keys cannot be read")
	}
	client := http.Client{Transport: k.transport(), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("cannot reach the issuer %s: %w", u.Host, errors.Unwrap(err))
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the issuer answers with the status %d", res.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxDocument+1))
	switch {
	case err != nil:
		return errors.New("the issuer's answer was cut off")
	case len(data) > maxDocument:
		return fmt.Errorf("the issuer's answer has more than %d KiB", maxDocument>>10)
	}
	if json.Unmarshal(data, into) != nil {
		return errors.New("the issuer's answer is not what OIDC has there")
	}
	return nil
}

// privateAllowed is the key of a context in which an address of a private network may be dialled.
type privateAllowed struct{}

// errPrivateAddress means that a name leads into a network that is not the Internet.
var errPrivateAddress = errors.New("its address is not a public one")

var guarded = sync.OnceValue(func() http.RoundTripper {
	dialer := &net.Dialer{Timeout: keysTimeout, ControlContext: func(ctx context.Context, _, address string, _ syscall.RawConn) error {
		return dialable(ctx, address)
	}}
	return &http.Transport{
		DialContext: dialer.DialContext, TLSHandshakeTimeout: keysTimeout, ResponseHeaderTimeout: keysTimeout,
		MaxResponseHeaderBytes: 32 << 10, DisableKeepAlives: true, ForceAttemptHTTP2: true,
	}
})

func (k *Keys) transport() http.RoundTripper {
	if k.Transport != nil {
		return k.Transport
	}
	return guarded()
}

// dialable refuses an address that a name was resolved to, so that no name gets around it.
func dialable(ctx context.Context, address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return errPrivateAddress
	}
	if ctx.Value(privateAllowed{}) != nil || isPublic(at.Addr()) {
		return nil
	}
	return errPrivateAddress
}

// reserved are the ranges that netip has no name for: shared by carriers, for protocols, for measurements, and
// those that stand for an address of version 4.
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("fec0::/10"),
}

func isPublic(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsGlobalUnicast() && !a.IsPrivate() && !slices.ContainsFunc(reserved, func(p netip.Prefix) bool { return p.Contains(a) })
}
