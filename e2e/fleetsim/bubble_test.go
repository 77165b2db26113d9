package fleetsim

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/agent"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/gateway"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/manifests"
)

// bubble is a hub's gateway, edges, and the agent of each edge, in one bubble of testing/synctest: agents, engines and
// gateway are the real ones, over TLS, and time goes by when nothing is left to do. So three days take seconds, and a
// slow machine changes nothing. Of the hub there are maps in place of its API server, which survive its death.
type bubble struct {
	t     *testing.T
	fleet *Fleet
	hub   *bubbleHub
	sites []*site
	dir   string
	// pass is asked before a message goes over a link, or a write to an edge; nil lets all through.
	pass func(s *site) verdict

	mu       sync.Mutex
	failures map[string]bool
	log      []string
}

// verdict is what happens to a message: it goes its way, or gets lost; and what is to be done with it, or right after it
// has arrived.
type verdict struct {
	lost bool
	then func()
}

// prepared is what all bubbles share of a fleet: it costs the most, and is only read.
var prepared = sync.OnceValues(newFleet)

// inBubble tells a story about a number of edges.
func inBubble(t *testing.T, edges int, story func(w *bubble)) {
	t.Helper()
	base, err := prepared()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &bubble{t: t, dir: dir, failures: map[string]bool{}}
		w.fleet = w.edges(base, edges)
		w.hub = newBubbleHub(w)
		for _, e := range w.fleet.Edges {
			w.sites = append(w.sites, newSite(w, e))
		}
		defer w.end()
		story(w)
	})
}

// edges makes edges that are reached through pipes.
func (w *bubble) edges(base *Fleet, n int) *Fleet {
	config, authority, err := serverTLS()
	if err != nil {
		w.t.Fatal(err)
	}
	f := &Fleet{
		epoch: time.Now().UTC(), seed: 7, tls: config, authority: base64.StdEncoding.EncodeToString(authority),
		kinds: base.kinds, documents: base.documents, allGroups: base.allGroups, transitions: base.transitions,
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	for i := range n {
		e := newEdge(f, i)
		e.address = "127.0.0.1:6443"
		e.net.conns, e.net.waiting = map[*conn]bool{}, map[net.Conn]bool{}
		f.Edges = append(f.Edges, e)
	}
	f.running.Go(func() {
		f.tick(ctx)
		f.halt()
	})
	return f
}

// end ends all that runs.
func (w *bubble) end() {
	for _, s := range w.sites {
		s.link.heal()
		s.api.heal()
		s.kill()
	}
	w.hub.kill()
	time.Sleep(10 * time.Minute) // time stands still once the story is over, and what ends waits for nothing longer
	w.fleet.Stop()
	if err := w.fleet.Err(); err != nil {
		w.t.Error(err)
	}
}

// fail reports each failure once.
func (w *bubble) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.failures[text] {
		w.failures[text] = true
		w.t.Error(text)
	}
}

// logger keeps what an agent logs, for the case that the story goes wrong.
func (w *bubble) logger(s *site, life int) logr.Logger {
	began := time.Now()
	return funcr.New(func(prefix, args string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.log = append(w.log, fmt.Sprintf("%s/%d %s %s: %s", s.edge.Name, life, time.Since(began), prefix, args))
		w.log = w.log[max(0, len(w.log)-1000):]
	}, funcr.Options{})
}

// tail returns the last lines of the logs of agents, where there are few.
func (w *bubble) tail() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.sites) > 3 {
		return ""
	}
	return strings.Join(w.log[max(0, len(w.log)-30):], "\n")
}

// until lets time go by until a condition holds, and returns how long it took.
func (w *bubble) until(what string, limit time.Duration, holds func() bool) time.Duration {
	w.t.Helper()
	began := time.Now()
	for !holds() {
		if time.Since(began) > limit {
			w.t.Fatalf("not within %s: %s\n%s", limit, what, w.tail())
		}
		time.Sleep(50 * time.Millisecond)
	}
	return time.Since(began)
}

