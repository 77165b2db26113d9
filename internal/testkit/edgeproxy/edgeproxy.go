// Package edgeproxy is a reverse proxy in front of a real API server that fails as links, proxies, load
// balancers and hostile edges do: it freezes streams while their connections live, cuts connections,
// delays requests, answers in the API server's place, and changes the API server behind an open
// connection.
package edgeproxy

import (
	"context"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// Answer answers a request in the API server's place, or returns false for the API server to do so.
type Answer func(w http.ResponseWriter, r *http.Request) bool

// Proxy is one proxy, which speaks TLS and HTTP/2 as an API server does.
type Proxy struct {
	server *httptest.Server

	mu      sync.Mutex
	behind  *backend
	answer  Answer
	delay   time.Duration
	frozen  func(*http.Request) bool
	open    map[*body]bool // answers under way, and whether each is stuck
	thawed  chan struct{}  // closed when frozen streams go on
	counted map[string]int
}

type backend struct {
	to        *url.URL
	transport http.RoundTripper
	over      context.Context //nolint:containedctx // ends when the backend is swapped
	end       context.CancelFunc
}

// New starts a proxy in front of the API server that a config leads to. It is stopped with the test.
func New(t testing.TB, behind *rest.Config) *Proxy {
	t.Helper()
	p := &Proxy{thawed: make(chan struct{}), open: map[*body]bool{}, counted: map[string]int{}}
	p.Swap(t, behind)
	p.server = httptest.NewUnstartedServer(http.HandlerFunc(p.serve))
	p.server.EnableHTTP2 = true
	p.server.StartTLS()
	t.Cleanup(func() {
		p.Thaw()
		p.behind.end()
		p.server.CloseClientConnections()
		p.server.Close()
	})
	return p
}

// Config reaches the proxy.
func (p *Proxy) Config() *rest.Config {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw})
	return &rest.Config{Host: p.server.URL, BearerToken: "hub", TLSClientConfig: rest.TLSClientConfig{CAData: ca}}
}

// Answer lets a function answer requests from now on; nil ends that.
func (p *Proxy) Answer(f Answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = f
}

// Delay holds every request back for a while before it goes on.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Freeze stops the bodies of the answers to some requests, those under way and those to come: their
// headers arrive and their connection lives, and nothing comes any more.
func (p *Proxy) Freeze(which func(*http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = which
}

// FreezeOpen freezes some of the answers that are under way, and none that is to come.
func (p *Proxy) FreezeOpen(which func(*http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for b := range p.open {
		p.open[b] = p.open[b] || which(b.request)
	}
}

// EndOpen ends some of the answers that are under way, as an API server ends them.
func (p *Proxy) EndOpen(which func(*http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for b := range p.open {
		if which(b.request) {
			b.end()
		}
	}
}

// Thaw lets frozen answers go on, with what was held back.
func (p *Proxy) Thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = nil
	for b := range p.open {
		p.open[b] = false
	}
	close(p.thawed)
	p.thawed = make(chan struct{})
}

// Swap leads requests to another API server from now on, over the connections that are open. Answers
// under way end.
func (p *Proxy) Swap(t testing.TB, behind *rest.Config) {
	t.Helper()
	transport, err := rest.TransportFor(behind)
	if err != nil {
		t.Fatal(err)
	}
	to, err := url.Parse(behind.Host)
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{to: to, transport: transport}
	b.over, b.end = context.WithCancel(context.Background()) // lives until the next Swap
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.behind != nil {
		p.behind.end()
	}
	p.behind = b
}

// Cut closes all connections of clients.
func (p *Proxy) Cut() { p.server.CloseClientConnections() }

// Requests returns how many requests there were since the last call, by "METHOD path", a watch by
// "WATCH path".
func (p *Proxy) Requests() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.counted
	p.counted = map[string]int{}
	return out
}

// IsWatch reports whether a request is a watch.
func IsWatch(r *http.Request) bool { return r.URL.Query().Has("watch") }

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	answer, delay, behind := p.answer, p.delay, p.behind
	verb := r.Method
	if IsWatch(r) {
		verb = "WATCH"
	}
	p.counted[verb+" "+r.URL.Path]++
	p.mu.Unlock()
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		}
	}
	if answer != nil && answer(w, r) {
		return
	}
	p.forward(w, r, behind)
}

// forward sends a request to the API server and the answer back, until either ends or the backend is
// swapped, when the answer simply ends.
func (p *Proxy) forward(w http.ResponseWriter, r *http.Request, b *backend) {
	proxy := &httputil.ReverseProxy{
		Transport: b.transport, FlushInterval: -1,
		Rewrite: func(out *httputil.ProxyRequest) {
			out.SetURL(b.to)
			out.Out.Header.Del("Authorization")
		},
		ModifyResponse: func(res *http.Response) error {
			body := &body{ReadCloser: res.Body, proxy: p, request: r}
			body.over, body.end = context.WithCancel(b.over)
			res.Body = body
			p.mu.Lock()
			defer p.mu.Unlock()
			p.open[body] = false
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	proxy.ServeHTTP(w, r)
}

// body is that of an answer, which may freeze.
type body struct {
	io.ReadCloser
	proxy   *Proxy
	request *http.Request
	over    context.Context //nolint:containedctx // of the backend, or of this answer
	end     context.CancelFunc
}

// Close ends the answer.
func (b *body) Close() error {
	b.proxy.mu.Lock()
	delete(b.proxy.open, b)
	b.proxy.mu.Unlock()
	b.end()
	return b.ReadCloser.Close()
}

type read struct {
	n   int
	err error
}

func (b *body) Read(buf []byte) (int, error) {
	done := make(chan read, 1)
	go func() {
		n, err := b.ReadCloser.Read(buf)
		done <- read{n, err}
	}()
	var got read
	select {
	case got = <-done:
	case <-b.over.Done():
		_ = b.Close()
		<-done
		return 0, io.EOF
	}
	for {
		b.proxy.mu.Lock()
		frozen, thawed := b.proxy.open[b] || b.proxy.frozen != nil && b.proxy.frozen(b.request), b.proxy.thawed
		b.proxy.mu.Unlock()
		if !frozen {
			return got.n, got.err
		}
		select {
		case <-thawed:
		case <-b.request.Context().Done():
			return 0, io.EOF
		}
	}
}
