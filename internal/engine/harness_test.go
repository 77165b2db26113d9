package engine

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
	"github.com/skerry-dev/skerry/internal/testkit/manifests"
)

const (
	testHub     = "test-hub"
	waitTimeout = time.Minute // for what comes within a second, on a machine that has other work
)

// TestMain lets the tests of this package share one real API server.
func TestMain(m *testing.M) { os.Exit(controlplane.Main(m, controlplane.Options{})) }

// bundleStore is a store of bundles in memory.
type bundleStore struct {
	mu      sync.Mutex
	bundles map[string]*object.Bundle
}

func (s *bundleStore) Get(_ context.Context, digest string) (*object.Bundle, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.bundles[digest]; b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("bundle %s: %w", digest, fs.ErrNotExist)
}

// rig is a pool with one cluster, and all that it reports.
type rig struct {
	t           *testing.T
	key         Key
	hub         string
	bundleStore *bundleStore
	pool        *Pool
	kube        kubernetes.Interface
	dyn         dynamic.Interface
	ks          map[string]v1alpha1.AssignmentEntry

	// options changes those of the next pool.
	options func(*PoolOptions)
	// connection changes how the next pool connects.
	connection func(*Connection)

	changed chan struct{}
	mu      sync.Mutex
	events  []Event
	sent    []string // "METHOD path" of each request that is not a watch or a read
	reads   int
	// hidden is asked for each read; true answers it with "not found".
	hidden func(r *http.Request) bool
	// before is called with each write before it goes out; an error keeps it from going.
	before func(r *http.Request) error
	// after is called when a write was answered.
	after func(r *http.Request)
}

// newRig connects a pool to the edge. The namespace keeps the tests apart.
func newRig(t *testing.T, hub string, cfg *rest.Config, change ...func(*rig)) *rig {
	t.Helper()
	r := &rig{
		t: t, hub: hub, key: Key{Namespace: strings.ToLower(strings.NewReplacer("/", "-", "_", "-", "=", "-").Replace(t.Name())), Name: "edge"},
		bundleStore: &bundleStore{bundles: map[string]*object.Bundle{}}, ks: map[string]v1alpha1.AssignmentEntry{}, changed: make(chan struct{}, 1),
	}
	r.kube = kubernetes.NewForConfigOrDie(cfg)
	r.dyn = dynamic.NewForConfigOrDie(cfg)
	for _, f := range change {
		f(r)
	}
	r.connect(cfg)
	t.Cleanup(func() { r.pool.Disconnect(r.key) })
	return r
}

// connect starts a new pool, as a hub that was started again would.
func (r *rig) connect(cfg *rest.Config) {
	o := PoolOptions{
		Hub: r.hub, HubUID: "none", Bundles: r.bundleStore, Log: logr.Discard(),
		OnChange: func(Key) {
			select {
			case r.changed <- struct{}{}:
			default:
			}
		},
		OnEvent: func(e Event) { r.mu.Lock(); defer r.mu.Unlock(); r.events = append(r.events, e) },
	}
	if r.options != nil {
		r.options(&o)
	}
	r.pool = NewPool(o)
	conn := Connection{Config: r.tapped(cfg), Fingerprint: "1"}
	if r.connection != nil {
		r.connection(&conn)
	}
	r.pool.Connect(r.key, conn)
}

// tapped lets the rig see the requests of a config.
func (r *rig) tapped(cfg *rest.Config) *rest.Config {
	cfg = rest.CopyConfig(cfg)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return &tap{rig: r, next: next} })
	return cfg
}

type tap struct {
	rig  *rig
	next http.RoundTripper
}

func (p *tap) RoundTrip(req *http.Request) (*http.Response, error) {
	r := p.rig
	if req.Method == http.MethodGet {
		r.mu.Lock()
		r.reads++
		hidden := r.hidden
		r.mu.Unlock()
		if hidden != nil && hidden(req) {
			return &http.Response{StatusCode: http.StatusNotFound, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("404 page not found\n")), Request: req}, nil
		}
		return p.next.RoundTrip(req)
	}
	r.mu.Lock()
	before, after := r.before, r.after
	r.mu.Unlock()
	if before != nil {
		if err := before(req); err != nil {
			return nil, err
		}
	}
	resp, err := p.next.RoundTrip(req)
	r.mu.Lock()
	r.sent = append(r.sent, req.Method+" "+req.URL.Path)
	r.mu.Unlock()
	if after != nil {
		after(req)
	}
	return resp, err
}

