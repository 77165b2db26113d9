package agent

import (
	"bytes"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/testkit/linkv1"
)

// hubVersion1 is a gateway of the first version: it sends the messages of that time, and reads what it knew of them.
type hubVersion1 struct {
	t       *testing.T
	key     ed25519.PrivateKey
	cluster string
	down    chan []byte // frames of the stream

	mu     sync.Mutex
	gone   bool // the Cluster is removed
	bound  []byte
	hello  map[string]any
	ups    []map[string]any
	lines  [][]byte // of its bundle
	goAway bool     // the first session is refused
	wanted map[string]any
}

const hubVersion1ID = "hub-1"

func (h *hubVersion1) message(name string, values linkv1.Values) []byte {
	payload, err := linkv1.Message(name, values)
	if err != nil {
		h.t.Error(err)
	}
	frame, err := linkv1.Frame(payload)
	if err != nil {
		h.t.Error(err)
	}
	return frame
}

func (h *hubVersion1) public() ed25519.PublicKey { return h.key.Public().(ed25519.PublicKey) }

// proof is what the hub signs in its answers.
func (h *hubVersion1) proof(token string, ask map[string]any) []byte {
	return ed25519.Sign(h.key, linkv1.Transcript("hub", []byte(hubVersion1ID), []byte("hub-uid"), []byte("skerry-system"), h.public(), []byte(h.cluster), linkv1.TokenHash(token), linkv1.Bytes(ask["nonce"]), linkv1.Bytes(ask["agentNonce"])))
}

func (h *hubVersion1) bundle() (encoded []byte, digest string) {
	encoded = append(bytes.Join(h.lines, []byte{'\n'}), '\n')
	return encoded, fmt.Sprintf("sha256:%x", linkv1.TokenHash(string(encoded)))
}

func (h *hubVersion1) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var ask map[string]any
	if r.Method == http.MethodPost {
		var err error
		if ask, err = linkv1.ReadMessage(r.Body); err != nil {
			h.t.Errorf("%s: %v", r.URL.Path, err)
			return
		}
	}
	h.mu.Lock()
	gone := h.gone
	h.mu.Unlock()
	switch path := r.URL.Path; {
	case path == "/v1/challenge":
		if versions, _ := ask["versions"].([]any); !slices.Contains(versions, any(float64(1))) {
			h.t.Errorf("the agent speaks versions %v", versions)
		}
		_, _ = w.Write(h.message("challenge-answer", linkv1.Values{"nonce": bytes.Repeat([]byte{9}, 32)}))
	case gone:
		w.WriteHeader(http.StatusUnauthorized)
	case path == "/v1/join":
		h.join(w, ask)
	case path == "/v1/session":
		h.session(w, ask)
	case r.Header.Get("Authorization") != "Bearer session-token":
		w.WriteHeader(http.StatusUnauthorized)
	case path == "/v1/stream":
		h.stream(w, r, ask)
	case path == "/v1/report":
		h.mu.Lock()
		h.ups = append(h.ups, ask)
		h.mu.Unlock()
		_, _ = w.Write(h.message("up-answer", linkv1.Values{"seq": ask["seq"]}))
	case strings.HasPrefix(path, "/v1/bundles/"):
		h.manifest(w)
	case path == "/v1/objects":
		h.objects(w, ask)
	}
}

func (h *hubVersion1) join(w http.ResponseWriter, ask map[string]any) {
	key := linkv1.Bytes(ask["key"])
	transcript := linkv1.Transcript("join", []byte(hubVersion1ID), []byte(h.cluster), linkv1.TokenHash("token-1"), key, []byte("edge-uid"), linkv1.Bytes(ask["nonce"]), linkv1.Bytes(ask["agentNonce"]))
	if ask["cluster"] != h.cluster || ask["token"] != "token-1" || ask["clusterUID"] != "edge-uid" || !linkv1.Verify(key, transcript, linkv1.Bytes(ask["signature"])) {
		h.t.Errorf("join %v", ask)
	}
	h.mu.Lock()
	h.bound = key
	h.mu.Unlock()
	_, _ = w.Write(h.message("join-answer", linkv1.Values{"id": hubVersion1ID, "key": []byte(h.public()), "signature": h.proof("", ask)}))
}

func (h *hubVersion1) session(w http.ResponseWriter, ask map[string]any) {
	about, _ := ask["agent"].(map[string]any)
	h.mu.Lock()
	defer h.mu.Unlock()
	transcript := linkv1.Transcript("session", []byte(hubVersion1ID), []byte(h.cluster), h.bound, linkv1.Bytes(ask["nonce"]), linkv1.Bytes(ask["agentNonce"]), []byte(linkv1.Text(about["instance"])), []byte("edge-uid"), []byte("v2"))
	if about["clusterUID"] != "edge-uid" || about["instance"] == "" || about["startedAt"] == nil || !linkv1.Verify(h.bound, transcript, linkv1.Bytes(ask["signature"])) {
		h.t.Errorf("session %v", ask)
	}
	if h.goAway {
		h.goAway = false
		_, _ = w.Write(h.message("session-bye", linkv1.Values{"id": hubVersion1ID, "key": []byte(h.public()), "signature": h.proof("", ask)}))
		return
	}
	_, _ = w.Write(h.message("session-answer", linkv1.Values{"token": "session-token", "id": hubVersion1ID, "key": []byte(h.public()), "signature": h.proof("session-token", ask)}))
}

func (h *hubVersion1) stream(w http.ResponseWriter, r *http.Request, ask map[string]any) {
	h.mu.Lock()
	h.hello = ask
	h.mu.Unlock()
	_, _ = w.Write([]byte{0, 0, 0, 0}) // it stands
	w.(http.Flusher).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case frame := <-h.down:
			_, _ = w.Write(frame)
			w.(http.Flusher).Flush()
		}
	}
}

