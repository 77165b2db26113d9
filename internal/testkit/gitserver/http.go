package gitserver

import (
	"bytes"
	"context"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// HTTPOptions says what an HTTP server asks of its clients. The zero value asks nothing.
type HTTPOptions struct {
	// Username and Password, if set, are asked for by basic authentication.
	Username, Password string
	// Token, if set, is asked for as a bearer token.
	Token string
	// TLS serves HTTPS with a certificate for 127.0.0.1 and localhost of an authority of its own.
	TLS bool
	// ClientCertificate asks clients for a certificate of the same authority; it goes with TLS.
	ClientCertificate bool
}

// HTTP serves the repositories of a Host by the smart HTTP protocol, pushes included.
type HTTP struct {
	host    *Host
	options HTTPOptions
	cert    *certificate

	mu     sync.Mutex
	addr   string
	server *http.Server
	served chan struct{} // closed when the port is

	fault    atomic.Pointer[Fault]
	requests counter
	sent     atomic.Int64
}

// Fault takes the place of the answer to a request, after authentication; next answers it as usual.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

// Hang accepts requests and never answers.
func Hang(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() }

// Trickle answers truly, with one byte each 20 ms.
func Trickle(w http.ResponseWriter, r *http.Request, next http.Handler) {
	next.ServeHTTP(&slowWriter{w, r.Context()}, r)
}

type slowWriter struct {
	http.ResponseWriter
	ctx context.Context //nolint:containedctx // of the request that is being answered
}

func (w *slowWriter) Write(p []byte) (int, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for i := range p {
		select {
		case <-w.ctx.Done():
			return i, w.ctx.Err()
		case <-tick.C:
		}
		if _, err := w.ResponseWriter.Write(p[i : i+1]); err != nil {
			return i, err
		}
		if err := http.NewResponseController(w.ResponseWriter).Flush(); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// Status answers with that status.
func Status(code int) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		http.Error(w, http.StatusText(code), code)
	}
}

// Redirect sends every request to the same path below another URL, which has no slash at its end.
func Redirect(to string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		http.Redirect(w, r, to+r.URL.RequestURI(), http.StatusFound)
	}
}

// NeedsMultiACK answers no fetch that does not ask for multi_ack or multi_ack_detailed, as Azure DevOps
// and AWS CodeCommit do.
func NeedsMultiACK(w http.ResponseWriter, r *http.Request, next http.Handler) {
	refuseFetch(w, r, next, func(body []byte) bool { return !bytes.Contains(body, []byte("multi_ack")) })
}

// OnlyClones answers no fetch of a client that has commits already.
func OnlyClones(w http.ResponseWriter, r *http.Request, next http.Handler) {
	refuseFetch(w, r, next, func(body []byte) bool { return bytes.Contains(body, []byte("have ")) })
}

// refuseFetch answers "400 Bad Request" to the fetches that match, and the others as usual.
func refuseFetch(w http.ResponseWriter, r *http.Request, next http.Handler, match func(body []byte) bool) {
	if kindOf(r) != "fetch" {
		next.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || match(body) {
		http.Error(w, "", http.StatusBadRequest)
		return
	}
	r = r.Clone(r.Context())
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	next.ServeHTTP(w, r)
}

// Only applies a fault to requests of one method and answers the others.
func Only(method string, fault Fault) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method != method {
			next.ServeHTTP(w, r)
			return
		}
		fault(w, r, next)
	}
}

// ServeHTTP starts a server for the host's repositories on a free port of 127.0.0.1.
func (h *Host) ServeHTTP(options HTTPOptions) (*HTTP, error) {
	s := &HTTP{host: h, options: options, addr: "127.0.0.1:0"}
	if options.TLS {
		cert, err := newCertificate()
		if err != nil {
			return nil, err
		}
		s.cert = cert
	}
	if err := s.Start(); err != nil {
		return nil, err
	}
	h.onClose(s.Stop)
	return s, nil
}

// URL is where a repository is served.
func (s *HTTP) URL(repo *Repo) string { return s.Root() + "/" + repo.name + ".git" }

// Root is the URL of the server, without a slash at its end.
func (s *HTTP) Root() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.options.TLS {
		return "https://" + s.addr
	}
	return "http://" + s.addr
}

