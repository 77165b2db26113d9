// Package apply talks to one cluster: one request per object that changes, none for one that does
// not. It decides nothing; what the cluster answers comes back as values and typed errors, and none
// of them holds the content of an object.
package apply

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
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
	// said, or the error that kept it from answering. nil: not.
	Outcome func(error)
}

// Client reaches one cluster. It is safe for concurrent use.
type Client struct {
	rest     rest.Interface
	meta     metadata.Interface
	full     dynamic.Interface
	timeout  time.Duration
	slots    chan struct{}
	mappings mappings
	close    func()
}

// New returns a client that keeps its own connections; Close ends them.
func New(cfg *rest.Config, o Options) (*Client, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1 // slots bound the work under way, which is what a small cluster minds
	cfg.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	cfg.WarningHandlerWithContext = rest.NoWarnings{}
	transport, err := newTransport(cfg)
	if err != nil {
		return nil, err
	}
	wrapped, err := rest.HTTPWrappersForConfig(cfg, &observer{next: transport, request: o.Request, outcome: o.Outcome})
	if err != nil {
		return nil, fmt.Errorf("cannot set up credentials: %w", err)
	}
	hc := &http.Client{
		Transport:     wrapped,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c := &Client{timeout: o.Timeout, slots: make(chan struct{}, max(o.Inflight, 1)), close: transport.CloseIdleConnections}
	if c.rest, err = rest.UnversionedRESTClientForConfigAndClient(cfg, hc); err != nil {
		return nil, fmt.Errorf("cannot set up client: %w", err)
	}
	if c.meta, err = metadata.NewForConfigAndClient(cfg, hc); err != nil {
		return nil, fmt.Errorf("cannot set up metadata client: %w", err)
	}
	if c.full, err = dynamic.NewForConfigAndClient(cfg, hc); err != nil {
		return nil, fmt.Errorf("cannot set up dynamic client: %w", err)
	}
	return c, nil
}

// Close ends idle connections. Requests under way end with their contexts.
func (c *Client) Close() { c.close() }

// newTransport is one HTTP/2 connection to one cluster, whose pings notice within half a minute that
// nobody answers any more, so that a watch does not sit on a dead link.
func newTransport(cfg *rest.Config) (*http.Transport, error) {
	tlsConfig, err := rest.TLSConfigFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("cannot set up TLS: %w", err)
	}
	dial := cfg.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext
	}
	return &http.Transport{
		DialContext:         dial,
		TLSClientConfig:     tlsConfig,
		TLSHandshakeTimeout: 5 * time.Second,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     90 * time.Second,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 20 * time.Second, PingTimeout: 10 * time.Second},
	}, nil
}

// observer tells of every request and of how it ended.
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
	if o.outcome != nil && !errors.Is(err, context.Canceled) {
		o.outcome(err)
	}
	return resp, err
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
	return ctx, func() { cancel(); <-c.slots }, nil
}
