package git

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// endpoint is where a repository lies. The zero value is not valid; see parseURL.
type endpoint struct {
	// scheme is "http", "https" or "ssh".
	scheme string
	// user is the name to log in with, for ssh only.
	user string
	// host is without brackets; port is empty for the scheme's own.
	host, port string
	// path is as the server wants it: escaped for http and https.
	path string
}

// maxURL is the longest URL, in bytes, as the API's schema has it.
const maxURL = 2048

// scpLike is the short form of an ssh URL, user@host:path; a host with a port is user@[host:port]:path, as
// Git has it.
var scpLike = regexp.MustCompile(`^([A-Za-z0-9._-]+)@([A-Za-z0-9._-]+|\[[0-9A-Za-z._:-]+\]):([^:].*)$`)

// ErrCredentialsInURL is an ErrInvalidURL: a URL is shown, and what it holds with it.
var ErrCredentialsInURL = fmt.Errorf("%w: credentials belong into the Secret, not into the URL, a user name included", ErrInvalidURL)

// Scheme returns "http", "https" or "ssh", which user@host:path is as well. Its error is ErrInvalidURL.
func Scheme(raw string) (string, error) {
	e, err := parseURL(raw)
	return e.scheme, err
}

// parseURL reads http, https and ssh URLs and the form git@host:path. Its errors, ErrInvalidURL,
// never hold the URL, which may hold what it should not.
func parseURL(raw string) (endpoint, error) {
	if raw == "" || len(raw) > maxURL || strings.ContainsFunc(raw, func(r rune) bool {
		return unicode.IsControl(r) || unicode.IsSpace(r) || r == unicode.ReplacementChar
	}) {
		return endpoint{}, fail(ErrInvalidURL, "it is empty, too long or holds spaces")
	}
	if m := scpLike.FindStringSubmatch(raw); m != nil && !strings.Contains(raw, "://") {
		e := endpoint{scheme: "ssh", user: m[1], host: strings.Trim(m[2], "[]"), path: m[3]}
		if host, port, err := net.SplitHostPort(e.host); err == nil {
			e.host, e.port = host, port
		}
		return e.checked()
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil && strings.HasPrefix(raw, "ssh://"):
		return endpoint{}, fail(ErrInvalidURL, "it cannot be parsed: what follows the host's colon is a port in ssh://host:port/path, and a path in user@host:path")
	case err != nil:
		return endpoint{}, fail(ErrInvalidURL, "it cannot be parsed")
	}
	e := endpoint{scheme: strings.ToLower(u.Scheme), host: u.Hostname(), port: u.Port(), path: u.EscapedPath()}
	_, password := u.User.Password()
	switch {
	case e.scheme != "http" && e.scheme != "https" && e.scheme != "ssh":
		return endpoint{}, fail(ErrInvalidURL, "only http, https and ssh are supported, and user@host:path")
	case password, u.User != nil && e.scheme != "ssh":
		return endpoint{}, ErrCredentialsInURL
	case u.RawQuery != "", u.Fragment != "":
		return endpoint{}, fail(ErrInvalidURL, "it has a query or a fragment")
	}
	if e.scheme == "ssh" {
		e.user, e.path = "git", u.Path
		if name := u.User.Username(); name != "" {
			e.user = name
		}
		if strings.HasPrefix(e.path, "/~") {
			e.path = e.path[1:] // a home folder, which Git asks for without the slash
		}
	}
	return e.checked()
}

func (e endpoint) checked() (endpoint, error) {
	switch {
	case e.host == "":
		return endpoint{}, fail(ErrInvalidURL, "it has no host")
	case strings.HasPrefix(e.host, "-"), strings.HasPrefix(e.user, "-"):
		return endpoint{}, fail(ErrInvalidURL, "its host or user starts with a dash")
	case e.port != "" && !isPort(e.port):
		return endpoint{}, fail(ErrInvalidURL, "its port is not a number from 1 to 65535")
	case strings.Trim(e.path, "/") == "":
		return endpoint{}, fail(ErrInvalidURL, "it has no path")
	case strings.ContainsFunc(e.path, unicode.IsControl):
		return endpoint{}, fail(ErrInvalidURL, "its path holds control characters")
	case strings.HasPrefix(e.path, "-"):
		// The server would take it for an option.
		return endpoint{}, fail(ErrInvalidURL, "its path starts with a dash")
	}
	return e, nil
}

func isPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// String is the URL for people: it holds no credentials.
func (e endpoint) String() string {
	user := ""
	if e.user != "" {
		user = e.user + "@"
	}
	return e.scheme + "://" + user + e.hostPort() + "/" + strings.TrimPrefix(e.path, "/")
}

// hostPort is the host with brackets where it needs them, and the port if there is one.
func (e endpoint) hostPort() string {
	switch {
	case e.port != "":
		return net.JoinHostPort(e.host, e.port)
	case strings.Contains(e.host, ":"):
		return "[" + e.host + "]"
	}
	return e.host
}

// loopback means that what is sent never leaves the machine.
func (e endpoint) loopback() bool {
	if addr, err := netip.ParseAddr(e.host); err == nil {
		return addr.IsLoopback()
	}
	return e.host == "localhost"
}
