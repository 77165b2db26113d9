package fleetsim

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
)

// Edge is one simulated cluster.
type Edge struct {
	// Index is the place in Fleet.Edges, and Name follows from it: "edge-0007".
	Index int
	Name  string

	fleet         *Fleet
	address       string // host:port
	token         string
	authorization string // header that carries the token
	writer        writer
	count         counters
	fault         atomic.Pointer[activeFault]

	mu        sync.Mutex
	version   uint64
	store     map[*kind]*collection
	custom    map[string]*kind // path/resource → kind that a definition of this edge serves
	history   []change
	forgotten uint64 // version of the last change that is not remembered any more
	moods     map[workload]Health
	log       []noted

	net network
}

// URL is the address of the edge's API server.
func (e *Edge) URL() string { return "https://" + e.address }

// Kubeconfig returns a kubeconfig with everything inline and a bearer token.
func (e *Edge) Kubeconfig() []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: default
contexts:
- name: default
  context: {cluster: default, user: default}
clusters:
- name: default
  cluster:
    server: %s
    certificate-authority-data: %s
users:
- name: default
  user: {token: %s}
`, e.URL(), e.fleet.authority, e.token)
}

// UID is the uid of the edge's namespace kube-system, by which a hub knows it.
func (e *Edge) UID() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.writer.uid(e.collection(e.fleet.kinds.namespace).get("", "kube-system"))
}

func newEdge(f *Fleet, i int) *Edge {
	e := &Edge{Index: i, Name: fmt.Sprintf("edge-%04d", i), fleet: f, store: map[*kind]*collection{}}
	s := seed(mix(f.seed + uint64(i)))
	e.writer = writer{seed: s, epoch: f.epoch}
	e.token = string(seed(mix(uint64(s))).appendUID(nil, 0))
	e.authorization = "Bearer " + e.token
	for _, name := range []string{"default", "kube-node-lease", "kube-public", "kube-system"} {
		body := fmt.Appendf(nil, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%q}}`, name)
		out := f.transitions.outcome(nil, &write{kind: f.kinds.namespace, name: name, verb: verbApply, manager: "kube-apiserver", body: body})
		e.commit(f.kinds.namespace, nil, out)
	}
	e.history = nil
	e.forgotten = e.version
	return e
}

// handle answers a request that has come in whole. A fault may answer in its place, or later.
func (e *Edge) handle(s *stream) {
	r := s.req
	s.req = nil
	if f := e.fault.Load(); f != nil && f.intercept(s, r) {
		return
	}
	e.proceed(s, r)
}

func (e *Edge) proceed(s *stream, r *request) {
	c, a := e.answer(s, r)
	code := http.StatusOK
	if a != nil {
		code = a.code
		s.reply(a)
	}
	e.count.request(c.verb, code)
	if c.verb.writes() {
		e.note(c, code)
	}
	if r.body != nil {
		giveBuffer(r.body)
		r.body = nil
	}
}

// find returns the kind that is served at a path, for this edge. The lock is not held.
func (e *Edge) find(gv, resource string) *kind {
	if k := e.fleet.kinds.find(gv, resource); k != nil {
		return k
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.custom[gv+"/"+resource]
}

func (e *Edge) unwatch(w *watcher) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.collection(w.kind).drop(w)
}
