// Package edge talks to one cluster: one request per object that changes, none for one that does
// not. It decides nothing; what the cluster answers comes back as values and typed errors, and none
// of them holds the content of an object.
package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/skerry-dev/skerry/internal/fence/guard"
	"github.com/skerry-dev/skerry/internal/health"
)

// Options of a Client.
type Options struct {
	// Timeout bounds each request that is not a watch.
	Timeout time.Duration
	// Inflight bounds the requests under way, watches and their lists excepted.
	Inflight int
	// Request is called before each request goes out; nil: not.
	Request func()
	// Outcome is called for each request that ends: nil when the cluster answered, whatever it
	// said, or the error that kept it from answering; and for each part of an answer, which in a
	// watch may come much later. nil: not.
	Outcome func(error)
	// Connected is called for each connection that was made. nil: not.
	Connected func()
	// Fence is asked before each write, and before anything goes out; nil lets everything out.
	Fence guard.Fence
	// UserAgent is what the client calls itself.
	UserAgent string
	// NoWatchList means that the API server is known not to send what is there as the initial events of
	// a watch: it is listed instead.
	NoWatchList bool
	// OnNoWatchList is called when that turns out. nil: not.
	OnNoWatchList func()
	// Assessor judges the health of what watches show; nil: as internal/health does.
	Assessor Assessor
}

// Assessor judges the health of objects. Its methods are called from many goroutines.
type Assessor interface {
	// HasStatus reports whether objects of a kind must be read as a whole to know their health.
	HasStatus(gk schema.GroupKind) bool
	// Health returns the health of an object that has an owner label, or that is watched for an owner. The object is
	// without its managed fields until addManagedFields is called: they are most of it, and few rules read them.
	Health(owner string, u *unstructured.Unstructured, addManagedFields func()) health.Status
}

type assessor struct{}

func (assessor) HasStatus(gk schema.GroupKind) bool { return health.HasStatus(gk) }

func (assessor) Health(_ string, u *unstructured.Unstructured, addManagedFields func()) health.Status {
	if health.ReadsManagedFields(u.GroupVersionKind().GroupKind()) {
		addManagedFields()
	}
	return health.Of(u)
}

// Client reaches one cluster, by the credentials that it was made with or in the name of a ServiceAccount (As).
// It is safe for concurrent use.
type Client struct {
	rest rest.Interface
	*shared
}

// shared is what all clients of one cluster have in common, in whichever name they ask.
type shared struct {
	// impersonate returns what sends requests in the name of a user.
	impersonate func(user string) (rest.Interface, error)

	timeout  time.Duration
	slots    chan struct{}
	mappings mappings
	close    func()
	token    *atomic.Pointer[string] // of the credentials; "" for none

	aggregating  sync.Mutex // held while Discover asks
	noAggregated bool       // guarded by aggregating: the server does not offer aggregated discovery

	ignored       ignored
	budget        *budget
	assessor      Assessor
	noWatchList   atomic.Bool
	onNoWatchList func()
	// firstSilence and laterSilence bound the silence of a watch.
	firstSilence, laterSilence time.Duration
}

// listsFromNowOn remembers that initial events failed where a list did not.
func (c *Client) listsFromNowOn() {
	if !c.noWatchList.Swap(true) && c.onNoWatchList != nil {
		c.onNoWatchList()
	}
}

