// Package githost makes repositories and deploy keys on the servers that people keep Git on, by their APIs. It
// decides nothing: what is there stays as it is.
package githost

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Repository is one that is there, or is to be made.
type Repository struct {
	Owner, Name string
	// Personal says that the owner is the user that the token is of, and not an organization or group.
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
	ErrNotFound     = errors.New("there is no such owner, or the token may not see it")
)

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