// wires are the connections from one site to one place.
type wires struct {
	mu     sync.Mutex
	broken bool
	held   chan struct{} // nil, or closed when the connections are not half-open any more
	delay  time.Duration
	open   map[net.Conn]bool
	pass   func() verdict
}

type chunk struct {
	data []byte
	then func()
}

// connect makes a connection; who has it closes it at both ends.
func (l *wires) connect() (client, server net.Conn, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		return nil, nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	client, near := net.Pipe()
	far, server := net.Pipe()
	l.open[near], l.open[far] = true, true
	go l.pump(near, far)
	go l.pump(far, near)
	return client, server, nil
}

// pump brings what comes from one end to the other.
func (l *wires) pump(from, to net.Conn) {
	queue := make(chan chunk, 1024)
	go l.deliver(queue, from, to)
	defer close(queue)
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			v := verdict{}
			if l.pass != nil {
				v = l.pass()
			}
			if v.lost {
				v.then()
				return
			}
			queue <- chunk{bytes.Clone(buf[:n]), v.then}
		}
		if err != nil {
			return
		}
	}
}

func (l *wires) deliver(queue <-chan chunk, from, to net.Conn) {
	defer l.close(from, to)
	for c := range queue {
		l.mu.Lock()
		held, delay := l.held, l.delay
		l.mu.Unlock()
		if held != nil {
			<-held
		}
		if delay > 0 {
			time.Sleep(delay)
		}
		_, err := to.Write(c.data)
		if c.then != nil {
			c.then()
		}
		if err != nil {
			break
		}
	}
	l.close(from, to)
	for range queue { // until the other end has noticed
	}
}

func (l *wires) close(conns ...net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
		delete(l.open, c)
	}
}

// reset closes all connections.
func (l *wires) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		_ = c.Close()
	}
}

// connections returns how many are open.
func (l *wires) connections() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open) / 2
}

func (l *wires) cut() {
	l.heal()
	l.mu.Lock()
	l.broken = true
	l.mu.Unlock()
	l.reset()
}

func (l *wires) halfOpen() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = make(chan struct{})
	}
}

func (l *wires) slow(delay time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay = delay
}

func (l *wires) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken, l.delay = false, 0
	if l.held != nil {
		close(l.held)
		l.held = nil
	}
}

// pipes is a listener at the end of wires.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443} }

// bubbleHub is a gateway with maps around it, which are what a hub has in its API server.
type bubbleHub struct {
	w           *bubble
	identity    link.HubIdentity
	key         ed25519.PrivateKey
	ca          []byte
	certificate *tls.Certificate

	mu       sync.Mutex
	clusters map[engine.Key]*v1alpha1.Cluster
	stored   map[engine.Key]*v1alpha1.Assignment
	bundles  map[string]*object.Bundle
	events   []engine.Event
	orders   map[engine.Key]*order // of what the hub was told to be applied
	current  *incarnation
}

// incarnation is one life of the hub's process.
type incarnation struct {
	gateway  *gateway.Gateway
	listener *pipes
	stop     context.CancelFunc
	alive    atomic.Bool
}

