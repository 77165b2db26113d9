package fleetsim

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/kubeconfig"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/manifests"
)

type statusOfEntry = v1alpha1.AssignmentEntryStatus

// hub is a pool of engines without the hub around it.
type hub struct {
	t    testing.TB
	pool *engine.Pool

	mu      sync.Mutex
	bundles map[string]*object.Bundle
	changed chan struct{}
}

func newHub(t testing.TB) *hub {
	h := &hub{t: t, bundles: map[string]*object.Bundle{}, changed: make(chan struct{}, 1)}
	h.pool = engine.NewPool(engine.PoolOptions{
		Hub: "test-hub", HubUID: "none", Bundles: h, Log: logr.Discard(), RequestTimeout: 5 * time.Second,
		OnChange: func(engine.Key) {
			select {
			case h.changed <- struct{}{}:
			default:
			}
		},
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		h.pool.Stop(ctx)
	})
	return h
}

// Get implements engine.Bundles.
func (h *hub) Get(_ context.Context, digest string) (*object.Bundle, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if b := h.bundles[digest]; b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("bundle %s: %w", digest, fs.ErrNotExist)
}

func key(name string) engine.Key { return engine.Key{Namespace: "fleet", Name: name} }

func (h *hub) connect(name string, data []byte) {
	h.t.Helper()
	cfg, fingerprint, err := kubeconfig.Parse(data)
	if err != nil {
		h.t.Fatal(err)
	}
	h.connectConfig(name, cfg, fingerprint)
}

func (h *hub) connectConfig(name string, cfg *rest.Config, fingerprint string) {
	h.pool.Connect(key(name), engine.Connection{Config: cfg, Fingerprint: fingerprint})
}

// bundle puts the objects of a YAML text on the shelf, for all clusters.
func (h *hub) bundle(text string) string {
	h.t.Helper()
	b := manifests.Bundle(h.t, object.Owner{Hub: "test-hub", Namespace: "fleet", Name: "apps"}, text)
	digest := b.Digest()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bundles[digest] = b
	return digest
}

func (h *hub) assign(name, digest string) {
	d := func(d time.Duration) metav1.Duration { return metav1.Duration{Duration: d} }
	h.pool.Assign(key(name), []v1alpha1.AssignmentEntry{{
		Name: "apps", Revision: "main@sha1:" + digest[7:15], Digest: digest, Prune: true, Wait: true,
		Interval: d(10 * time.Minute), RetryInterval: new(d(time.Minute)), Timeout: d(time.Minute),
	}})
}

// until waits until the report of a cluster is as asked for.
func (h *hub) until(name, what string, is func(v1alpha1.AssignmentEntryStatus) bool) v1alpha1.AssignmentEntryStatus {
	h.t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		list, _ := h.pool.Report(key(name))
		if len(list) > 0 && is(list[0]) {
			return list[0]
		}
		select {
		case <-h.changed:
		case <-tick.C: // another cluster's waiter may have taken the news
		case <-deadline:
			state, _ := h.pool.State(key(name))
			h.t.Fatalf("%s is not %s: %+v\n%+v", name, what, list, state)
		}
	}
}

func (h *hub) ready(name, digest string) v1alpha1.AssignmentEntryStatus {
	h.t.Helper()
	return h.until(name, "ready", func(s v1alpha1.AssignmentEntryStatus) bool {
		return s.Ready == metav1.ConditionTrue && s.AppliedDigest == digest
	})
}

// apps is a namespace, n ConfigMaps with a value and a Deployment without replicas.
func apps(n int, value string) string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: Namespace\nmetadata: {name: apps}")
	for i := range n {
		fmt.Fprintf(&b, "\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm-%02d, namespace: apps}\ndata: {key: %q}", i, value)
	}
	b.WriteString(`
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: apps}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web:1, ports: [{containerPort: 80}]}]}`)
	return b.String()
}

func startFleet(t testing.TB, n int) *Fleet {
	t.Helper()
	f, err := Start(t.Context(), Options{Edges: n})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.Stop()
		if err := f.Err(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func TestEngineWorksOnAFleet(t *testing.T) {
	f := startFleet(t, 10)
	h := newHub(t)
	one := h.bundle(apps(10, "one"))
	for _, e := range f.Edges {
		h.connect(e.Name, e.Kubeconfig())
		h.assign(e.Name, one)
	}
	for _, e := range f.Edges {
		h.ready(e.Name, one)
	}
	c := f.Counters()
	if n := c.Requests["apply"]; n != 120 {
		t.Errorf("%d applies of 12 objects on 10 edges", n)
	}
	if c.Failed != 0 {
		t.Errorf("%d requests failed", c.Failed)
	}

	// One of 12 objects changes and ten go.
	two := h.bundle(apps(5, "one") + "\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: new, namespace: apps}\nstringData: {key: value}")
	before := f.Counters()
	for _, e := range f.Edges {
		h.assign(e.Name, two)
	}
	for _, e := range f.Edges {
		h.ready(e.Name, two)
	}
	if n := f.Counters().Sub(before).Requests["apply"]; n != 10 {
		t.Errorf("%d applies of one object on 10 edges", n)
	}
	for _, e := range f.Edges {
		deleted := map[string]int{}
		for _, w := range e.Writes() {
			// The engine may ask again for what its watch has not seen go yet; that finds nothing.
			if w.Verb == "delete" && w.Code == http.StatusOK {
				deleted[w.Name]++
			}
		}
		if diff := cmp.Diff(map[string]int{"cm-05": 1, "cm-06": 1, "cm-07": 1, "cm-08": 1, "cm-09": 1}, deleted); diff != "" {
			t.Errorf("deleted on %s (-want +got):\n%s", e.Name, diff)
		}
	}
}
