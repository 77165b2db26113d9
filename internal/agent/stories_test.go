package agent

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	hubgateway "github.com/skerry-dev/skerry/internal/gateway"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/golden"
	"github.com/skerry-dev/skerry/internal/testkit/manifests"
)

// stories are told by a whole agent and the gateway of a hub, over TLS, in time that goes by when nothing is left to do;
// the agent's engine applies at once what it is told. The file of testdata/stories with the name holds what goes over the
// link. A new story begins with a file of one line, which says what it is about; -update writes the rest.
var stories = map[string]func(*world){
	"an-agent-joins-and-gets-its-first-bundle":   (*world).join,
	"of-a-change-only-what-differs-travels":      (*world).change,
	"a-reconnect-without-news-brings-nothing":    func(w *world) { w.reconnect(false) },
	"a-reconnect-brings-what-has-changed":        func(w *world) { w.reconnect(true) },
	"settings-go-down-the-stream":                (*world).configure,
	"a-rotation-ends-the-stream-and-the-old-key": (*world).rotate,
	"a-removal-is-answered-once-it-is-done":      (*world).finalize,
	"a-hub-that-stops-says-so":                   (*world).stopHub,
	"of-two-agents-with-one-key-one-is-refused":  (*world).duplicate,
}

func TestStoriesOfTheProtocol(t *testing.T) {
	files, err := filepath.Glob("testdata/stories/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, name := range slices.Sorted(maps.Keys(stories)) {
		want = append(want, "testdata/stories/"+name+".txtar")
	}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Fatalf("stories and their files (-stories +files):\n%s", diff)
	}
	golden.Run(t, "testdata/stories/*.txtar", func(t *testing.T, _ *txtar.Archive) map[string]string {
		text, dir := "", t.TempDir()
		story := stories[filepath.Base(t.Name())]
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, dir)
			defer w.end()
			story(w)
			text = w.told()
		})
		return map[string]string{"link": text}
	})
}

// world is a hub's gateway with maps around it, and agents.
type world struct {
	*transcript

	t      *testing.T
	dir    string // disks of the agents
	edges  []*edgeSite
	ca     []byte
	leaf   *tls.Certificate
	key    ed25519.PrivateKey
	hub    link.HubIdentity
	server *http.Server
	stop   context.CancelFunc

	mu       sync.Mutex // guards what follows
	ways     *listener  // to the hub
	gateway  *hubgateway.Gateway
	cluster  *v1alpha1.Cluster
	assigned *v1alpha1.Assignment
	bundles  map[string]*object.Bundle
}

var edgeKey = engine.Key{Namespace: "fleet", Name: "edge-1"}

func newWorld(t *testing.T, dir string) *world {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		transcript: newTranscript(), t: t, dir: dir, key: key, bundles: map[string]*object.Bundle{},
		hub:     link.HubIdentity{ID: "hub-1", UID: "hub-uid", Namespace: v1alpha1.SystemNamespace, Version: "v0.2.0", Key: public},
		cluster: &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: edgeKey.Namespace, Name: edgeKey.Name}, Spec: v1alpha1.ClusterSpec{Agent: &v1alpha1.Agent{}}},
	}
	ca, caKey, err := hubgateway.NewCA()
	if err == nil {
		w.ca = ca
		w.leaf, err = hubgateway.ServerCertificate(ca, caKey)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.startHub()
	return w
}

