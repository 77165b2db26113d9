package agent

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/object"
)

// apiServer is the little of an API server that the agent needs for itself.
type apiServer struct {
	mu      sync.Mutex
	objects map[string]map[string]any
	version int
	refuse  func(*http.Request) bool
}

func startAPIServer(t *testing.T) (*apiServer, *rest.Config) {
	t.Helper()
	a := &apiServer{objects: map[string]map[string]any{}}
	a.put("/api/v1/namespaces/kube-system", map[string]any{"metadata": map[string]any{"name": "kube-system", "uid": "edge-uid"}})
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	return a, &rest.Config{Host: s.URL}
}

func (a *apiServer) put(path string, o map[string]any) map[string]any {
	a.version++
	meta, _ := o["metadata"].(map[string]any)
	meta["resourceVersion"] = fmt.Sprint(a.version)
	a.objects[path] = o
	return o
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	answer := func(code int, body any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(body)
	}
	fail := func(code int, reason metav1.StatusReason) {
		answer(code, metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason})
	}
	if a.refuse != nil && a.refuse(r) {
		fail(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable)
		return
	}
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	path := r.URL.Path
	if r.Method == http.MethodPost {
		meta, _ := body["metadata"].(map[string]any)
		path += "/" + fmt.Sprint(meta["name"])
		if a.objects[path] != nil {
			fail(http.StatusConflict, metav1.StatusReasonAlreadyExists)
			return
		}
		answer(http.StatusCreated, a.put(path, body))
		return
	}
	live := a.objects[path]
	if live == nil {
		fail(http.StatusNotFound, metav1.StatusReasonNotFound)
		return
	}
	switch r.Method {
	case http.MethodPut:
		was, _, _ := unstructured.NestedString(live, "metadata", "resourceVersion")
		if is, _, _ := unstructured.NestedString(body, "metadata", "resourceVersion"); is != was {
			fail(http.StatusConflict, metav1.StatusReasonConflict)
			return
		}
		live = a.put(path, body)
	case http.MethodDelete:
		delete(a.objects, path)
	}
	answer(http.StatusOK, live)
}