// New returns a client that keeps its own connections; Close ends them.
func New(cfg *rest.Config, o Options) (*Client, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1 // slots bound the work under way, which is what a small cluster minds
	cfg.NegotiatedSerializer = Codecs()
	if o.UserAgent != "" {
		cfg.UserAgent = o.UserAgent
	}
	cfg.WarningHandlerWithContext = rest.NoWarnings{}
	token := &atomic.Pointer[string]{}
	token.Store(new(""))
	if cfg.BearerTokenFile == "" { // else client-go reads it again and again
		token.Store(new(cfg.BearerToken))
		cfg.BearerToken = ""
	}
	transport, err := newTransport(cfg, o)
	if err != nil {
		return nil, err
	}
	limits := newBudget()
	var way http.RoundTripper = &bounds{next: transport, budget: limits}
	if o.Fence != nil {
		way = guard.Guard(way, o.Fence)
	}
	header := &header{next: &observer{next: way, request: o.Request, outcome: o.Outcome}, userAgent: cfg.UserAgent, token: token}
	cfg.UserAgent = "" // client-go would make a copy of each request for it
	wrapped, err := rest.HTTPWrappersForConfig(cfg, header)
	if err != nil {
		return nil, fmt.Errorf("cannot set up credentials: %w", err)
	}
	newREST := func(way http.RoundTripper) (rest.Interface, error) {
		hc := &http.Client{
			Transport:     way,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		return rest.UnversionedRESTClientForConfigAndClient(cfg, hc)
	}
	c := &Client{shared: &shared{
		impersonate: func(user string) (rest.Interface, error) { return newREST(impersonating(user, wrapped)) },
		timeout:     o.Timeout, slots: make(chan struct{}, max(o.Inflight, 1)), close: transport.CloseIdleConnections,
		token: token, budget: limits, assessor: o.Assessor, onNoWatchList: o.OnNoWatchList, firstSilence: firstSilence, laterSilence: laterSilence,
	}}
	if c.assessor == nil {
		c.assessor = assessor{}
	}
	c.noWatchList.Store(o.NoWatchList)
	if c.rest, err = newREST(wrapped); err != nil {
		return nil, fmt.Errorf("cannot set up client: %w", err)
	}
	return c, nil
}

// SetToken makes every request from now on show another bearer token. What is under way goes on: an API server looks at
// the token of a watch when it begins.
func (c *Client) SetToken(token string) { c.token.Store(&token) }

// header puts the token and the name of the client on each request. A watch keeps its request as long as it lasts, so
// there is one copy of it for both, and no copy of what stays as it is.
type header struct {
	next      http.RoundTripper
	userAgent string
	token     *atomic.Pointer[string]
}

func (h *header) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.WithContext(r.Context()) // a copy; a RoundTripper must not change what it is given
	r.Header = r.Header.Clone()
	if h.userAgent != "" && r.Header.Get("User-Agent") == "" {
		r.Header.Set("User-Agent", h.userAgent)
	}
	if token := *h.token.Load(); token != "" && r.Header.Get("Authorization") == "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return h.next.RoundTrip(r)
}

// WrappedRoundTripper lets client-go find the transport below.
func (h *header) WrappedRoundTripper() http.RoundTripper { return h.next }

// Close ends idle connections. Requests under way end with their contexts.
func (c *Client) Close() { c.close() }

// newTransport is one HTTP/2 connection to one cluster, whose pings notice within half a minute that
// the peer does not answer any more, so that a watch does not sit on a dead link.
func newTransport(cfg *rest.Config, o Options) (*http.Transport, error) {
	tlsConfig, err := rest.TLSConfigFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("cannot set up TLS: %w", err)
	}
	dial := cfg.Dial
	if dial == nil {
		// Where HTTP/2 has its pings, HTTP/1 has those of TCP.
		alive := net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 4}
		dial = (&net.Dialer{Timeout: 5 * time.Second, KeepAliveConfig: alive}).DialContext
	}
	if o.Fence != nil {
		dial = guard.GuardDial(dial, o.Fence)
	}
	if o.Connected != nil {
		plain := dial
		dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := plain(ctx, network, address)
			if err == nil {
				o.Connected()
			}
			return conn, err
		}
	}
	return &http.Transport{
		DialContext:         dial,
		TLSClientConfig:     tlsConfig,
		TLSHandshakeTimeout: 5 * time.Second,
		// A watch has its header at once; and what drips takes no longer than this.
		ResponseHeaderTimeout:  headerTimeout,
		MaxResponseHeaderBytes: maxHeader,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    4,
		IdleConnTimeout:        90 * time.Second,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 20 * time.Second, PingTimeout: 10 * time.Second},
	}, nil
}

// observer reports every request and how it ended.
type observer struct {
	next    http.RoundTripper
	request func()
	outcome func(error)
}

func (o *observer) RoundTrip(r *http.Request) (*http.Response, error) {
	if o.request != nil {
		o.request()
	}
	resp, err := o.next.RoundTrip(r)
	if o.outcome == nil {
		return resp, err
	}
	if !errors.Is(err, context.Canceled) {
		o.outcome(err)
	}
	if err == nil {
		resp.Body = &answerReader{ReadCloser: resp.Body, outcome: o.outcome}
	}
	return resp, err
}

// answerReader reports each part of an answer, and one that breaks off.
type answerReader struct {
	io.ReadCloser
	outcome func(error)
}

func (h *answerReader) Read(p []byte) (int, error) {
	n, err := h.ReadCloser.Read(p)
	switch {
	case err == nil && n > 0:
		h.outcome(nil)
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, context.Canceled):
		h.outcome(err)
	}
	return n, err
}

// WrappedRoundTripper lets client-go find the transport below.
func (o *observer) WrappedRoundTripper() http.RoundTripper { return o.next }

// slot waits for a place among the requests under way and starts the clock of one.
func (c *Client) slot(ctx context.Context) (context.Context, func(), error) {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	ctx, release := c.budget.withReservation(ctx)
	return ctx, func() { release(); cancel(); <-c.slots }, nil
}