// startHub starts a gateway with what the hub's API server has.
func (w *world) startHub() {
	g, err := hubgateway.New(hubgateway.Options{
		Hub: w.hub, Key: w.key, Bundles: w, Bind: w.bind, Now: time.Now, Log: logr.Discard(),
		Cluster: func(context.Context, engine.Key) (*v1alpha1.Cluster, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.cluster == nil {
				return nil, fs.ErrNotExist
			}
			return w.cluster.DeepCopy(), nil
		},
		Assignment: func(context.Context, engine.Key) (*v1alpha1.Assignment, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.assigned.DeepCopy(), nil
		},
		BetterClaim: func(engine.Key, string) (engine.Key, bool) { return engine.Key{}, false },
		OnChange:    func(engine.Key) {},
		OnEvent:     func(engine.Event) {},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(w.t.Context()))
	go g.Run(ctx) // ends with ctx
	server, ways := serveOver(w.over(g.Handler()), w.leaf)
	w.mu.Lock()
	w.gateway, w.ways = g, ways // an agent may dial now
	w.mu.Unlock()
	w.stop, w.server = stop, server
	w.connect()
}

// toHub returns the network before the hub that runs.
func (w *world) toHub() *listener {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ways
}

// connect does what the controllers of a hub do for the Cluster.
func (w *world) connect() {
	w.mu.Lock()
	c, g, assigned := w.cluster.DeepCopy(), w.gateway, w.assigned.DeepCopy()
	w.mu.Unlock()
	g.Connect(edgeKey, engine.Connection{Agent: c.Spec.Agent, Suspend: c.Spec.Suspend})
	if assigned == nil {
		g.Assign(edgeKey, nil)
		return
	}
	g.Assign(edgeKey, assigned.Spec.Entries)
}

func (w *world) setCluster(change func(*v1alpha1.Cluster)) {
	w.mu.Lock()
	change(w.cluster)
	w.mu.Unlock()
	w.connect()
}

func (w *world) bind(_ context.Context, _ *v1alpha1.Cluster, public, uid string) error {
	w.setCluster(func(c *v1alpha1.Cluster) {
		c.Spec.Agent.PublicKey, c.Spec.Agent.ClusterUID, c.Spec.Agent.Join = public, uid, nil
	})
	return nil
}

// Get implements engine.Bundles.
func (w *world) Get(_ context.Context, digest string) (*object.Bundle, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b := w.bundles[digest]; b != nil {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

// invite makes a token for the Cluster, and returns what an agent is installed with.
func (w *world) invite(token string) link.Enrollment {
	sum := link.HashToken(token)
	w.setCluster(func(c *v1alpha1.Cluster) {
		c.Spec.Agent.PublicKey, c.Spec.Agent.ClusterUID = "", ""
		c.Spec.Agent.Join = &v1alpha1.AgentJoin{TokenHash: hex.EncodeToString(sum[:]), Expires: metav1.NewTime(time.Now().Add(time.Hour))}
	})
	return link.Enrollment{Gateway: "https://hub.example", CA: string(w.ca), HubID: w.hub.ID, HubKey: w.hub.Key, Cluster: edgeKey.String(), Token: token}
}

// assign assigns entries, by name, of the manifests of a bundle each.
func (w *world) assign(entries map[string]string) {
	w.mu.Lock()
	a := &v1alpha1.Assignment{}
	if w.assigned != nil {
		a = w.assigned.DeepCopy()
	}
	a.UID, a.Spec.Entries = "assignment-1", nil
	a.Generation++
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		b := manifests.Bundle(w.t, object.Owner{Hub: w.hub.ID, Namespace: edgeKey.Namespace, Name: name}, entries[name])
		w.bundles[b.Digest()] = b
		a.Spec.Entries = append(a.Spec.Entries, v1alpha1.AssignmentEntry{
			Name: name, Revision: "main@sha1:1", Digest: b.Digest(), Interval: metav1.Duration{Duration: time.Minute}, Timeout: metav1.Duration{Duration: time.Minute},
		})
	}
	w.assigned = a
	w.mu.Unlock()
	w.connect()
}

// storeReport writes what is reported to the Assignment's status, as the controllers do.
func (w *world) storeReport() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if report, told := w.gateway.Report(edgeKey); told {
		w.assigned.Status.Entries = report
	}
}

// pass lets time go by, and what is to happen then happen.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// until lets time go by until a text is written down.
func (w *world) until(text string) {
	w.t.Helper()
	for began := time.Now(); !w.has(text); w.pass(50 * time.Millisecond) {
		if time.Since(began) > time.Hour {
			w.t.Fatal("never:", text)
		}
	}
}

func (w *world) told() string {
	text, failed := w.text()
	for _, err := range failed {
		w.t.Error(err)
	}
	return text
}

// end ends everything that runs.
func (w *world) end() {
	for _, e := range w.edges {
		e.end()
	}
	w.stopServing()
	w.pass(10 * time.Minute) // what ends waits for nothing longer
}

func (w *world) stopServing() {
	_ = w.server.Close()
	w.toHub().cut()
	w.stop()
}

// edgeSite is a whole agent with an API server and a disk of its own.
type edgeSite struct {
	w      *world
	name   string
	api    *apiServer
	server *http.Server
	ways   *listener // to the API server
	pool   *pool
	cancel context.CancelFunc
	done   chan error
}

// site makes an edge; name is written into the transcript, where it is not empty.
func (w *world) site(name string) *edgeSite {
	e := &edgeSite{w: w, name: name, api: &apiServer{objects: map[string]map[string]any{}}, done: make(chan error, 1)}
	e.api.put("/api/v1/namespaces/kube-system", map[string]any{"metadata": map[string]any{"name": "kube-system", "uid": "edge-uid"}})
	e.server, e.ways = serveOver(e.api, nil)
	w.edges = append(w.edges, e)
	return e
}

// start starts the agent, with an engine that applies at once.
func (e *edgeSite) start() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(e.w.t.Context()))
	e.cancel = cancel
	o := Defaults()
	o.Config = &rest.Config{Host: "http://edge", Dial: func(context.Context, string, string) (net.Conn, error) { return e.ways.dial("") }}
	o.Dial = func(context.Context, string, string) (net.Conn, error) { return e.w.toHub().dial(e.name) }
	o.StoragePath, o.HealthAddress, o.Holder, o.Version, o.Log, o.KeepInstallation = e.disk(), "0", "pod-1", "v0.2.0", logr.Discard(), true
	o.NewPool = func(po engine.PoolOptions) engine.Pooled {
		e.pool = &pool{o: po, finalizes: func() { time.Sleep(time.Second) }}
		return e.pool
	}
	go func() { e.done <- Run(ctx, o) }() // ends with ctx
}

