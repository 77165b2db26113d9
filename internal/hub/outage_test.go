package hub

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/internal/fence"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

// TestTheHubsAPIServerIsAway: drift on an edge is put back as long as the lease permits, nothing is
// written from then on, and when the API server is back the same process goes on within seconds.
func TestTheHubsAPIServerIsAway(t *testing.T) {
	for name, elect := range map[string]bool{"with leader election": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.options.LeaderElect, w.options.LeaseDuration = elect, 2*fence.Margin
			_, edge := w.edge("edge-1")
			w.push(gitserver.Change{Write: map[string]string{"apps/web.yaml": configMap("web", "one")}})
			w.source()
			apps := w.kustomization("apps", "./apps")
			w.start()
			w.says(apps, "True Succeeded")

			w.cluster.StopServer()
			away := time.Now()
			drift(t, edge)
			t.Logf("put back while it is away: %s", await(t, edge, onEdge("web"), "put back", has("one")))
			time.Sleep(time.Until(away.Add(7 * time.Second))) // which is longer than a renewal of such a lease counts
			drift(t, edge)
			if elect {
				time.Sleep(time.Second) // in which the hub would put it back
				now := onEdge("web")
				if err := edge.Get(t.Context(), keyOf(now), now); err != nil || now.Data["value"] != "by hand" {
					t.Errorf("a hub without a lease wrote to the edge: %v, %v", now.Data, err)
				}
			} else {
				await(t, edge, onEdge("web"), "put back", has("one"))
			}
			commit := "main@sha1:" + w.commit(gitserver.Change{Write: map[string]string{"apps/web.yaml": configMap("web", "two")}})
			if err := w.cluster.StartServer(t.Context()); err != nil {
				t.Fatal(err)
			}
			back := time.Now()
			if elect {
				t.Logf("put back: %s after its return", await(t, edge, onEdge("web"), "put back", has("one")))
			}
			w.request(sourceNamed())
			w.says(apps, "True Succeeded", commit)
			t.Logf("a commit is everywhere %s after its return", time.Since(back))
		})
	}
}

func drift(t *testing.T, edge client.Client) {
	t.Helper()
	if err := edge.Patch(t.Context(), onEdge("web"), client.RawPatch("application/merge-patch+json", []byte(`{"data":{"value":"by hand"}}`))); err != nil {
		t.Fatal(err)
	}
}

// TestRequestsWaitForAnAPIServerWhoseStoreIsAway: it answers, and is not ready.
func TestRequestsWaitForAnAPIServerWhoseStoreIsAway(t *testing.T) {
	var away atomic.Bool
	away.Store(true)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if away.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	out := &outage{now: time.Now, done: t.Context().Done()}
	hc := &http.Client{Transport: out.wrap(http.DefaultTransport)}
	get := func() int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := hc.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	if got := get(); got != http.StatusInternalServerError {
		t.Errorf("the answer is lost: %d", got)
	}
	done := make(chan int, 1)
	go func() { done <- get() }()
	select {
	case got := <-done:
		t.Errorf("the next one does not wait: %d", got)
	case <-time.After(2 * probeEvery):
	}
	away.Store(false)
	if got := <-done; got != http.StatusOK {
		t.Errorf("afterwards: %d", got)
	}
}

// TestRequestsWaitForAnAPIServerThatIsAway: reads go on when it is back, as if nothing had been; writes
// fail as they would, and both end with their context.
func TestRequestsWaitForAnAPIServerThatIsAway(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	out := &outage{now: time.Now, done: t.Context().Done()}
	hc := &http.Client{Transport: out.wrap(&http.Transport{DisableKeepAlives: true})}
	send := func(ctx context.Context, method string) error {
		req, err := http.NewRequestWithContext(ctx, method, "http://"+address+"/api", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := hc.Do(req)
		if err == nil {
			_ = res.Body.Close()
		}
		return err
	}
	if err := send(t.Context(), http.MethodPatch); err == nil {
		t.Error("a write went well")
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := send(short, http.MethodGet); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a read with a deadline: %v", err)
	}
	if err := out.await(short); err == nil {
		t.Error("nothing waits")
	}
	done := make(chan error, 20)
	for range cap(done) {
		go func() { done <- send(t.Context(), http.MethodGet) }()
	}
	var asked atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" && asked.Add(1) == 1 {
			w.WriteHeader(http.StatusInternalServerError) // it starts
		}
	}))
	if server.Listener, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	server.Start()
	defer server.Close()
	for range cap(done) {
		if err := <-done; err != nil {
			t.Errorf("a read: %v", err)
		}
	}
	if asked.Load() < 2 {
		t.Error("what is not ready yet was taken for ready")
	}
	if err := out.await(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