// CA is the certificate authority of a TLS server, in PEM.
func (s *HTTP) CA() []byte {
	if s.cert == nil {
		return nil
	}
	return bytes.Clone(s.cert.ca)
}

// Client is a certificate of the authority for a client, and its private key, in PEM.
func (s *HTTP) Client() (cert, key []byte) {
	return bytes.Clone(s.cert.client), bytes.Clone(s.cert.clientKey)
}

// SetFault makes all later requests fail in that way; nil ends it.
func (s *HTTP) SetFault(fault Fault) {
	if fault == nil {
		s.fault.Store(nil)
		return
	}
	s.fault.Store(&fault)
}

// Requests is how many requests of that kind the server has seen since it was made: "list" for the
// listing of references, "fetch" for a fetch, "push", or "" for all.
func (s *HTTP) Requests(kind string) int { return s.requests.get(kind) }

// Sent is how many bytes of answers the server has sent, without headers.
func (s *HTTP) Sent() int64 { return s.sent.Load() }

// Start listens again, on the port of before.
func (s *HTTP) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server != nil {
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", s.addr)
	if err != nil {
		return fmt.Errorf("cannot listen for HTTP: %w", err)
	}
	s.addr = listener.Addr().String()
	if s.cert != nil {
		config := &tls.Config{Certificates: []tls.Certificate{s.cert.pair}, MinVersion: tls.VersionTLS12}
		if s.options.ClientCertificate {
			config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, s.cert.clientRoot
		}
		listener = tls.NewListener(listener, config)
	}
	s.server = &http.Server{Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: 10 * time.Second, ErrorLog: quiet}
	s.served = make(chan struct{})
	go func(server *http.Server, served chan<- struct{}) {
		defer close(served)
		_ = server.Serve(listener)
	}(s.server, s.served)
	return nil
}

// Stop closes the port and every connection.
func (s *HTTP) Stop() error {
	s.mu.Lock()
	server, served := s.server, s.served
	s.server = nil
	s.mu.Unlock()
	if server == nil {
		return nil
	}
	if err := server.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	<-served // until then the kernel may take a connection, and reset it
	return nil
}

func (s *HTTP) serve(w http.ResponseWriter, r *http.Request) {
	s.requests.add(kindOf(r))
	if !s.authorized(w, r) {
		return
	}
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.answer(&countingWriter{ResponseWriter: w, n: &s.sent}, r)
	})
	if fault := s.fault.Load(); fault != nil {
		(*fault)(w, r, next)
		return
	}
	next.ServeHTTP(w, r)
}

func (s *HTTP) authorized(w http.ResponseWriter, r *http.Request) bool {
	o := s.options
	switch {
	case o.Token != "":
		if same(r.Header.Get("Authorization"), "Bearer "+o.Token) {
			return true
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="git"`)
	case o.Username != "" || o.Password != "":
		user, password, _ := r.BasicAuth()
		if same(user, o.Username) && same(password, o.Password) {
			return true
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
	default:
		return true
	}
	http.Error(w, "Unauthorized", http.StatusUnauthorized)
	return false
}

// answer lets git http-backend answer. A body of unknown length, as git sends for a large push, is
// kept in a file first: CGI wants its length in advance.
func (s *HTTP) answer(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength < 0 {
		body, err := os.CreateTemp("", "gitserver-push-")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer os.Remove(body.Name())
		defer body.Close()
		n, err := io.Copy(body, r.Body)
		if _, seekErr := body.Seek(0, io.SeekStart); err != nil || seekErr != nil {
			http.Error(w, "cannot keep the request", http.StatusInternalServerError)
			return
		}
		r = r.Clone(r.Context())
		r.Body, r.ContentLength, r.TransferEncoding = body, n, nil
	}
	env := append(Env(), "GIT_PROJECT_ROOT="+s.host.dir, "GIT_HTTP_EXPORT_ALL=1")
	backend := &cgi.Handler{Path: s.host.backend, Env: env, Stderr: io.Discard, Logger: quiet}
	backend.ServeHTTP(w, r)
}

func kindOf(r *http.Request) string {
	switch {
	case r.Method == http.MethodGet:
		return "list"
	case r.Header.Get("Content-Type") == "application/x-git-receive-pack-request":
		return "push"
	}
	return "fetch"
}

func same(got, want string) bool { return subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1 }