func newBubbleHub(w *bubble) *bubbleHub {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	h := &bubbleHub{
		w: w, key: private, clusters: map[engine.Key]*v1alpha1.Cluster{}, stored: map[engine.Key]*v1alpha1.Assignment{},
		bundles: map[string]*object.Bundle{}, orders: map[engine.Key]*order{},
		identity: link.HubIdentity{ID: "hub-1", UID: "hub-uid", Namespace: v1alpha1.SystemNamespace, Version: "v0.2.0", Key: public},
	}
	ca, caKey, err := gateway.NewCA()
	if err == nil {
		h.ca = ca
		h.certificate, err = gateway.ServerCertificate(ca, caKey)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	h.start()
	return h
}

// start begins a life of the process, with what the API server has.
func (h *bubbleHub) start() {
	ctx, stop := context.WithCancel(context.Background())
	in := &incarnation{listener: newPipes(), stop: stop}
	in.alive.Store(true)
	g, err := gateway.New(gateway.Options{
		Hub: h.identity, Key: h.key, Bundles: h, Now: time.Now, Log: logr.Discard(),
		Cluster: func(_ context.Context, key engine.Key) (*v1alpha1.Cluster, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if c := h.clusters[key]; c != nil {
				return c.DeepCopy(), nil
			}
			return nil, fs.ErrNotExist
		},
		Assignment: func(_ context.Context, key engine.Key) (*v1alpha1.Assignment, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.stored[key].DeepCopy(), nil
		},
		Bind: func(_ context.Context, c *v1alpha1.Cluster, public, uid string) error {
			return h.bind(in, c, public, uid)
		},
		BetterClaim: func(engine.Key, string) (engine.Key, bool) { return engine.Key{}, false },
		OnChange:    func(key engine.Key) { h.observe(in, key) },
		OnEvent: func(e engine.Event) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if in.alive.Load() {
				h.events = append(h.events, e)
			}
		},
	})
	if err != nil {
		h.w.t.Error(err)
		stop()
		return
	}
	in.gateway = g
	go func() {
		err := g.Serve(ctx, gateway.ServeOptions{Listener: in.listener, Certificate: func() (*tls.Certificate, error) { return h.certificate, nil }})
		if err != nil && in.alive.Load() {
			h.w.fail("the gateway ended with %v", err)
		}
	}()
	h.mu.Lock()
	h.current = in
	var keys []engine.Key
	for key := range h.clusters {
		keys = append(keys, key)
	}
	h.mu.Unlock()
	for _, key := range keys {
		h.connect(in, key)
	}
}

// kill ends the process as kill -9 does: nothing of it is heard any more, and nothing that it had in memory is left.
func (h *bubbleHub) kill() {
	h.mu.Lock()
	in := h.current
	h.mu.Unlock()
	in.alive.Store(false)
	_ = in.listener.Close()
	for _, s := range h.w.sites {
		s.link.reset()
	}
	in.stop()
}

func (h *bubbleHub) life() *incarnation {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.current
}

// connect does what the controllers do for a Cluster.
func (h *bubbleHub) connect(in *incarnation, key engine.Key) {
	h.mu.Lock()
	c, stored := h.clusters[key].DeepCopy(), h.stored[key].DeepCopy()
	h.mu.Unlock()
	in.gateway.Connect(key, engine.Connection{Agent: c.Spec.Agent, KnownUID: c.Status.UID})
	if stored == nil {
		in.gateway.Assign(key, nil)
	} else {
		in.gateway.Assign(key, stored.Spec.Entries)
	}
}

func (h *bubbleHub) bind(in *incarnation, c *v1alpha1.Cluster, public, uid string) error {
	key := engine.Key{Namespace: c.Namespace, Name: c.Name}
	h.mu.Lock()
	live := h.clusters[key]
	if !in.alive.Load() || live.Spec.Agent.Join == nil || live.Spec.Agent.Join.TokenHash != c.Spec.Agent.Join.TokenHash {
		h.mu.Unlock()
		return errors.New("the token is used")
	}
	live.Spec.Agent.PublicKey, live.Spec.Agent.ClusterUID, live.Spec.Agent.Join = public, uid, nil
	h.mu.Unlock()
	h.connect(in, key)
	return nil
}

