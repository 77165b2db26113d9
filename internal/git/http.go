package git

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
)

// errPage bounds how much of an error page is read, which is not shown.
const errPage = 4 << 10

// httpSession is go-git's HTTP session over an http.Client of its own, so that authorities, proxy,
// limits and redirects of one conversation never touch another's.
type httpSession struct {
	transport.Session
	*redirectGuard
	base *http.Transport
	// upload or receive is Session, by the command; the other is nil.
	upload  transport.UploadPackSession
	receive transport.ReceivePackSession
}

func openHTTP(e endpoint, auth Auth, o Options, command service) (session, error) {
	base := newTransport(auth, o)
	g := &redirectGuard{base: base, endpoint: e, limits: o.Limits, command: command}
	client := githttp.NewClientWithOptions(&http.Client{Transport: g}, &githttp.ClientOptions{
		RedirectPolicy: githttp.FollowInitialRedirects,
	})
	at := &transport.Endpoint{Protocol: e.scheme, Host: e.hostPort(), Path: e.path}
	if e.port != "" {
		at.Port, _ = strconv.Atoi(e.port) // the grammar has no other ports
		e.port = ""
		at.Host = e.hostPort()
	}
	s := &httpSession{redirectGuard: g, base: base}
	var err error
	if command == receivePack {
		s.receive, err = client.NewReceivePackSession(at, auth.method())
		s.Session = s.receive
	} else {
		s.upload, err = client.NewUploadPackSession(at, auth.method())
		s.Session = s.upload
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open a session: %w", err)
	}
	return s, nil
}

// newTransport is the way to one server.
func newTransport(auth Auth, o Options) *http.Transport {
	t := &http.Transport{
		Proxy:                  o.Proxy,
		DialContext:            new(net.Dialer).DialContext,
		TLSClientConfig:        auth.tls(),
		ForceAttemptHTTP2:      true,
		MaxResponseHeaderBytes: 64 << 10,
		IdleConnTimeout:        30 * time.Second,
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, res *http.Response) error {
			return explainProxy(res.StatusCode)
		},
	}
	if auth.proxy != nil {
		t.Proxy = http.ProxyURL(auth.proxy)
	}
	return t
}

// explainProxy gives the answer of a proxy its kind.
func explainProxy(code int) error {
	switch {
	case code == http.StatusProxyAuthRequired:
		return fail(ErrAuthenticationFailed, "the proxy does not accept the credentials, or wants some")
	case code/100 != 2:
		return fail(ErrUnreachable, "the proxy answers %d %s", code, http.StatusText(code))
	}
	return nil
}

func (s *httpSession) UploadPack(ctx context.Context, req *packp.UploadPackRequest) (*packp.UploadPackResponse, error) {
	return s.upload.UploadPack(ctx, req)
}

func (s *httpSession) ReceivePack(ctx context.Context, req *packp.ReferenceUpdateRequest) (*packp.ReportStatus, error) {
	return s.receive.ReceivePack(ctx, req)
}

// Words: all that is for people comes within the protocol.
func (s *httpSession) Words() string { return "" }

func (g *redirectGuard) offers() *advertisement { return &g.listing }

// repeatable: each request is one of its own.
func (s *httpSession) repeatable() bool { return true }

func (s *httpSession) Close() error {
	err := s.Session.Close()
	s.base.CloseIdleConnections()
	return err
}

// redirectGuard bounds every answer and lets no redirect leave the server: neither credentials nor the
// choice of what is applied to clusters may move to a host that the user did not name.
type redirectGuard struct {
	limitError
	base     http.RoundTripper
	endpoint endpoint
	limits   Limits
	command  service
	listing  advertisement
}

func (g *redirectGuard) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := g.base.RoundTrip(req)
	for range lostTries - 1 {
		if req.Method != http.MethodGet || !isLost(err) || req.Context().Err() != nil {
			break
		}
		res, err = g.base.RoundTrip(req)
	}
	if err != nil {
		return nil, g.record(err)
	}
	if to, err := res.Location(); err == nil && res.StatusCode/100 == 3 {
		if err := g.checkRedirect(req, to); err != nil {
			_ = res.Body.Close()
			return nil, g.record(err)
		}
	}
	if res.StatusCode == http.StatusProxyAuthRequired { // of a proxy for http, which asks for no connection
		_ = res.Body.Close()
		return nil, g.record(explainProxy(res.StatusCode))
	}
	body := res.Body
	switch {
	case res.StatusCode >= http.StatusMultipleChoices:
		res.Body = readCloser{io.LimitReader(body, errPage), body}
	case req.Method == http.MethodGet:
		what := "the list of references exceeds the limit of " + size(g.limits.References)
		res.Body = drained{&bounded{body, g.limits.References, what, &g.limitError, &g.listing}, body}
	case g.command == receivePack:
		what := "the answer to the push exceeds the limit of " + size(maxReport)
		res.Body = readCloser{&bounded{body, maxReport, what, &g.limitError, nil}, body}
	default:
		what := "the fetch exceeds the limit of " + size(g.limits.Pack) + " (see --git-max-fetch-size)"
		res.Body = readCloser{&bounded{body, g.limits.Pack, what, &g.limitError, nil}, body}
	}
	return res, nil
}

// lostTries is how often the list of references is asked for while connections are lost before an answer. Why a server
// closes one, the alert that refuses a client certificate, say, is what net/http reads when it reads before it writes: where
// the write comes first, or meets the connection closed already, the reason is lost.
const lostTries = 3

func isLost(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// checkRedirect allows another path on the same server, and https in place of http.
func (g *redirectGuard) checkRedirect(req *http.Request, to *url.URL) error {
	if req.Method != http.MethodGet {
		return fail(ErrFetchFailed, "%s redirects a %s", g.endpoint, g.command.doing())
	}
	e := g.endpoint
	same := to.Scheme == e.scheme && cmp.Or(to.Port(), ports[to.Scheme]) == cmp.Or(e.port, ports[e.scheme])
	upgraded := e.scheme == "http" && to.Scheme == "https" && e.port == "" && to.Port() == ""
	if strings.EqualFold(to.Hostname(), e.host) && (same || upgraded) {
		return nil
	}
	return fail(ErrFetchFailed, "%s redirects to another server, %s://%s, which is refused: if that is right, use it as the URL",
		e, to.Scheme, to.Host)
}

// ports are those that a URL need not spell out.
var ports = map[string]string{"http": "80", "https": "443"}

type readCloser struct {
	io.Reader
	io.Closer
}

// drained reads what is left, a few bytes as a rule, when it is closed, so that the connection can
// be used for the fetch that follows.
type drained readCloser

func (d drained) Close() error {
	_, _ = io.CopyN(io.Discard, d.Reader, errPage)
	return d.Closer.Close()
}

// size writes a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 1<<30 && n%(1<<30) == 0:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}