func (e *edgeSite) end() {
	if e.cancel != nil {
		e.cancel()
		if err := <-e.done; err != nil {
			e.w.t.Error("the agent ended with", err)
		}
	}
	_ = e.server.Close()
	e.ways.cut()
}

func (e *edgeSite) disk() string { return filepath.Join(e.w.dir, "disk-"+e.name) }

// clone returns a copy of the edge with the agent's disk, as that of a virtual machine.
func (e *edgeSite) clone(name string) *edgeSite {
	c := e.w.site(name)
	if err := os.CopyFS(c.disk(), os.DirFS(e.disk())); err != nil {
		e.w.t.Fatal(err)
	}
	e.api.mu.Lock()
	defer e.api.mu.Unlock()
	for path, o := range e.api.objects {
		c.api.objects[path] = maps.Clone(o)
	}
	return c
}

// serveOver serves over connections in memory, with TLS where there is a certificate.
func serveOver(handler http.Handler, leaf *tls.Certificate) (*http.Server, *listener) {
	l := &listener{conns: make(chan net.Conn), done: make(chan struct{}), open: map[net.Conn]bool{}}
	s := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ConnContext: func(ctx context.Context, c net.Conn) context.Context {
		if over, ok := c.(*tls.Conn); ok {
			c = over.NetConn()
		}
		n, _ := c.(*named)
		return context.WithValue(ctx, nameKey{}, n.name)
	}}
	go func() { // ends with Close
		if leaf == nil {
			_ = s.Serve(l)
			return
		}
		s.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*leaf}}
		_ = s.ServeTLS(l, "", "")
	}()
	return s, l
}

// listener accepts connections in memory, which can be cut.
type listener struct {
	conns chan net.Conn
	done  chan struct{}
	close sync.Once

	mu     sync.Mutex // guards what follows
	open   map[net.Conn]bool
	broken bool
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.close.Do(func() { close(l.done) })
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443} }

var errCut = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}

func (l *listener) dial(name string) (net.Conn, error) {
	client, near := net.Pipe()
	far, server := net.Pipe()
	l.mu.Lock()
	broken := l.broken
	if !broken {
		l.open[near], l.open[far] = true, true
	}
	l.mu.Unlock()
	if broken {
		return nil, errCut
	}
	go carry(near, far) // ends with either, as the other one
	go carry(far, near)
	select {
	case l.conns <- &named{server, name}:
		return client, nil
	case <-l.done:
		return nil, errors.Join(errCut, near.Close(), far.Close())
	}
}

// cut closes all connections, and refuses others until heal.
func (l *listener) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = true
	for c := range l.open {
		_ = c.Close()
	}
	clear(l.open)
}

func (l *listener) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = false
}