// observe does what the controllers do with a report, and holds it against what was decided.
func (h *bubbleHub) observe(in *incarnation, key engine.Key) {
	if in.gateway == nil || !in.alive.Load() {
		return
	}
	report, told := in.gateway.Report(key)
	if !told {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if stored := h.stored[key]; stored != nil {
		stored.Status.Entries = report
	}
	for _, e := range report {
		if e.AppliedDigest != "" {
			if err := h.orders[key].see(e.AppliedDigest); err != nil {
				h.w.fail("%s reports %s: %v", key.Name, e.AppliedDigest, err)
			}
		}
	}
}

// add makes a Cluster that waits for an agent, and returns what the agent is installed with.
func (h *bubbleHub) add(key engine.Key) link.Enrollment {
	token := "token of " + key.Name
	sum := link.HashToken(token)
	h.mu.Lock()
	h.clusters[key] = &v1alpha1.Cluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, UID: types.UID(key.Name)},
		Spec: v1alpha1.ClusterSpec{Agent: &v1alpha1.Agent{Join: &v1alpha1.AgentJoin{
			TokenHash: hex.EncodeToString(sum[:]), Expires: metav1.NewTime(time.Now().Add(time.Hour)),
		}}},
	}
	h.orders[key] = &order{}
	h.mu.Unlock()
	h.connect(h.life(), key)
	return link.Enrollment{Gateway: "https://hub.example", CA: string(h.ca), HubID: h.identity.ID, HubKey: h.identity.Key, Cluster: key.String(), Token: token}
}

