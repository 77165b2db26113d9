package fleetsim

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"
)

// visitor is a client of one edge that gives up after half a second.
type visitor struct {
	t      *testing.T
	edge   *Edge
	client *http.Client
}

func newVisitor(t *testing.T) *visitor {
	e := startFleet(t, 1).Edges[0]
	v := &visitor{t: t, edge: e, client: clientFor(t, edgeConfig(t, e))}
	v.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	v.well()
	return v
}

func (v *visitor) visit(within time.Duration) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(v.t.Context(), within)
	v.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", v.edge.URL()+"/api/v1/namespaces/kube-system", nil)
	if err != nil {
		v.t.Fatal(err)
	}
	return v.client.Do(r)
}

func (v *visitor) fault(f Fault) {
	v.t.Helper()
	if err := v.edge.SetFault(f); err != nil {
		v.t.Fatal(err)
	}
}

// well checks that the edge answers as it should, on the connection that is open or on a new one.
func (v *visitor) well() {
	v.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		res, err := v.visit(2 * time.Second)
		if err == nil {
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), v.edge.UID()) {
				v.t.Fatalf("%d %s %v", res.StatusCode, body, err)
			}
			return
		}
		// A connection that the fault has cut may be found out only now.
		if time.Now().After(deadline) {
			v.t.Fatal(err)
		}
	}
}

func TestFaultsOfTheNetwork(t *testing.T) {
	timeout := func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }
	for _, c := range []struct {
		kind FaultKind
		is   func(error) bool
	}{
		{Silent, timeout},
		{Dropped, timeout},
		{Refused, func(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }},
	} {
		t.Run(string(c.kind), func(t *testing.T) {
			v := newVisitor(t)
			v.fault(Fault{Kind: c.kind})
			for _, connection := range []string{"open", "new"} {
				res, err := v.visit(500 * time.Millisecond)
				if err == nil {
					res.Body.Close()
					t.Fatalf("an answer on the %s connection", connection)
				}
				if connection == "new" && !c.is(err) {
					t.Errorf("%v", err)
				}
				v.client.CloseIdleConnections()
			}
			d := net.Dialer{Timeout: 300 * time.Millisecond}
			nc, err := d.DialContext(t.Context(), "tcp", v.edge.address)
			if accepted := err == nil; accepted != (c.kind == Silent) {
				t.Errorf("connecting: %v", err)
			}
			if nc != nil {
				nc.Close()
			}
			v.fault(Fault{})
			v.well()
		})
	}
}

func TestFlap(t *testing.T) {
	v := newVisitor(t)
	v.fault(Fault{Kind: Flap, Every: 100 * time.Millisecond})
	var seen [2]bool
	deadline := time.Now().Add(10 * time.Second)
	for !seen[0] || !seen[1] {
		if time.Now().After(deadline) {
			t.Fatalf("down %t, up %t", seen[0], seen[1])
		}
		if res, err := v.visit(time.Second); err != nil {
			seen[0] = true
		} else {
			res.Body.Close()
			seen[1] = true
		}
	}
	v.fault(Fault{})
	v.well()
}

