package agent

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/skerry-dev/skerry/internal/link"
)

// TestWorksOverHTTP1AndThroughAProxy: joining, an Assignment, a bundle, reports, and a change that comes down the
// stream later.
func TestWorksOverHTTP1AndThroughAProxy(t *testing.T) {
	for name, tt := range map[string]struct {
		http2, proxied bool
		protocol       string
	}{
		"HTTP/2":                   {true, false, "HTTP/2.0"},
		"HTTP/1.1":                 {false, false, "HTTP/1.1"},
		"HTTP/2 through CONNECT":   {true, true, "HTTP/2.0"},
		"HTTP/1.1 through CONNECT": {false, true, "HTTP/1.1"},
	} {
		t.Run(name, func(t *testing.T) {
			h := startHubOf(t, longAgo, tt.http2)
			h.assign(entryOf("apps", h.bundle(configMap("a", "1"))))
			e := newSite(t)
			var tunnels *atomic.Int64
			if tt.proxied {
				e.proxy, tunnels = startConnectProxy(t, h.server.Listener.Addr().String())
			}
			e.api.enroll(t, h.enroll)
			e.start()
			eventually(t, "apps is ready", h.reported("apps", "Ready"))
			h.assign(entryOf("apps", h.bundle(configMap("a", "1"))), entryOf("more", h.bundle(configMap("b", "2"))))
			h.mu.Lock()
			has, protocol := h.hellos[len(h.hellos)-1].Assignment, h.protocol
			h.mu.Unlock()
			h.down <- link.Down{Seq: 2, Assignment: h.change(has)}
			eventually(t, "more is ready", h.reported("more", "Ready"))
			if protocol != tt.protocol {
				t.Errorf("the stream came over %s", protocol)
			}
			if tunnels != nil && tunnels.Load() == 0 {
				t.Error("the proxy was passed by")
			}
		})
	}
}

// startConnectProxy starts an HTTP proxy that opens tunnels to one address, and counts them.
func startConnectProxy(t *testing.T, to string) (*url.URL, *atomic.Int64) {
	t.Helper()
	var tunnels atomic.Int64
	var open sync.WaitGroup
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != to {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		out, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", to)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		in, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		tunnels.Add(1)
		_, _ = io.WriteString(in, "HTTP/1.1 200 OK\r\n\r\n")
		closeBoth := func() { _ = in.Close(); _ = out.Close() }
		context.AfterFunc(t.Context(), closeBoth)
		open.Go(func() { defer closeBoth(); _, _ = io.Copy(out, in) }) // both end with either connection
		open.Go(func() { defer closeBoth(); _, _ = io.Copy(in, out) })
	}))
	t.Cleanup(func() { proxy.Close(); open.Wait() })
	u, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u, &tunnels
}