// Get implements engine.Bundles.
func (h *bubbleHub) Get(_ context.Context, digest string) (*object.Bundle, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if b := h.bundles[digest]; b != nil {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

// decide assigns a bundle of the manifests.
func (h *bubbleHub) decide(key engine.Key, text string) string {
	b := manifests.Bundle(h.w.t, object.Owner{Hub: h.identity.ID, Namespace: key.Namespace, Name: "apps"}, text)
	digest := b.Digest()
	h.mu.Lock()
	h.bundles[digest] = b
	h.orders[key].decide(digest)
	a := h.stored[key]
	if a == nil {
		a = &v1alpha1.Assignment{ObjectMeta: metav1.ObjectMeta{UID: types.UID("assignment of " + key.Name)}}
	}
	a = a.DeepCopy()
	a.Generation++
	now, d := metav1.Now(), func(d time.Duration) metav1.Duration { return metav1.Duration{Duration: d} }
	a.Spec.Entries = []v1alpha1.AssignmentEntry{{
		Name: "apps", Revision: "main@sha1:" + digest[7:15], Digest: digest, AssignedAt: &now, Prune: true, Wait: true,
		Interval: d(10 * time.Minute), RetryInterval: new(d(time.Minute)), Timeout: d(time.Minute),
	}}
	h.stored[key] = a
	in, entries := h.current, a.Spec.Entries
	h.mu.Unlock()
	in.gateway.Assign(key, entries)
	return digest
}

// ready says whether the hub knows that a cluster is on what was decided last.
func (h *bubbleHub) ready(key engine.Key) bool {
	in := h.life()
	state, _ := in.gateway.State(key)
	report, told := in.gateway.Report(key)
	h.mu.Lock()
	defer h.mu.Unlock()
	return told && state.Reachable && state.Usable && len(report) == 1 && report[0].Ready == metav1.ConditionTrue && report[0].AppliedDigest == h.orders[key].last()
}

// told returns the messages of the events with a reason.
func (h *bubbleHub) told(reason string) (all []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if e.Reason == reason {
			all = append(all, e.Message)
		}
	}
	return all
}

// order holds what is seen of a cluster against what was decided for it: it may leave decisions out, and never comes
// back to one without a decision to do so.
type order struct {
	decided []string
	at      int
	// restored says that the cluster was brought back to an earlier state by hand, and may say so.
	restored bool
}

func (o *order) decide(what string) {
	if len(o.decided) == 0 || o.last() != what {
		o.decided = append(o.decided, what)
	}
}

func (o *order) last() string {
	if len(o.decided) == 0 {
		return ""
	}
	return o.decided[len(o.decided)-1]
}

func (o *order) see(what string) error {
	if i := slices.Index(o.decided[o.at:], what); i >= 0 {
		o.at += i
		return nil
	}
	if slices.Contains(o.decided, what) && o.restored {
		return nil
	}
	if slices.Contains(o.decided, what) {
		return errors.New("it goes back without a decision")
	}
	return errors.New("it was never assigned")
}

// site is an edge with its agent, which is killed and started again.
type site struct {
	w    *bubble
	edge *Edge
	key  engine.Key
	link *wires // to the hub
	api  *wires // to its own API server
	pod  string // the agent's name in the lease

	mu      sync.Mutex
	lives   int
	mark    string // what the mark on the edge says it is of
	current *life
	applied order // by the mark of what is applied
}

// life is one process of an agent.
type life struct {
	s    *site
	dir  string
	dead atomic.Bool
	stop context.CancelFunc

	mu    sync.Mutex
	conns []net.Conn
}

const enrollmentPath = "/api/v1/namespaces/" + v1alpha1.SystemNamespace + "/secrets"

func newSite(w *bubble, e *Edge) *site {
	s := siteOf(w, e, engine.Key{Namespace: "fleet", Name: e.Name}, "pod-1")
	enrollment, err := json.Marshal(w.hub.add(s.key))
	if err != nil {
		w.t.Fatal(err)
	}
	s.mustAsk(http.MethodPost, "/api/v1/namespaces", map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": v1alpha1.SystemNamespace}})
	s.mustAsk(http.MethodPost, enrollmentPath, map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": link.EnrollmentSecret, "namespace": v1alpha1.SystemNamespace},
		"type": "Opaque", "data": map[string]any{link.EnrollmentKey: enrollment},
	})
	return s
}

func siteOf(w *bubble, e *Edge, key engine.Key, pod string) *site {
	s := &site{w: w, edge: e, key: key, pod: pod, link: &wires{open: map[net.Conn]bool{}}, api: &wires{open: map[net.Conn]bool{}}}
	s.link.pass = func() verdict { return s.pass() }
	return s
}

// beside returns a second agent on the same edge.
func (s *site) beside(pod string) *site {
	other := siteOf(s.w, s.edge, s.key, pod)
	other.applied.decided = slices.Clone(s.applied.decided)
	s.w.sites = append(s.w.sites, other)
	return other
}

// clone returns a copy of the edge, with the agent and its disk, as that of a virtual machine.
func (s *site) clone() *site {
	e := newEdge(s.w.fleet, len(s.w.fleet.Edges))
	e.address = s.edge.address
	e.net.conns, e.net.waiting = map[*conn]bool{}, map[net.Conn]bool{}
	e.writer = s.edge.writer
	e.recall(s.edge.backup())
	s.w.fleet.Edges = append(s.w.fleet.Edges, e)
	other := siteOf(s.w, e, s.key, s.pod)
	other.applied.decided = slices.Clone(s.applied.decided)
	other.mark = s.edge.Name
	s.mu.Lock()
	dir := s.current.dir
	s.mu.Unlock()
	if err := copyFolder(dir, other.folder(0)); err != nil {
		s.w.t.Fatal(err)
	}
	s.w.sites = append(s.w.sites, other)
	return other
}

// backup is what etcd has of an edge.
type backup struct {
	version uint64
	objects map[*kind][]*instance
}

func (e *Edge) backup() backup {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := backup{e.version, map[*kind][]*instance{}}
	for k, c := range e.store {
		b.objects[k] = slices.Clone(c.objects)
	}
	return b
}

// recall makes an edge what it was, as a restore does: versions go on above all that there were.
func (e *Edge) recall(b backup) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.version = max(e.version, b.version) + 1_000_000
	e.store, e.history, e.forgotten = map[*kind]*collection{}, nil, e.version
	for k, objects := range b.objects {
		e.store[k] = &collection{objects: slices.Clone(objects)}
	}
}

func (s *site) pass() verdict {
	if s.w.pass == nil {
		return verdict{}
	}
	return s.w.pass(s)
}

// ask sends a request of a person to the edge.
func (s *site) ask(method, path string, body any) (int, []byte) {
	raw, err := json.Marshal(body)
	if err != nil {
		s.w.t.Fatal(err)
	}
	r := &request{method: method, path: path, query: "fieldManager=kubectl-edit", accept: jsonType, contentType: jsonType, authorization: s.edge.authorization, userAgent: "kubectl", body: raw}
	if method == http.MethodPatch {
		r.contentType = "application/merge-patch+json"
	}
	_, a := s.edge.answer(nil, r)
	return a.code, a.body
}