func TestFaultsOfAnswers(t *testing.T) {
	size := func(want int64, more bool) func(*testing.T, http.Header, io.Reader) {
		return func(t *testing.T, _ http.Header, body io.Reader) {
			n, err := io.Copy(io.Discard, io.LimitReader(body, want+1))
			if more && n != want+1 || !more && n != want {
				t.Errorf("a body of %d bytes: %v", n, err)
			}
		}
	}
	has := func(name, value string) func(*testing.T, http.Header, io.Reader) {
		return func(t *testing.T, h http.Header, _ io.Reader) {
			if got := h.Get(name); !strings.Contains(got, value) {
				t.Errorf("%s: %q", name, got)
			}
		}
	}
	for _, c := range []struct {
		fault Fault
		code  int
		check func(*testing.T, http.Header, io.Reader)
	}{
		{Fault{Kind: HTML}, 200, has("Content-Type", "text/html")},
		{Fault{Kind: Redirect}, 302, has("Location", "elsewhere")},
		{Fault{Kind: Endless}, 200, size(4<<20, true)},
		{Fault{Kind: Oversized, Size: 3 * floodPiece}, 200, func(t *testing.T, _ http.Header, body io.Reader) {
			if n, err := io.Copy(io.Discard, body); err != nil || n < 3*floodPiece || n > 4*floodPiece {
				t.Errorf("a body of %d bytes: %v", n, err)
			}
		}},
		{Fault{Kind: GzipBomb, Size: 2 * memberSize}, 200, size(2*memberSize, false)},
		{Fault{Kind: Busy, RetryAfter: 1500 * time.Millisecond}, 429, has("Retry-After", "2")},
		{Fault{Kind: Expired}, 401, has("Content-Type", "application/json")},
		{Fault{Kind: Slow, Delay: 300 * time.Millisecond}, 200, has("Content-Type", "application/json")},
	} {
		t.Run(string(c.fault.Kind), func(t *testing.T) {
			v := newVisitor(t)
			v.fault(c.fault)
			begin := time.Now()
			res, err := v.visit(10 * time.Second)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.StatusCode != c.code {
				t.Errorf("code %d, want %d", res.StatusCode, c.code)
			}
			if took := time.Since(begin); took < c.fault.Delay {
				t.Errorf("answered after %s", took)
			}
			c.check(t, res.Header, res.Body)
			v.fault(Fault{})
			v.well()
		})
	}
}

func TestControl(t *testing.T) {
	f := startFleet(t, 3)
	server := httptest.NewServer(f.Control())
	defer server.Close()
	ask := func(code int, method, path string) string {
		t.Helper()
		got, body := send(t, server.Client(), server.URL, step{Method: method, Path: path})
		if got != code {
			t.Fatalf("%s %s: %d %s", method, path, got, body)
		}
		return string(body)
	}
	ask(204, "PUT", "/edges/0-1/fault?kind=slow&delay=1m")
	if list := ask(200, "GET", "/edges"); strings.Count(list, `"slow"`) != 2 {
		t.Error(list)
	}
	ask(204, "DELETE", "/edges/all/fault")
	ask(400, "PUT", "/edges/0/fault?kind=rude")
	ask(400, "PUT", "/edges/0/fault?kind=slow&delay=never")
	ask(400, "PUT", "/edges/3/fault?kind=slow")
	ask(400, "GET", "/edges/all/kubeconfig")
	ask(204, "PUT", "/edges/all/health?is=failing")
	client := clientFor(t, edgeConfig(t, f.Edges[1]))
	if code, body := send(t, client, f.Edges[1].URL(), step{Method: "PATCH", Path: "/api/v1/namespaces/default/configmaps/cm", Query: "fieldManager=m", ContentType: applyPatch, Body: string(applyBody("cm", "x"))}); code != 201 {
		t.Fatalf("%d %s", code, body)
	}
	if writes := ask(200, "GET", "/edges/1/writes"); !strings.Contains(writes, `"name":"cm"`) {
		t.Error(writes)
	}
	ask(204, "DELETE", "/edges/1/writes")
	if writes := ask(200, "GET", "/edges/1/writes"); strings.Contains(writes, `"name":"cm"`) {
		t.Error(writes)
	}
	if counters := ask(200, "GET", "/edges/all/counters"); !strings.Contains(counters, `"apply":1`) {
		t.Error(counters)
	}
}

func TestHealthOfWorkloads(t *testing.T) {
	f := startFleet(t, 1)
	h := newHub(t)
	e := f.Edges[0]
	e.SetWorkloadHealth("apps", "web", NeverReady)
	digest := h.bundle(apps(1, "one"))
	h.connect(e.Name, e.Kubeconfig())
	h.assign(e.Name, digest)
	h.until(e.Name, "waiting for the Deployment", func(s statusOfEntry) bool { return s.Objects.Applied == 3 && s.Objects.Ready == 2 })
	e.SetWorkloadHealth("apps", "web", Failing)
	h.until(e.Name, "failed", func(s statusOfEntry) bool { return s.Ready == "False" })
	e.SetWorkloadHealth("apps", "web", Healthy)
	h.ready(e.Name, digest)
}
