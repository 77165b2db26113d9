package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	// probeEvery is the pause between two looks whether an API server that was away is back, and
	// probeTimeout bounds one.
	probeEvery   = 250 * time.Millisecond
	probeTimeout = 2 * time.Second
	// startingMax is how long an API server that answers and says that it is not ready is waited for.
	startingMax = 10 * time.Second
)

// outage holds requests to the hub's own API server back while it is away, and lets them all go on when
// it is back. Without it every informer and every reconcile would find out by itself, with pauses that
// have grown to a minute by then: an API server that was away for 30 s cost 53 s more.
//
// Reads that could not connect are sent again, writes are not; both wait no longer than their context.
type outage struct {
	now func() time.Time
	// done ends all waiting, when the hub stops.
	done <-chan struct{}

	mu   sync.Mutex
	back chan struct{} // closed when the API server is back; nil while it is not known to be away
}

// outageTransport is a transport that holds requests back during an outage.
type outageTransport struct {
	*outage
	next http.RoundTripper
}

// wrap puts the outage in front of a transport.
func (o *outage) wrap(next http.RoundTripper) http.RoundTripper { return &outageTransport{o, next} }

// await returns when the API server is not known to be away, or with the error of the context.
func (o *outage) await(ctx context.Context) error {
	o.mu.Lock()
	back := o.back
	o.mu.Unlock()
	if back == nil {
		return nil
	}
	select {
	case <-back:
		return nil
	case <-o.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the hub's own API server does not answer: %w", ctx.Err())
	}
}

// RoundTrip implements http.RoundTripper.
func (g *outageTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	for {
		if err := g.await(ctx); err != nil {
			return nil, err
		}
		resp, err := g.next.RoundTrip(req)
		if err == nil && resp.StatusCode >= http.StatusInternalServerError {
			g.suspect(g.next, req.URL) //nolint:contextcheck // its store may be away, and then it is not ready
		}
		if err == nil || errors.Is(ctx.Err(), context.Canceled) {
			return resp, err //nolint:wrapcheck // a transport's errors are looked at by their type
		}
		g.suspect(g.next, req.URL) //nolint:contextcheck // the probe is for all requests, not for this one
		if !connectFailed(err) || req.Method != http.MethodGet || ctx.Err() != nil || g.stopped() {
			return resp, err //nolint:wrapcheck // see above
		}
	}
}

func (o *outage) stopped() bool {
	select {
	case <-o.done:
		return true
	default:
		return false
	}
}

// connectFailed reports whether a request failed before anything of it was sent.
func connectFailed(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// WrappedRoundTripper lets client-go find the transport below.
func (g *outageTransport) WrappedRoundTripper() http.RoundTripper { return g.next }

// suspect finds out whether the API server is away, and if so when it is back. It ends with the first
// answer; one of them runs at a time.
func (o *outage) suspect(next http.RoundTripper, at *url.URL) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.back != nil {
		return
	}
	back := make(chan struct{})
	o.back = back
	go func() {
		o.probe(next, at)
		o.mu.Lock()
		o.back = nil
		o.mu.Unlock()
		close(back)
	}()
}

func (o *outage) probe(next http.RoundTripper, at *url.URL) {
	var answered time.Time
	for {
		switch code := ask(next, at); {
		case code != 0 && code < http.StatusInternalServerError:
			return
		case code == 0:
			answered = time.Time{}
		case answered.IsZero():
			answered = o.now()
		case o.now().Sub(answered) > startingMax:
			return // its requests may tell more
		}
		select {
		case <-o.done:
			return
		case <-time.After(probeEvery):
		}
	}
}

// ask returns the status of /readyz; 0 when there is no answer.
func ask(next http.RoundTripper, at *url.URL) int {
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	target := url.URL{Scheme: at.Scheme, Host: at.Host, Path: "/readyz"}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return http.StatusOK
	}
	resp, err := next.RoundTrip(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16))
	return resp.StatusCode
}
