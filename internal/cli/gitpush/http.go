package gitpush

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"

	"github.com/skerry-dev/skerry/internal/git"
)

// httpServer is go-git's HTTP transport over a client of its own.
type httpServer struct {
	client transport.Transport
	at     *transport.Endpoint
	auth   transport.AuthMethod
}

func newHTTP(u *url.URL, secret map[string][]byte, proxy func(*http.Request) (*url.URL, error)) *httpServer {
	base := &http.Transport{Proxy: proxy, TLSClientConfig: &tls.Config{RootCAs: roots(secret), MinVersion: tls.VersionTLS12}}
	s := &httpServer{
		client: githttp.NewClient(&http.Client{Transport: stay{base, u}}),
		at:     &transport.Endpoint{Protocol: u.Scheme, Host: u.Hostname(), Path: u.EscapedPath()},
	}
	if strings.Contains(s.at.Host, ":") {
		s.at.Host = "[" + s.at.Host + "]"
	}
	if port, err := strconv.Atoi(u.Port()); err == nil {
		s.at.Port = port
	}
	switch line := func(key string) string { return strings.TrimRight(string(secret[key]), "\r\n") }; {
	case len(secret["bearerToken"]) > 0:
		s.auth = &githttp.TokenAuth{Token: strings.TrimSpace(string(secret["bearerToken"]))}
	case len(secret["username"]) > 0:
		s.auth = &githttp.BasicAuth{Username: line("username"), Password: line("password")}
	}
	return s
}

// roots are the system's authorities and that of the secret; nil for the system's alone.
func roots(secret map[string][]byte) *x509.CertPool {
	ca := secret["ca.crt"]
	if len(ca) == 0 {
		return nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pool.AppendCertsFromPEM(ca)
	return pool
}

func (s *httpServer) upload(context.Context) (uploader, error) {
	return s.client.NewUploadPackSession(s.at, s.auth)
}

func (s *httpServer) receive(context.Context) (receiver, error) {
	return s.client.NewReceivePackSession(s.at, s.auth)
}

// stay lets no redirect lead to another host: neither credentials nor what is pushed may go where
// the user did not send them.
type stay struct {
	next http.RoundTripper
	at   *url.URL
}

func (s stay) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := s.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if to, err := res.Location(); err == nil && res.StatusCode/100 == 3 && (to.Host != s.at.Host || to.Scheme != s.at.Scheme) {
		_ = res.Body.Close()
		return nil, fmt.Errorf("%w: the server redirects to %s://%s: if that is right, use it as the URL", git.ErrFetchFailed, to.Scheme, to.Host)
	}
	return res, nil
}
