package gateway

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/object"
)

var edgeKey = engine.Key{Namespace: "fleet", Name: "edge-1"}

// rig is a gateway that listens, with a hub made of maps around it.
type rig struct {
	t       testing.TB
	gateway *Gateway
	hub     link.HubIdentity
	base    string
	ca      []byte
	key     ed25519.PrivateKey
	roots   *x509.CertPool
	changes chan engine.Key
	stop    func()
	pipes   *pipes // its listener; nil: one on TCP

	mu       sync.Mutex
	skew     time.Duration // added to the clock
	clusters map[engine.Key]*v1alpha1.Cluster
	stored   map[engine.Key]*v1alpha1.Assignment
	// unreadable is why an Assignment cannot be read
	unreadable error
	// unwritable is why the time of an export cannot be written down
	unwritable error
	bundles    map[string]*object.Bundle
	reads      int
	events     []engine.Event
	taken      map[string]engine.Key // uid of a cluster → the Cluster that has it
}

func newRig(t testing.TB) *rig { return newRigWith(t, nil) }

// newRigWith returns a rig whose gateway is changed before it listens.
func newRigWith(t testing.TB, change func(*Gateway)) *rig {
	t.Helper()
	return newRigOver(t, nil, change)
}

// newRigOver returns a rig that listens to connections in memory, or on TCP without pipes.
func newRigOver(t testing.TB, over *pipes, change func(*Gateway)) *rig {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{
		t: t, pipes: over, changes: make(chan engine.Key, 10_000), clusters: map[engine.Key]*v1alpha1.Cluster{}, stored: map[engine.Key]*v1alpha1.Assignment{},
		bundles: map[string]*object.Bundle{}, taken: map[string]engine.Key{},
		hub: link.HubIdentity{ID: "hub-1", UID: "hub-uid", Namespace: "skerry-system", Version: "v0.2.0", Key: public},
	}
	r.gateway, err = New(Options{
		Hub: r.hub, Key: private, Cluster: r.cluster, Bind: r.bind, Bundles: r, Stored: r, Now: r.now, Log: logr.Discard(),
		Assignment: func(_ context.Context, key engine.Key) (*v1alpha1.Assignment, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.stored[key], r.unreadable
		},
		Exported: func(_ context.Context, c *v1alpha1.Cluster, at time.Time) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.unwritable != nil {
				return r.unwritable
			}
			live := r.clusters[engine.Key{Namespace: c.Namespace, Name: c.Name}]
			metav1.SetMetaDataAnnotation(&live.ObjectMeta, v1alpha1.MediumExportedAnnotation, at.UTC().Format(time.RFC3339Nano))
			return nil
		},
		BetterClaim: func(_ engine.Key, uid string) (engine.Key, bool) {
			r.mu.Lock()
			defer r.mu.Unlock()
			by, ok := r.taken[uid]
			return by, ok
		},
		OnChange: func(key engine.Key) {
			select {
			case r.changes <- key:
			default:
			}
		},
		OnEvent: func(e engine.Event) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.events = append(r.events, e)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r.gateway)
	}
	ca, caKey, err := NewCA()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := ServerCertificate(ca, caKey)
	if err != nil {
		t.Fatal(err)
	}
	r.ca, r.key = ca, private
	r.roots = x509.NewCertPool()
	r.roots.AppendCertsFromPEM(ca)
	r.serve(func() (*tls.Certificate, error) { return certificate, nil })
	return r
}

func (r *rig) serve(certificate func() (*tls.Certificate, error)) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	address, ended := make(chan net.Addr, 1), make(chan error, 1)
	go func() {
		o := ServeOptions{Address: "127.0.0.1:0", Certificate: certificate, Listening: func(a net.Addr) { address <- a }}
		if r.pipes != nil {
			o.Listener = r.pipes
		}
		ended <- r.gateway.Serve(ctx, o)
	}()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("the gateway ended with %v", err)
		}
	})
	r.t.Cleanup(r.stop)
	scheme := "https://"
	if certificate == nil {
		scheme = "http://"
	}
	r.base = scheme + (<-address).String()
}

func (r *rig) now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Add(r.skew)
}

// pass lets time go by for the gateway.
func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	r.skew += d
	r.mu.Unlock()
	r.gateway.tick()
}

func (r *rig) cluster(_ context.Context, key engine.Key) (*v1alpha1.Cluster, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.clusters[key]; c != nil {
		return c.DeepCopy(), nil
	}
	return nil, fs.ErrNotExist
}