// writes returns the writes since the last call.
func (r *rig) writes() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.sent
	r.sent = nil
	return out
}

func count(writes []string, method string) int {
	n := 0
	for _, w := range writes {
		if strings.HasPrefix(w, method+" ") {
			n++
		}
	}
	return n
}

func (r *rig) event(reason string) (Event, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Reason == reason {
			return e, true
		}
	}
	return Event{}, false
}

// want assigns a Kustomization with the objects of a YAML text.
func (r *rig) want(name, text string, change ...func(*v1alpha1.AssignmentEntry)) string {
	r.t.Helper()
	r.ks[name] = r.entry(name, r.bundle(name, text), change...)
	r.assign()
	return r.ks[name].Digest
}

// bundle puts what a Kustomization renders into the store, and assigns nothing.
func (r *rig) bundle(name, text string) string {
	r.t.Helper()
	b := manifests.Bundle(r.t, object.Owner{Hub: r.hub, Namespace: r.key.Namespace, Name: name}, text)
	digest := b.Digest()
	r.bundleStore.mu.Lock()
	defer r.bundleStore.mu.Unlock()
	r.bundleStore.bundles[digest] = b
	return digest
}

func (r *rig) entry(name, digest string, change ...func(*v1alpha1.AssignmentEntry)) v1alpha1.AssignmentEntry {
	d := func(d time.Duration) metav1.Duration { return metav1.Duration{Duration: d} }
	entry := v1alpha1.AssignmentEntry{
		Name: name, Revision: "main@sha1:" + digest[7:15], Digest: digest, Prune: true, Wait: true,
		Interval: d(10 * time.Minute), RetryInterval: new(d(time.Minute)), Timeout: d(time.Minute),
	}
	for _, f := range change {
		f(&entry)
	}
	return entry
}

// change assigns what a Kustomization has in another way.
func (r *rig) change(name string, change func(*v1alpha1.AssignmentEntry)) {
	entry := r.ks[name]
	change(&entry)
	r.ks[name] = entry
	r.assign()
}

func (r *rig) assign() {
	var list []v1alpha1.AssignmentEntry
	for _, e := range r.ks {
		list = append(list, e)
	}
	r.pool.Assign(r.key, list)
}

// until waits until the report of a Kustomization is as asked for.
func (r *rig) until(name, what string, is func(v1alpha1.AssignmentEntryStatus) bool) v1alpha1.AssignmentEntryStatus {
	r.t.Helper()
	deadline := time.NewTimer(waitTimeout)
	defer deadline.Stop()
	var last v1alpha1.AssignmentEntryStatus
	for {
		list, _ := r.pool.Report(r.key)
		for _, s := range list {
			if s.Name == name {
				if last = s; is(s) {
					return s
				}
			}
		}
		select {
		case <-r.changed:
		case <-deadline.C:
			r.t.Fatalf("%s is not %s: %+v", name, what, last)
		}
	}
}

func (r *rig) ready(name string) v1alpha1.AssignmentEntryStatus {
	r.t.Helper()
	digest := r.ks[name].Digest
	return r.until(name, "ready", func(s v1alpha1.AssignmentEntryStatus) bool {
		return s.Ready == metav1.ConditionTrue && s.AppliedDigest == digest
	})
}

func (r *rig) failed(name, reason string) v1alpha1.AssignmentEntryStatus {
	r.t.Helper()
	return r.until(name, "failed with "+reason, func(s v1alpha1.AssignmentEntryStatus) bool {
		return s.Ready == metav1.ConditionFalse && s.Reason == reason
	})
}

// eventually waits for something on the cluster that no watch of the test shows.
func (r *rig) eventually(what string, is func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(waitTimeout)
	for !is() {
		if time.Now().After(deadline) {
			r.t.Fatalf("it never came true that %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (r *rig) namespace() string {
	return fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", r.key.Namespace)
}

func (r *rig) configMap(name, value string) string {
	return fmt.Sprintf("\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: %s}\ndata: {key: %q}\n", name, r.key.Namespace, value)
}

var configMapsResource = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

func (r *rig) value(name string) string {
	cm, err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Get(r.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return "error: " + string(reasonOf(err))
	}
	return cm.Data["key"]
}