func (a *apiServer) secret(t *testing.T, name string) *corev1.Secret {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	s := &corev1.Secret{}
	raw, err := json.Marshal(a.objects["/api/v1/namespaces/skerry-system/secrets/"+name])
	if err == nil {
		err = json.Unmarshal(raw, s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (a *apiServer) enroll(t *testing.T, e link.Enrollment) {
	t.Helper()
	raw, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.put("/api/v1/namespaces/skerry-system/secrets/"+link.EnrollmentSecret, map[string]any{
		"metadata": map[string]any{"name": link.EnrollmentSecret, "namespace": "skerry-system"}, "data": map[string]any{link.EnrollmentKey: raw},
	})
}

// authority makes a certificate authority and a certificate for a name, valid for one year from a time on.
func authority(t *testing.T, name string, from time.Time) (caPEM []byte, leaf tls.Certificate) {
	t.Helper()
	sign := func(template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) []byte {
		raw, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: from, NotAfter: from.AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caRaw := sign(ca, ca, caKey, caKey)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: from, NotAfter: from.AddDate(1, 0, 0), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	raw := sign(cert, ca, key, caKey)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caRaw}), tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}

// hub is a gateway that does what a test wants.
type hub struct {
	t        *testing.T
	server   *httptest.Server
	key      ed25519.PrivateKey
	identity link.HubIdentity
	enroll   link.Enrollment

	mu          sync.Mutex
	bound       ed25519.PublicKey
	entries     []v1alpha1.AssignmentEntry
	bundles     map[string]*object.Bundle
	settings    link.Settings
	refuse      *link.GoAway
	loseJoin    bool // answers to a join are lost
	slow        int  // proofs that are refused, as if they had come too late
	tamper      func([]byte) []byte
	busy        int // answers to manifests that say so
	cutAfter    int // bytes of objects of one download; 0: none
	down        chan link.Down
	ups         []link.Up
	signedUps   int       // of them
	known       link.Have // of earlier reports
	signsKnown  bool
	sentObjects int
	sentBytes   int
	hellos      []link.Hello
	// onReport may take the answer to a report over: it returns true then.
	onReport func(w http.ResponseWriter, r *http.Request, up link.Up) bool
	protocol string // of the last stream
	sessions int
	signs    bool   // frames of the sessions that begin from now on, as hubs after the first version do
	signed   bool   // those of the last session
	nonce    []byte // of the agent, in the last session
	at       int64  // added to the clock that frames show, in nanoseconds
}

func startHub(t *testing.T, from time.Time) *hub {
	t.Helper()
	return startHubOf(t, from, true)
}

// startHubOf starts a hub that speaks HTTP/2, or 1.1 alone.
func startHubOf(t *testing.T, from time.Time, http2 bool) *hub {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca, cert := authority(t, link.ServerName, from)
	h := &hub{t: t, key: key, bundles: map[string]*object.Bundle{}, down: make(chan link.Down, 10)}
	h.identity = link.HubIdentity{ID: "hub-1", UID: "hub-uid", Namespace: "skerry-system", Version: "v1", Key: public}
	h.server = httptest.NewUnstartedServer(h)
	h.server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	h.server.EnableHTTP2 = http2
	h.server.Config.ErrorLog = nil
	h.server.StartTLS()
	t.Cleanup(h.stop)
	h.enroll = link.Enrollment{Gateway: h.server.URL, CA: string(ca), HubID: "hub-1", HubKey: public, Cluster: "fleet/edge-1", Token: "token-1"}
	return h
}

func (h *hub) stop() {
	h.server.CloseClientConnections()
	h.server.Close()
}

func (h *hub) assign(entries ...v1alpha1.AssignmentEntry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entries = entries
}

func (h *hub) bundle(objects ...string) string {
	h.t.Helper()
	var all []object.Object
	for _, text := range objects {
		u := &unstructured.Unstructured{}
		if err := json.Unmarshal([]byte(text), &u.Object); err != nil {
			h.t.Fatal(err)
		}
		o, err := object.FromMap(u.Object)
		if err != nil {
			h.t.Fatal(err)
		}
		all = append(all, o)
	}
	b, err := object.NewBundle(all)
	if err != nil {
		h.t.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bundles[b.Digest()] = &b
	return b.Digest()
}

func configMap(name, value string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q,"namespace":"default"},"data":{"k":%q}}`, name, value)
}

func (h *hub) change(has link.Have) *link.Assignment {
	h.mu.Lock()
	defer h.mu.Unlock()
	entries, err := link.NewEntries(h.entries)
	if err != nil {
		h.t.Error(err)
	}
	a := link.Diff(has, entries)
	a.UID, a.Generation = "assignment-uid", 7
	a.Signature = ed25519.Sign(h.key, link.AssignmentTranscript(h.enroll.HubID, h.enroll.Cluster, a))
	return &a
}

func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := func(message any) {
		frame, err := link.EncodeFrame(message)
		if err != nil {
			h.t.Error(err)
		}
		_, _ = w.Write(frame)
	}
	nonce := bytes.Repeat([]byte{9}, link.NonceSize)
	if strings.HasPrefix(r.URL.Path, link.BundlesPath) {
		h.mu.Lock()
		b := h.bundles[strings.TrimPrefix(r.URL.Path, link.BundlesPath)]
		busy := h.busy > 0
		h.busy = max(0, h.busy-1)
		h.mu.Unlock()
		if busy {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if b == nil {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		m := link.NewManifest(b.Digest(), b)
		m.Signature = ed25519.Sign(h.key, link.BundleTranscript(h.enroll.HubID, h.enroll.Cluster, m))
		answer(m)
		return
	}
	read := func(into any) bool {
		if err := link.ReadMessage(r.Body, link.MaxMessage, into); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return false
		}
		return true
	}
	switch r.URL.Path {
	case link.ChallengePath:
		answer(link.ChallengeResponse{Version: link.Version, Versions: []int{link.Version}, Nonce: nonce})
	case link.JoinPath:
		var j link.JoinRequest
		if !read(&j) {
			return
		}
		h.mu.Lock()
		first := h.bound == nil
		if first {
			h.bound = j.Key
		}
		lose := h.loseJoin
		h.mu.Unlock()
		if !first || j.Token != h.enroll.Token || !link.Verify(j.Key, link.JoinTranscript("hub-1", j), j.Signature) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if lose {
			panic(http.ErrAbortHandler)
		}
		answer(link.JoinResponse{Hub: h.identity, Signature: ed25519.Sign(h.key, link.HubTranscript(h.identity, j.Cluster, "", nonce, j.AgentNonce))})
	case link.SessionPath:
		var s link.SessionRequest
		if !read(&s) {
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.slow > 0 {
			h.slow--
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if !bytes.Equal(h.bound, s.Key) || !link.Verify(s.Key, link.SessionTranscript("hub-1", s), s.Signature) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		h.sessions++
		a := link.SessionResponse{Token: "session", Hub: h.identity, Settings: h.settings, GoAway: h.refuse, Reported: h.known}
		if h.signsKnown {
			a.ReportedSignature = ed25519.Sign(h.key, link.ReportedTranscript(h.enroll.HubID, h.enroll.Cluster, h.bound, s.AgentNonce, h.known))
		}
		a.Signature = ed25519.Sign(h.key, link.HubTranscript(h.identity, s.Cluster, a.Token, nonce, s.AgentNonce))
		if h.nonce, h.signed = s.AgentNonce, h.signs; h.signed {
			first := a.FirstFrame()
			h.sign(&first)
			a.At, a.FirstSignature = first.At, first.Signature
		}
		answer(a)
	case link.StreamPath:
		var hello link.Hello
		if !read(&hello) {
			return
		}
		h.mu.Lock()
		h.hellos, h.protocol = append(h.hellos, hello), r.Proto
		mine, signs := len(h.hellos), h.signed
		h.mu.Unlock()
		signed := func(d link.Down) link.Down {
			h.mu.Lock()
			defer h.mu.Unlock()
			if signs && d.Signature == nil {
				h.sign(&d)
			}
			return d
		}
		answer(signed(link.Down{Seq: 1, Assignment: h.change(hello.Assignment)}))
		w.(http.Flusher).Flush()
		var keepAlive <-chan time.Time
		h.mu.Lock()
		every := time.Duration(h.settings.KeepAlive) * time.Second
		h.mu.Unlock()
		if every > 0 {
			ticker := time.NewTicker(every / 2)
			defer ticker.Stop()
			keepAlive = ticker.C
		}
		for {
			select {
			case <-r.Context().Done():
				return
			case <-keepAlive:
				_, _ = w.Write(link.EmptyFrame())
				w.(http.Flusher).Flush()
			case d := <-h.down:
				h.mu.Lock()
				stale := mine != len(h.hellos)
				h.mu.Unlock()
				if stale { // it is for the stream that has begun since
					go func() { h.down <- d }()
					return
				}
				answer(signed(d))
				w.(http.Flusher).Flush()
			}
		}
	case link.ReportPath:
		var up link.Up
		message, err := link.ReadFrame(r.Body, link.MaxMessage)
		if err != nil || link.Decode(message, &up) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		signature, _ := link.ReadFrame(r.Body, ed25519.SignatureSize) // without one it does not count
		h.mu.Lock()
		h.ups = append(h.ups, up)
		if link.Verify(h.bound, link.UpTranscript(h.enroll.HubID, h.enroll.Cluster, h.bound, h.nonce, message), signature) {
			h.signedUps++
		}
		onReport := h.onReport
		h.mu.Unlock()
		if onReport != nil && onReport(w, r, up) {
			return
		}
		answer(link.UpResponse{Seq: up.Seq})
	case link.ObjectsPath:
		var want link.Wanted
		if read(&want) {
			h.sendObjects(w, want)
		}
	}
}

// sign signs a frame for the last session; the mutex is held.
func (h *hub) sign(d *link.Down) {
	d.At = time.Now().UnixNano() + h.at
	d.Signature = ed25519.Sign(h.key, link.DownTranscript(h.enroll.HubID, h.enroll.Cluster, h.bound, h.nonce, *d))
}

// finalize is a request of the hub for the agent that is bound.
func (h *hub) finalize(seq uint64, request string) link.Down {
	h.mu.Lock()
	defer h.mu.Unlock()
	return link.Down{Seq: seq, Finalize: request, FinalizeSignature: ed25519.Sign(h.key, link.FinalizeTranscript(h.enroll.HubID, h.enroll.Cluster, h.bound, request))}
}

// letGo does what a hub does whose agent has carried out a removal: it ends the session, and forgets the Cluster.
func (h *hub) letGo() {
	h.t.Helper()
	eventually(h.t, "the removal is told", func() bool {
		all := h.finalizations()
		return len(all) > 0 && all[len(all)-1][1] == ""
	})
	h.down <- link.Down{GoAway: &link.GoAway{Reason: link.GoAwayElsewhere}}
	h.forget()
}

// forget makes the hub one that does not know the Cluster any more.
func (h *hub) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bound, h.enroll.Token = ed25519.PublicKey("none"), "none"
}

func (h *hub) sendObjects(w io.Writer, want link.Wanted) {
	h.mu.Lock()
	defer h.mu.Unlock()
	budget := h.cutAfter
	for i, id := range want.Objects {
		for _, o := range h.bundles[want.Bundle].Objects {
			if link.IDOf(o.Body) != id {
				continue
			}
			from := int64(0)
			if i == 0 {
				from = want.From
			}
			data := o.Body[from:]
			if h.tamper != nil {
				data = h.tamper(bytes.Clone(data))
			}
			cut := h.cutAfter > 0 && len(data) > budget
			if cut {
				data = data[:budget]
			}
			budget -= len(data)
			frame, err := link.AppendFrame(nil, link.AppendChunk(nil, link.Chunk{ID: id, Size: int64(len(o.Body)), Offset: from, Data: data}))
			if err != nil {
				h.t.Error(err)
			}
			_, _ = w.Write(frame)
			h.sentObjects++
			h.sentBytes += len(data)
			if cut {
				return // without the empty frame
			}
		}
	}
	_, _ = w.Write(link.EmptyFrame())
}

// pool is an engine that applies at once whatever it is told and has a bundle for.
type pool struct {
	mu        sync.Mutex
	o         engine.PoolOptions
	connected []engine.Connection
	told      [][]v1alpha1.AssignmentEntry
	verified  int
	finalized int
	refuse    error  // what Finalize returns
	finalizes func() // what it waits for
	stopped   bool
}

func (p *pool) Connect(_ engine.Key, c engine.Connection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.connected = append(p.connected, c)
}
func (p *pool) Disconnect(engine.Key) {}
func (p *pool) Assign(_ engine.Key, e []v1alpha1.AssignmentEntry) {
	p.mu.Lock()
	p.told = append(p.told, e)
	p.mu.Unlock()
	go p.o.OnChange(engine.Key{})
}
func (p *pool) Report(engine.Key) ([]v1alpha1.AssignmentEntryStatus, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.told) == 0 {
		return nil, false
	}
	var out []v1alpha1.AssignmentEntryStatus
	for _, e := range p.told[len(p.told)-1] {
		s := v1alpha1.AssignmentEntryStatus{Name: e.Name, Ready: metav1.ConditionTrue, Reason: "Ready", AppliedDigest: e.Digest}
		if _, err := p.o.Bundles.Get(context.Background(), e.Digest); err != nil {
			s = v1alpha1.AssignmentEntryStatus{Name: e.Name, Ready: metav1.ConditionFalse, Reason: v1alpha1.BundleNotFoundReason}
		}
		out = append(out, s)
	}
	return out, true
}
func (p *pool) State(engine.Key) (engine.State, bool) {
	return engine.State{Reachable: true, Known: true, Usable: true, UID: "edge-uid", Version: "v1.37.0"}, true
}
func (p *pool) Verify(engine.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.verified++
}
func (p *pool) Finalize(context.Context, engine.Key) error {
	p.mu.Lock()
	p.finalized++
	finalizes, refuse := p.finalizes, p.refuse
	p.mu.Unlock()
	if finalizes != nil {
		finalizes()
	}
	return refuse
}
func (p *pool) Stop(context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
}

func (p *pool) last() []v1alpha1.AssignmentEntry {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.told) == 0 {
		return nil
	}
	return p.told[len(p.told)-1]
}

// site is an agent under test, its API server and its disk.
type site struct {
	t      *testing.T
	api    *apiServer
	config *rest.Config
	dir    string

	arrival time.Duration // the agent's timings.arrival
	proxy   *url.URL      // between the agent and its hub
	dial    func(ctx context.Context, network, address string) (net.Conn, error)

	mu    sync.Mutex
	pools []*pool
	p     *process
	end   context.CancelFunc
	done  chan error
}

func newSite(t *testing.T) *site {
	t.Helper()
	e := &site{t: t, dir: t.TempDir(), arrival: time.Minute}
	e.api, e.config = startAPIServer(t)
	return e
}

// start starts an agent, as Run does, with an engine of the test's.
func (e *site) start() *site {
	e.t.Helper()
	ctx, cancel := context.WithCancel(e.t.Context())
	e.end = cancel
	o := Defaults()
	o.StoragePath, o.Holder, o.Version, o.Log, o.Dial = e.dir, "test", "v2", logr.Discard(), e.dial
	k, err := newKube(e.config)
	if err != nil {
		e.t.Fatal(err)
	}
	l := &lease{kube: k, namespace: o.Namespace, holder: o.Holder, now: time.Now}
	e.p, err = start(ctx, o, e.config, k, l, &healthState{}, func(po engine.PoolOptions) engine.Pooled {
		p := &pool{o: po}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.pools = append(e.pools, p)
		return p
	})
	if err != nil {
		e.t.Fatal(err)
	}
	e.p.backoff.random = func() float64 { return -0.98 } // the agent hardly waits before it dials again
	e.p.delays = timings{proofRetry: 5 * time.Millisecond, coalesce: 5 * time.Millisecond, busyRetry: 20 * time.Millisecond, arrival: e.arrival, folders: 20 * time.Millisecond}
	e.p.proxy = http.ProxyURL(e.proxy)
	done := make(chan error, 1)
	e.done = done
	go e.p.maintainDisk(ctx) // ends with ctx
	go func() { done <- e.p.maintainConnection(ctx) }()
	e.t.Cleanup(e.stop)
	return e
}

// stop ends the agent as kill -9 does: nothing is saved.
func (e *site) stop() {
	if e.end != nil {
		e.end()
		if err := <-e.done; err != nil {
			e.t.Error("the agent ended by itself:", err)
		}
		e.end = nil
	}
}

// awaitFinalized waits until the agent ends by itself, because its cluster is removed.
func (e *site) awaitFinalized() {
	e.t.Helper()
	select {
	case err := <-e.done:
		e.end()
		e.end = nil
		if !errors.Is(err, errFinalized) {
			e.t.Fatalf("the agent ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		e.t.Fatal("the agent does not end")
	}
}

func (e *site) pool() *pool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.pools) == 0 {
		return nil
	}
	return e.pools[len(e.pools)-1]
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// reported reports whether the hub knows an entry with a reason.
func (h *hub) reported(name, reason string) func() bool {
	return func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		var all []v1alpha1.AssignmentEntryStatus
		for _, up := range h.ups {
			all = up.ApplyStatuses(all)
		}
		for _, s := range all {
			if s.Name == name && s.Reason == reason {
				return true
			}
		}
		return false
	}
}