func (r *rig) bind(_ context.Context, c *v1alpha1.Cluster, publicKey, uid string) error {
	key := engine.Key{Namespace: c.Namespace, Name: c.Name}
	r.mu.Lock()
	live := r.clusters[key]
	if live.Spec.Agent.Join == nil || live.Spec.Agent.Join.TokenHash != c.Spec.Agent.Join.TokenHash {
		r.mu.Unlock()
		return errors.New("the token is used")
	}
	live.Spec.Agent.PublicKey, live.Spec.Agent.ClusterUID, live.Spec.Agent.Join = publicKey, uid, nil
	r.mu.Unlock()
	r.connect(key)
	return nil
}

// add makes a Cluster with an agent, as the controllers do: what is assigned is handed over, which may be nothing.
func (r *rig) add(key engine.Key, change func(*v1alpha1.Agent)) {
	c := &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, UID: types.UID(key.Name)}, Spec: v1alpha1.ClusterSpec{Agent: &v1alpha1.Agent{}}}
	if change != nil {
		change(c.Spec.Agent)
	}
	r.mu.Lock()
	r.clusters[key] = c
	stored := r.stored[key]
	r.mu.Unlock()
	r.connect(key)
	if stored == nil {
		r.gateway.Assign(key, nil)
	} else {
		r.gateway.Assign(key, stored.Spec.Entries)
	}
}

// connect tells the gateway what the Cluster says.
func (r *rig) connect(key engine.Key) {
	r.mu.Lock()
	c := r.clusters[key].DeepCopy()
	r.mu.Unlock()
	r.gateway.Connect(key, engine.Connection{Agent: c.Spec.Agent, ApprovedKey: c.Annotations[v1alpha1.AgentApprovedAnnotation], Suspend: c.Spec.Suspend, KnownUID: c.Status.UID})
}

func (r *rig) change(key engine.Key, f func(*v1alpha1.Cluster)) {
	r.mu.Lock()
	f(r.clusters[key])
	r.mu.Unlock()
	r.connect(key)
}

func (r *rig) assign(key engine.Key, generation int64, entries ...v1alpha1.AssignmentEntry) {
	r.mu.Lock()
	a := r.stored[key]
	if a == nil {
		a = &v1alpha1.Assignment{}
	}
	a = a.DeepCopy()
	a.UID, a.Generation, a.Spec.Entries = "assignment", generation, entries
	r.stored[key] = a
	r.mu.Unlock()
	r.gateway.Assign(key, entries)
}