// carry brings what comes from one end to the other. Both may write before either reads, as TLS does.
func carry(from, to net.Conn) {
	queue := make(chan []byte, 1024)
	go func() { // ends with the queue
		for data := range queue {
			if _, err := to.Write(data); err != nil {
				_ = from.Close()
			}
		}
		_ = to.Close()
	}()
	defer close(queue)
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			queue <- bytes.Clone(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

const (
	settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: default}\ndata: {color: blue}"
	banner   = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: banner, namespace: default}\ndata: {text: hello}"
	repaired = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: banner, namespace: default}\ndata: {text: hello again}"
	metrics  = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: metrics, namespace: default}\ndata: {port: \"9090\"}"
)

// joined is an agent on its first bundles, before the story.
func (w *world) joined(name string) *edgeSite {
	e := w.site(name)
	e.api.enroll(w.t, w.invite("token-1"))
	w.assign(map[string]string{"apps": settings + "\n---\n" + banner, "monitoring": metrics})
	e.start()
	w.pass(10 * time.Second)
	if got := len(e.pool.last()); got != 2 {
		w.t.Fatalf("the agent has %d entries", got)
	}
	w.begin()
	return e
}

func (w *world) join() {
	e := w.site("")
	e.api.enroll(w.t, w.invite("token-1"))
	w.assign(map[string]string{"apps": settings + "\n---\n" + banner})
	w.begin()
	w.say("An agent starts with the token that was made for its Cluster, to which the hub assigns one entry.")
	e.start()
	w.pass(10 * time.Second)
}

func (w *world) change() {
	w.joined("")
	w.say("The hub changes one of two entries: of the two objects of its bundle, one is another.")
	w.assign(map[string]string{"apps": settings + "\n---\n" + repaired, "monitoring": metrics})
	w.pass(10 * time.Second)
}

func (w *world) reconnect(changed bool) {
	w.joined("")
	w.say("The link is cut.")
	w.toHub().cut()
	w.pass(10 * time.Second)
	if changed {
		w.say("Meanwhile the hub changes one of two entries: of the two objects of its bundle, one is another.")
		w.assign(map[string]string{"apps": settings + "\n---\n" + repaired, "monitoring": metrics})
		w.pass(10 * time.Second)
	}
	w.say("The link is back.")
	w.toHub().heal()
	w.pass(time.Minute)
}

func (w *world) configure() {
	w.joined("")
	w.say("The Cluster gets another heartbeat and keepalive.")
	w.setCluster(func(c *v1alpha1.Cluster) {
		d := func(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }
		c.Spec.Agent.Heartbeat, c.Spec.Agent.KeepAlive = d(20*time.Minute), d(5*time.Minute)
	})
	w.pass(10 * time.Second)
	w.say("It is suspended.")
	w.setCluster(func(c *v1alpha1.Cluster) { c.Spec.Suspend = true })
	w.pass(10 * time.Second)
	w.say("It is resumed.")
	w.setCluster(func(c *v1alpha1.Cluster) { c.Spec.Suspend = false })
	w.pass(10 * time.Second)
}

func (w *world) rotate() {
	e := w.joined("")
	w.say("The hub ends the key, and makes another token.")
	next := w.invite("token-2")
	w.until("/v1/session: 401")
	w.say("The agent gets the token.")
	e.api.enroll(w.t, next)
	w.pass(11 * time.Second)
}

func (w *world) finalize() {
	e := w.joined("")
	w.say("The Cluster is removed: the hub asks the agent to take away what Skerry keeps there for itself.")
	if err := w.gateway.Finalize(w.t.Context(), edgeKey); err != nil {
		w.t.Error("the removal ends with", err)
	}
	w.pass(10 * time.Second)
	w.say("The Cluster has gone. The agent ends when the hub has not known its key three times.")
	w.mu.Lock()
	w.cluster = nil
	w.mu.Unlock()
	w.gateway.Disconnect(edgeKey)
	w.pass(time.Minute)
	select {
	case err := <-e.done:
		e.done <- err
	default:
		w.t.Error("the agent goes on")
	}
}

func (w *world) stopHub() {
	w.joined("")
	w.storeReport()
	w.say("The hub stops, and another one begins.")
	w.gateway.Stop(w.t.Context())
	synctest.Wait()
	w.stopServing()
	synctest.Wait() // the agent finds no hub, whichever runs first
	w.startHub()
	w.pass(10 * time.Second)
}

func (w *world) duplicate() {
	e := w.joined("original")
	w.say("A copy of the cluster starts, with a copy of the agent and its key.")
	e.clone("copy").start()
	w.pass(30 * time.Second)
}
