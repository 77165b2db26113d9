// Package githost makes repositories and deploy keys on the servers that people keep Git on, by their APIs. It
// decides nothing: what is there stays as it is.
package githost

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// Repository is one that is there, or is to be made.
type Repository struct {
	Owner, Name string
	// Personal means that the owner is the user that the token is of, and not an organization or group.
	Personal bool
	// Private and Description are those of a repository that is made.
	Private     bool
	Description string
}

// URLs are where a repository is cloned from.
type URLs struct{ HTTPS, SSH string }

// Key is a deploy key.
type Key struct {
	Title string
	// Public is a line of authorized_keys.
	Public   string
	ReadOnly bool
}

// Host is the API of a server.
type Host interface {
	// Ensure returns the URLs of the repository, and whether it had to be made.
	Ensure(ctx context.Context, r Repository) (URLs, bool, error)
	// Grant gives teams access to the repository.
	Grant(ctx context.Context, r Repository, teams []string) error
	// Deploy adds the key, unless the repository has it, and returns whether it did.
	Deploy(ctx context.Context, r Repository, k Key) (bool, error)
}

// Options of a Host.
type Options struct {
	// Hostname of the server; the public one's when empty.
	Hostname string
	Token    string
	// Client sends the requests.
	Client *http.Client
}

// Errors that a person can do something about.
var (
	ErrUnauthorized = errors.New("the server does not accept the token")
	ErrForbidden    = errors.New("the token may not do this")
	ErrNotFound     = errors.New("there is no such owner, or the token may not see it; what a user owns needs --personal")
	ErrRedirected   = errors.New("the server redirects elsewhere, and the token goes to no other server")
	ErrOtherHost    = errors.New("the server names a URL to clone from to which the token is not sent")
	ErrOtherUser    = errors.New("the token is another user's")
	ErrInsecure     = errors.New("the token would go over http, where it can be read on the way: use https")
)

// maxRedirects bounds how many redirects one request follows.
const maxRedirects = 5

// client returns the client of a server at a URL. Libraries put the token into each request that they send, those
// after a redirect among them, so none is followed to another host, or from https to http.
func (o Options) client(server string) (*http.Client, error) {
	at, err := url.Parse(server)
	if err != nil || at.Host == "" {
		return nil, errors.New("the host name cannot be used")
	}
	if at.Scheme != "https" && !loopback(at.Hostname()) {
		return nil, ErrInsecure
	}
	client := http.Client{}
	if o.Client != nil {
		client = *o.Client
	}
	client.CheckRedirect = func(to *http.Request, via []*http.Request) error {
		from := via[0].URL
		same := strings.EqualFold(to.URL.Hostname(), from.Hostname()) && port(to.URL) == port(from) && to.URL.Scheme == from.Scheme
		if !same || len(via) > maxRedirects {
			return fmt.Errorf("%w: from %s://%s to %s://%s", ErrRedirected, from.Scheme, from.Host, to.URL.Scheme, to.URL.Host)
		}
		return nil
	}
	return &client, nil
}

// port is that of a URL, or the one of its scheme.
func port(u *url.URL) string {
	return cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
}

// loopback means that what is sent never leaves the machine.
func loopback(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback()
	}
	return host == "localhost"
}

// CheckClone refuses a URL to clone from, as an API has named it, to which the token must not be sent: one at
// another host than the API's, or over http. server is the host name or URL of the API, or the public one's host
// name.
func CheckClone(clone, server string) error {
	u, err := url.Parse(clone)
	at, atErr := url.Parse(base(server, ""))
	switch {
	case clone == "":
		return fmt.Errorf("%w: it names none for HTTPS, which the push needs", ErrOtherHost)
	case err != nil || u.Hostname() == "" || u.User != nil || atErr != nil:
		return fmt.Errorf("%w: it cannot be read, or holds credentials", ErrOtherHost)
	case !strings.EqualFold(u.Hostname(), at.Hostname()):
		return fmt.Errorf("%w: it is at %s, and not at %s: if that is right, give --hostname %s", ErrOtherHost, u.Host, at.Host, u.Hostname())
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return fmt.Errorf("%w: it is %s://%s, and not https", ErrOtherHost, u.Scheme, u.Host)
	}
	return nil
}

// checkUser refuses to make the repository of a user with the token of another one, as it would be that one's.
func checkUser(owner, user string) error {
	if strings.EqualFold(owner, user) {
		return nil
	}
	return fmt.Errorf("%w: it is of %s, and the owner is to be %s: give that user's token, or --owner %s", ErrOtherUser, user, owner, user)
}

// explain names the errors that have a name, by the status of the answer.
func explain(what string, status int, err error) error {
	if err == nil {
		return nil
	}
	switch status {
	case http.StatusUnauthorized:
		err = ErrUnauthorized
	case http.StatusForbidden:
		err = fmt.Errorf("%w: %w", ErrForbidden, err)
	case http.StatusNotFound:
		err = ErrNotFound
	}
	return fmt.Errorf("cannot %s: %w", what, err)
}

// same compares two lines of authorized_keys without their comments.
func same(a, b string) bool {
	x, y := strings.Fields(a), strings.Fields(b)
	return len(x) >= 2 && len(y) >= 2 && x[0] == y[0] && x[1] == y[1]
}

func base(hostname, public string) string {
	if hostname == "" {
		hostname = public
	}
	if strings.Contains(hostname, "://") {
		return strings.TrimSuffix(hostname, "/")
	}
	return "https://" + hostname
}

// sshURL brings "user@host:path" and "ssh://user@host/path" to "user@host/path".
func sshURL(url string) string {
	if rest, ok := strings.CutPrefix(url, "ssh://"); ok {
		return rest
	}
	host, path, _ := strings.Cut(url, ":")
	return host + "/" + strings.TrimPrefix(path, "/")
}