// Get implements engine.Bundles.
func (r *rig) Get(_ context.Context, digest string) (*object.Bundle, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads++
	if b := r.bundles[digest]; b != nil {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

// until waits for a condition of the gateway's state.
func (r *rig) until(what string, ok func(engine.State) bool) engine.State {
	r.t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		state, _ := r.gateway.State(edgeKey)
		if ok(state) {
			return state
		}
		select {
		case <-r.changes:
		case <-deadline:
			r.t.Fatalf("not %s: %+v", what, state)
		}
	}
}

// connectTo dials the gateway, as net.Dialer does.
func (r *rig) connectTo(ctx context.Context, network, address string) (net.Conn, error) {
	if r.pipes != nil {
		return r.pipes.dial(ctx, network, address)
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// peer is a scripted agent.
type peer struct {
	r       *rig
	client  *http.Client
	cluster string
	key     ed25519.PrivateKey
	who     link.Agent
	token   string
}

func (r *rig) peer() *peer {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.peerWith(key, "uid-1")
}

func (r *rig) peerWith(key ed25519.PrivateKey, uid string) *peer {
	transport := &http.Transport{DialContext: r.connectTo, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: r.roots, ServerName: link.ServerName, MinVersion: tls.VersionTLS13}}
	r.t.Cleanup(transport.CloseIdleConnections)
	return &peer{r: r, client: &http.Client{Transport: transport}, cluster: edgeKey.String(), key: key, who: link.Agent{Version: "v0.2.0", Instance: rand.Text(), ClusterUID: uid}}
}

func (p *peer) public() ed25519.PublicKey { return p.key.Public().(ed25519.PublicKey) }

// raw sends a request and returns status and body.
func (p *peer) raw(method, path string, body []byte) (int, []byte) {
	p.r.t.Helper()
	req, err := http.NewRequestWithContext(p.r.t.Context(), method, p.r.base+path, bytes.NewReader(body))
	if err != nil {
		p.r.t.Fatal(err)
	}
	if p.token != "" {
		req.Header.Set("Authorization", "Bearer "+p.token)
	}
	res, err := p.client.Do(req)
	if err != nil {
		p.r.t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		p.r.t.Fatal(err)
	}
	return res.StatusCode, data
}

// ask sends a message and reads the answer; it returns the status.
func (p *peer) ask(path string, message, answer any) int {
	p.r.t.Helper()
	frame, err := link.EncodeFrame(message)
	if err != nil {
		p.r.t.Fatal(err)
	}
	status, body := p.raw(http.MethodPost, path, frame)
	if status != http.StatusOK {
		if len(body) > 0 {
			p.r.t.Errorf("%s: status %d with a body: %q", path, status, body)
		}
		return status
	}
	if err := link.ReadMessage(bytes.NewReader(body), link.MaxMessage, answer); err != nil {
		p.r.t.Fatal(err)
	}
	return status
}

func (p *peer) nonce() []byte {
	p.r.t.Helper()
	var answer link.ChallengeResponse
	if status := p.ask(link.ChallengePath, link.ChallengeRequest{Versions: []int{link.Version, 99}}, &answer); status != http.StatusOK || answer.Version != link.Version {
		p.r.t.Fatalf("challenge: %d %+v", status, answer)
	}
	return answer.Nonce
}

func (p *peer) proof() link.SessionRequest {
	s := link.SessionRequest{Cluster: p.cluster, Key: p.public(), Nonce: p.nonce(), AgentNonce: bytes.Repeat([]byte{7}, link.NonceSize), Agent: p.who}
	s.Signature = ed25519.Sign(p.key, link.SessionTranscript(p.r.hub.ID, s))
	return s
}

// session opens one, and returns status and answer.
func (p *peer) session() (int, link.SessionResponse) {
	p.r.t.Helper()
	s := p.proof()
	var answer link.SessionResponse
	status := p.ask(link.SessionPath, s, &answer)
	if status == http.StatusOK {
		if !link.Verify(p.r.hub.Key, link.HubTranscript(answer.Hub, s.Cluster, answer.Token, s.Nonce, s.AgentNonce), answer.Signature) {
			p.r.t.Error("the hub does not prove its key")
		}
		p.token = answer.Token
	}
	return status, answer
}

// welcome opens a session that must not be refused.
func (p *peer) welcome() link.SessionResponse {
	p.r.t.Helper()
	status, answer := p.session()
	if status != http.StatusOK || answer.GoAway != nil {
		p.r.t.Fatalf("no session: %d %+v", status, answer.GoAway)
	}
	return answer
}

func (p *peer) join(token string) int {
	p.r.t.Helper()
	j := link.JoinRequest{Cluster: p.cluster, Token: token, Key: p.public(), ClusterUID: p.who.ClusterUID, Nonce: p.nonce(), AgentNonce: bytes.Repeat([]byte{7}, link.NonceSize)}
	j.Signature = ed25519.Sign(p.key, link.JoinTranscript(p.r.hub.ID, j))
	var answer link.JoinResponse
	status := p.ask(link.JoinPath, j, &answer)
	if status == http.StatusOK && !link.Verify(p.r.hub.Key, link.HubTranscript(answer.Hub, p.cluster, "", j.Nonce, j.AgentNonce), answer.Signature) {
		p.r.t.Error("the hub does not prove its key")
	}
	return status
}

func (p *peer) up(up link.Up) link.UpResponse {
	p.r.t.Helper()
	var answer link.UpResponse
	if !p.who.SignsReports() {
		if status := p.ask(link.ReportPath, up, &answer); status != http.StatusOK {
			p.r.t.Fatalf("report: %d", status)
		}
		return answer
	}
	status, body := p.raw(http.MethodPost, link.ReportPath, p.signed(up))
	if status != http.StatusOK {
		p.r.t.Fatalf("report: %d", status)
	}
	if err := link.ReadMessage(bytes.NewReader(body), link.MaxMessage, &answer); err != nil {
		p.r.t.Fatal(err)
	}
	return answer
}

// signs makes the peer an agent that signs its reports.
func (p *peer) signs() *peer {
	p.who.Instance = link.SigningInstance + p.who.Instance
	return p
}

// signed returns a report as an agent sends it that signs its reports.
func (p *peer) signed(up link.Up) []byte {
	p.r.t.Helper()
	frames, err := link.EncodeUp(up, func(message []byte) []byte {
		return ed25519.Sign(p.key, link.UpTranscript(p.r.hub.ID, p.cluster, p.public(), bytes.Repeat([]byte{7}, link.NonceSize), message))
	})
	if err != nil {
		p.r.t.Fatal(err)
	}
	return frames
}

// frames is a stream as an agent sees it.
type frames struct {
	t    testing.TB
	body io.ReadCloser
	in   chan link.Down // closed at the end
	// empty receives for each empty frame
	empty chan struct{}
}

// stream begins one with what the agent has.
func (p *peer) stream(have link.Have) *frames {
	p.r.t.Helper()
	frame, err := link.EncodeFrame(link.Hello{Assignment: have})
	if err != nil {
		p.r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(p.r.t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.r.base+link.StreamPath, bytes.NewReader(frame))
	if err != nil {
		p.r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	res, err := p.client.Do(req) //nolint:bodyclose // the goroutine reads it to its end, which is that of the context
	if err != nil {
		p.r.t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		p.r.t.Fatalf("stream: %s", res.Status)
	}
	f := &frames{t: p.r.t, body: res.Body, in: make(chan link.Down, 100), empty: make(chan struct{}, 100)}
	p.r.t.Cleanup(cancel)
	go func() { // ends with the stream
		defer close(f.in)
		for {
			payload, err := link.ReadFrame(res.Body, link.MaxMessage)
			if err != nil {
				return
			}
			if len(payload) == 0 {
				select {
				case f.empty <- struct{}{}:
				default:
				}
				continue
			}
			var d link.Down
			var again bytes.Buffer
			wire, _ := link.AppendFrame(nil, payload)
			again.Write(wire)
			if link.ReadMessage(&again, link.MaxMessage, &d) != nil {
				return
			}
			f.in <- d
		}
	}()
	return f
}

// next returns the next frame that is not empty.
func (f *frames) next() link.Down {
	f.t.Helper()
	select {
	case d, ok := <-f.in:
		if !ok {
			f.t.Fatal("the stream has ended")
		}
		return d
	case <-time.After(10 * time.Second):
		f.t.Fatal("nothing comes down")
	}
	return link.Down{}
}

// closeReason returns the reason in the last frame of a stream that ends, or "".
func (f *frames) closeReason() string {
	f.t.Helper()
	for {
		select {
		case d, ok := <-f.in:
			if !ok {
				return ""
			}
			if d.GoAway != nil {
				return d.GoAway.Reason
			}
		case <-time.After(10 * time.Second):
			f.t.Fatal("the stream does not end")
		}
	}
}

func hashOf(token string) string {
	sum := link.HashToken(token)
	return hex.EncodeToString(sum[:])
}

// joined is an agent that may connect.
func (r *rig) joined() *peer {
	p := r.peer()
	r.add(edgeKey, func(a *v1alpha1.Agent) { a.PublicKey, a.ClusterUID = link.EncodeKey(p.public()), p.who.ClusterUID })
	return p
}

func entry(name, digest string) v1alpha1.AssignmentEntry {
	return v1alpha1.AssignmentEntry{Name: name, Revision: "main@sha1:1", Digest: digest, Interval: metav1.Duration{Duration: time.Minute}, Timeout: metav1.Duration{Duration: time.Minute}}
}

func status(name string, ready metav1.ConditionStatus) v1alpha1.AssignmentEntryStatus {
	return v1alpha1.AssignmentEntryStatus{Name: name, Ready: ready, Reason: v1alpha1.SucceededReason, AppliedRevision: "main@sha1:1"}
}

func configMaps(t testing.TB, n int, size int) *object.Bundle {
	t.Helper()
	var objects []object.Object
	for i := range n {
		o, err := object.FromMap(map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": fmt.Sprintf("c-%d", i), "namespace": "default"},
			"data": map[string]any{"key": hex.EncodeToString(randomBytes(t, size))},
		})
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
	b, err := object.NewBundle(objects)
	if err != nil {
		t.Fatal(err)
	}
	return &b
}

func randomBytes(t testing.TB, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

var healthy = &link.State{Reachable: true, Usable: true, UID: "uid-1", Version: "v1.36.3", Examined: true}
