package git

import (
	"net/url"
	"slices"
	"strings"
)

// maxProxy is the longest address of a proxy, in bytes.
const maxProxy = 2048

// WithProxy returns the credentials with the proxy of a Secret, which has the keys of Flux's: address, the
// URL of an http, https or socks5 proxy, and perhaps username and password. It takes precedence over the
// proxy of the process. Errors are ErrInvalidSecret and name the key, never its content.
func (a Auth) WithProxy(secret map[string][]byte) (Auth, error) {
	ignored := ignoredKeys(secret, []string{"address", "username", "password"})
	u, err := parseProxy(secret)
	if err != nil {
		return Auth{}, withIgnored(err, ignored)
	}
	a.proxy = u
	a.ignored = slices.Sorted(slices.Values(slices.Concat(a.ignored, ignored)))
	a.sum = sumOf(a.sum, "proxy", secret)
	if len(a.signers) > 0 {
		return a, a.check(endpoint{scheme: "ssh"})
	}
	return a, nil
}

func parseProxy(secret map[string][]byte) (*url.URL, error) {
	raw := strings.TrimSpace(string(secret["address"]))
	if raw == "" {
		return nil, fail(ErrInvalidSecret, "key address is missing: the URL of the proxy")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || len(raw) > maxProxy || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, fail(ErrInvalidSecret, "key address is not the URL of a proxy, as http://proxy.example:3128 or socks5://proxy.example:1080")
	case u.Scheme == "socks5h":
		u.Scheme = "socks5" // the proxy looks up the names in either case
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5":
		return nil, fail(ErrInvalidSecret, "key address has to begin with http://, https:// or socks5://")
	}
	username, password := line(secret["username"]), line(secret["password"])
	switch {
	case username == "" && password != "":
		return nil, fail(ErrInvalidSecret, "key username is missing")
	case username != "":
		u.User = url.UserPassword(username, password)
	}
	if u.Scheme == "socks5" && u.Port() == "" {
		u.Host = strings.TrimSuffix(u.Host, ":") + ":1080"
	}
	u.Path = ""
	return u, nil
}
