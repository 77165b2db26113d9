package agent

import (
	"net/url"
	"testing"

	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/testkit/linkproxy"
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
			var tunnels *linkproxy.Tunnels
			if tt.proxied {
				tunnels = startTunnels(t, h.server.Listener.Addr().String())
				e.proxy, _ = url.Parse(tunnels.URL())
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
			if tunnels != nil && tunnels.Opened() == 0 {
				t.Error("the proxy was passed by")
			}
		})
	}
}

// startTunnels starts an HTTP proxy that opens tunnels to one address.
func startTunnels(t *testing.T, to string) *linkproxy.Tunnels {
	t.Helper()
	tunnels, err := linkproxy.ListenTunnels()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tunnels.Close() })
	tunnels.Lead(to, to)
	return tunnels
}