func (s *site) mustAsk(method, path string, body any) []byte {
	s.w.t.Helper()
	code, answer := s.ask(method, path, body)
	if code >= 300 {
		s.w.t.Fatalf("%s %s: %d %s", method, path, code, answer)
	}
	return answer
}

const mapsPath = "/api/v1/namespaces/default/configmaps"

// edit changes a ConfigMap by hand.
func (s *site) edit(name, value string) {
	s.w.t.Helper()
	s.mustAsk(http.MethodPatch, mapsPath+"/"+name, map[string]any{"data": map[string]any{"v": value}})
}

// configMaps returns data.v of the ConfigMaps on the edge that Skerry has, by name.
func (s *site) configMaps() map[string]string {
	var list struct {
		Items []struct {
			Metadata metav1.ObjectMeta `json:"metadata"`
			Data     map[string]string `json:"data"`
		} `json:"items"`
	}
	if err := json.Unmarshal(s.mustAsk(http.MethodGet, mapsPath, nil), &list); err != nil {
		s.w.t.Fatal(err)
	}
	out := map[string]string{}
	for _, item := range list.Items {
		out[item.Metadata.Name] = item.Data["v"]
	}
	return out
}

// counts returns how many ConfigMaps were made and deleted on the edge.
func (s *site) counts() (created, deleted int) {
	for _, w := range s.edge.Writes() {
		switch {
		case w.Resource != "configmaps" || w.Namespace != "default":
		case w.Code == http.StatusCreated:
			created++
		case w.Verb == "delete" && w.Code == http.StatusOK:
			deleted++
		}
	}
	return created, deleted
}

// folder is the disk of one life.
func (s *site) folder(life int) string {
	return filepath.Join(s.w.dir, s.edge.Name+"-"+s.pod, fmt.Sprint(life))
}

// start begins a process of the agent, on the disk that the last one left.
func (s *site) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	dir := s.folder(s.lives)
	if s.current != nil {
		if err := copyFolder(s.current.dir, dir); err != nil {
			s.w.fail("cannot copy a disk: %v", err)
		}
	}
	s.lives++
	ctx, stop := context.WithCancel(context.Background())
	l := &life{s: s, dir: dir, stop: stop}
	s.current = l
	o := agent.Defaults()
	o.Config = &rest.Config{
		Host: s.edge.URL(), BearerToken: s.edge.token, Dial: l.dial(s.api, func(server net.Conn) { s.w.fleet.running.Go(func() { s.edge.converse(server) }) }),
		TLSClientConfig: rest.TLSClientConfig{CAData: authorityOf(s.w.t, s.w.fleet)},
		WrapTransport:   func(next http.RoundTripper) http.RoundTripper { return &writes{l, next} },
	}
	o.Dial = l.dial(s.link, func(server net.Conn) {
		in := s.w.hub.life()
		select {
		case in.listener.conns <- server:
		case <-in.listener.done:
			_ = server.Close()
		}
	})
	o.StoragePath, o.HealthAddress, o.Holder, o.Version, o.Log, o.KeepInstallation = dir, "0", s.pod, "v0.2.0", s.w.logger(s, s.lives), true
	go func() {
		if err := agent.Run(ctx, o); err != nil && !l.dead.Load() {
			s.w.fail("the agent of %s ended: %v", s.edge.Name, err)
		}
	}()
}

func authorityOf(t *testing.T, f *Fleet) []byte {
	pem, err := base64.StdEncoding.DecodeString(f.authority)
	if err != nil {
		t.Fatal(err)
	}
	return pem
}