func (h *hubVersion1) manifest(w http.ResponseWriter) {
	encoded, digest := h.bundle()
	var ids []byte
	for _, line := range h.lines {
		ids = append(ids, linkv1.ObjectID(line)...)
	}
	signature := ed25519.Sign(h.key, linkv1.Transcript("bundle", []byte(hubVersion1ID), []byte(h.cluster), []byte(digest), []byte(digest), []byte{1}))
	_, _ = w.Write(h.message("manifest", linkv1.Values{"digest": digest, "content": digest, "size": len(encoded), "objects": ids, "signature": signature}))
}

func (h *hubVersion1) objects(w http.ResponseWriter, ask map[string]any) {
	h.mu.Lock()
	h.wanted = ask
	h.mu.Unlock()
	var payload []byte
	for _, line := range h.lines {
		payload = append(payload, linkv1.Chunk(line, 0)...)
	}
	frame, err := linkv1.Frame(payload)
	if err != nil {
		h.t.Error(err)
	}
	_, _ = w.Write(append(frame, 0, 0, 0, 0))
}

// assignment is a frame that assigns the bundle.
func (h *hubVersion1) assignment() []byte {
	_, digest := h.bundle()
	entry, err := linkv1.Message("entry", linkv1.Values{"name": "apps", "digest": digest, "fallback": digest})
	if err != nil {
		h.t.Fatal(err)
	}
	whole := linkv1.Digest(entry)
	signature := ed25519.Sign(h.key, linkv1.Transcript("assignment", []byte(hubVersion1ID), []byte(h.cluster), []byte("assignment-uid"), linkv1.Generation(7), []byte(whole)))
	return h.message("down-assignment", linkv1.Values{"entry": json.RawMessage(entry), "digest": whole, "signature": signature})
}

// reported reports whether one of the reports holds.
func (h *hubVersion1) reported(holds func(map[string]any) bool) func() bool {
	return func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return slices.ContainsFunc(h.ups, holds)
	}
}

// TestAHubOfTheFirstVersionIsServed: the agent joins, waits to be approved, takes an Assignment and its bundle, settings
// and requests, reports, comes back, and carries a removal out.
func TestAHubOfTheFirstVersionIsServed(t *testing.T) {
	h := &hubVersion1{t: t, cluster: "fleet/edge-1", key: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, ed25519.SeedSize)), down: make(chan []byte, 1), goAway: true}
	h.lines = [][]byte{[]byte(configMap("a", strings.Repeat("x", 500))), []byte(configMap("b", "2"))}
	ca, cert := authority(t, link.ServerName, longAgo)
	server := httptest.NewUnstartedServer(h)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	e := newSite(t)
	e.api.enroll(t, link.Enrollment{Gateway: server.URL, CA: string(ca), HubID: hubVersion1ID, HubKey: h.public(), Cluster: h.cluster, Token: "token-1"})
	e.start()
	h.down <- h.assignment()
	eventually(t, "apps is ready", h.reported(func(up map[string]any) bool {
		entries, _ := up["entries"].([]any)
		return slices.ContainsFunc(entries, func(e any) bool {
			s, _ := e.(map[string]any)
			return s["name"] == "apps" && s["ready"] == "True" && s["reason"] == "Ready"
		})
	}))
	told := e.pool().last()[0]
	if told.Interval.Duration != 10*time.Minute || told.RetryInterval == nil || !told.Prune || told.MaxPrune.String() != "50%" || !told.Force || !told.Wait || told.DependsOn[0] != "base" || told.Drift == nil {
		t.Errorf("the engine was told %+v", told)
	}
	if !h.reported(func(up map[string]any) bool {
		state, _ := up["state"].(map[string]any)
		return up["seq"] == float64(1) && up["now"] != nil && state["reachable"] == true && state["usable"] == true && state["uid"] == "edge-uid"
	})() {
		t.Errorf("reports %v", h.ups)
	}
	h.down <- h.message("down-settings", nil)
	eventually(t, "the settings count", func() bool {
		p := e.pool()
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.connected[len(p.connected)-1].TakeOver == "hub-2"
	})
	h.down <- h.message("down-verify", nil)
	eventually(t, "a verification begins", func() bool { p := e.pool(); p.mu.Lock(); defer p.mu.Unlock(); return p.verified > 0 })
	eventually(t, "what was received is told", h.reported(func(up map[string]any) bool { return up["received"] == float64(3) }))
	h.mu.Lock()
	h.hello = nil
	h.mu.Unlock()
	h.down <- h.message("down-bye", nil)
	entry, err := linkv1.Message("entry", linkv1.Values{"name": "apps", "digest": told.Digest, "fallback": told.Digest})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the agent is back with what it has", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		has, _ := h.hello["assignment"].(map[string]any)
		entries, _ := has["entries"].(map[string]any)
		return len(entries) == 1 && entries["apps"] == linkv1.Short(entry)
	})
	h.mu.Lock()
	bound := h.bound
	h.mu.Unlock()
	h.down <- h.message("down-finalize", linkv1.Values{"request": "f1", "signature": ed25519.Sign(h.key, linkv1.Transcript("finalize", []byte(hubVersion1ID), []byte(h.cluster), bound, []byte("f1")))})
	eventually(t, "the removal is told", h.reported(func(up map[string]any) bool { return up["finalized"] == "f1" && up["finalizeError"] == nil }))
	h.mu.Lock()
	h.gone = true
	h.mu.Unlock()
	h.down <- h.message("down-bye", nil)
	e.awaitFinalized()
}