// kill ends the process as kill -9 does: nothing that it does from now on leaves it, and the next one gets the disk as
// it is at this moment.
func (s *site) kill() {
	s.mu.Lock()
	l := s.current
	s.mu.Unlock()
	if l == nil || l.dead.Swap(true) {
		return
	}
	l.mu.Lock()
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.mu.Unlock()
	frozen := l.dir + "-frozen"
	if err := copyFolder(l.dir, frozen); err != nil {
		s.w.fail("cannot copy a disk: %v", err)
	}
	s.mu.Lock()
	l.dir = frozen
	s.mu.Unlock()
	l.stop()
}

// loseDisk takes the disk away from an agent that does not run.
func (s *site) loseDisk() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current.dir = filepath.Join(s.w.dir, "none")
}

// restart is a kill, after which the kubelet starts the container again.
func (s *site) restart() {
	s.kill()
	s.start()
}

// dial opens connections for as long as the process lives.
func (l *life) dial(way *wires, arrive func(server net.Conn)) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.dead.Load() {
			return nil, syscall.EPIPE
		}
		client, server, err := way.connect()
		if err != nil {
			return nil, err
		}
		l.conns = append(l.conns, client)
		go arrive(server)
		return client, nil
	}
}

// writes passes on requests, holds what is applied against what was decided, and asks about writes.
type writes struct {
	life *life
	next http.RoundTripper
}

func (w *writes) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.life.dead.Load() {
		return nil, syscall.EPIPE
	}
	if r.Method == http.MethodGet {
		return w.next.RoundTrip(r)
	}
	if r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/configmaps/mark") {
		w.check(r)
	}
	v := w.life.s.pass()
	if v.lost {
		v.then()
		return nil, syscall.EPIPE
	}
	res, err := w.next.RoundTrip(r)
	if v.then != nil {
		if err == nil {
			_ = res.Body.Close()
		}
		v.then()
		return nil, syscall.EPIPE
	}
	return res, err
}

// check holds the mark that is applied against what was decided.
func (w *writes) check(r *http.Request) {
	body, err := r.GetBody()
	if err != nil {
		w.life.s.w.fail("%v", err)
		return
	}
	raw, err := io.ReadAll(body)
	var mark struct {
		Data struct{ Of, V string }
	}
	if err == nil {
		err = json.Unmarshal(raw, &mark)
	}
	s := w.life.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && mark.Data.Of != cmp.Or(s.mark, s.edge.Name) {
		err = fmt.Errorf("it is of %s", mark.Data.Of)
	}
	if err == nil && mark.Data.V != "" { // else it only takes its label off
		err = s.applied.see(mark.Data.V)
	}
	if err != nil {
		s.w.fail("%s applies %s: %v", s.edge.Name, raw, err)
	}
}

// content is what is decided under a number: a mark that says of which edge it is, and two of three ConfigMaps.
func (s *site) content(n int) string {
	text := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: mark, namespace: default}\ndata: {of: %q, v: %q}", s.edge.Name, fmt.Sprint(n))
	for i := range 2 {
		text += fmt.Sprintf("\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: part-%d, namespace: default}\ndata: {v: %q}", (n+i)%3, fmt.Sprint(n/3))
	}
	return text
}

func (s *site) decide(n int) {
	s.mu.Lock()
	s.applied.decide(fmt.Sprint(n))
	s.mu.Unlock()
	s.w.hub.decide(s.key, s.content(n))
}

// wants returns what configMaps returns where a number is applied.
func (s *site) wants(n int) map[string]string {
	return map[string]string{"mark": fmt.Sprint(n), fmt.Sprintf("part-%d", n%3): fmt.Sprint(n / 3), fmt.Sprintf("part-%d", (n+1)%3): fmt.Sprint(n / 3)}
}

// copyFolder copies the files of a folder, which need not be there.
func copyFolder(from, to string) error {
	entries, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = os.MkdirAll(to, 0o700)
	}
	for _, e := range entries {
		if err != nil || e.IsDir() {
			continue
		}
		var data []byte
		data, err = os.ReadFile(filepath.Join(from, e.Name()))
		if errors.Is(err, fs.ErrNotExist) { // a temporary file that has got its name meanwhile
			err = nil
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(to, e.Name()), data, 0o600)
		}
	}
	return err
}
