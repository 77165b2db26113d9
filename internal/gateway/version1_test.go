package gateway

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/testkit/linkv1"
)

// version1 is an agent of the first version: it sends the messages of that time, and reads what it knew of them.
type version1 struct {
	r     *rig
	p     *peer // its key, and how it reaches the gateway
	token string
}

func (v *version1) message(name string, values linkv1.Values) []byte {
	v.r.t.Helper()
	payload, err := linkv1.Message(name, values)
	if err != nil {
		v.r.t.Fatal(err)
	}
	frame, err := linkv1.Frame(payload)
	if err != nil {
		v.r.t.Fatal(err)
	}
	return frame
}

// send sends a frame; the answer is the caller's to close.
func (v *version1) send(method, path string, frame []byte) io.ReadCloser {
	v.r.t.Helper()
	req, err := http.NewRequestWithContext(v.r.t.Context(), method, v.r.base+path, bytes.NewReader(frame))
	if err != nil {
		v.r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/vnd.skerry.link")
	if v.token != "" {
		req.Header.Set("Authorization", "Bearer "+v.token)
	}
	res, err := v.p.client.Do(req)
	if err != nil {
		v.r.t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		_ = res.Body.Close()
		v.r.t.Fatalf("%s %s: %s", method, path, res.Status)
	}
	return res.Body
}

func (v *version1) read(from io.Reader) map[string]any {
	v.r.t.Helper()
	for {
		m, err := linkv1.ReadMessage(from)
		if err != nil {
			v.r.t.Fatal(err)
		}
		if m != nil {
			return m
		}
	}
}

func (v *version1) ask(method, path string, frame []byte) map[string]any {
	v.r.t.Helper()
	body := v.send(method, path, frame)
	defer body.Close()
	return v.read(body)
}

var agentNonce = bytes.Repeat([]byte{7}, 32)

func (v *version1) nonce() []byte {
	v.r.t.Helper()
	answer := v.ask(http.MethodPost, "/v1/challenge", v.message("challenge", nil))
	if answer["version"] != float64(1) {
		v.r.t.Fatalf("the gateway does not speak version 1: %v", answer)
	}
	return linkv1.Bytes(answer["nonce"])
}

// hubProves verifies what the hub signs in its answers.
func (v *version1) hubProves(answer map[string]any, token string, nonce []byte) {
	v.r.t.Helper()
	hub, _ := answer["hub"].(map[string]any)
	key := linkv1.Bytes(hub["key"])
	transcript := linkv1.Transcript("hub", []byte(linkv1.Text(hub["id"])), []byte(linkv1.Text(hub["uid"])), []byte(linkv1.Text(hub["namespace"])), key, []byte(v.p.cluster), linkv1.TokenHash(token), nonce, agentNonce)
	if !bytes.Equal(key, v.r.hub.Key) || linkv1.Text(hub["version"]) == "" || !linkv1.Verify(key, transcript, linkv1.Bytes(answer["signature"])) {
		v.r.t.Fatalf("the hub does not prove its key: %v", answer)
	}
}

func (v *version1) join(token string) {
	v.r.t.Helper()
	nonce := v.nonce()
	signature := ed25519.Sign(v.p.key, linkv1.Transcript("join", []byte(v.r.hub.ID), []byte(v.p.cluster), linkv1.TokenHash(token), v.p.public(), []byte("uid-1"), nonce, agentNonce))
	v.hubProves(v.ask(http.MethodPost, "/v1/join", v.message("join", linkv1.Values{
		"cluster": v.p.cluster, "token": token, "key": []byte(v.p.public()), "uid": "uid-1", "nonce": nonce, "agentNonce": agentNonce, "signature": signature,
	})), "", nonce)
}

func (v *version1) session() map[string]any {
	v.r.t.Helper()
	nonce := v.nonce()
	signature := ed25519.Sign(v.p.key, linkv1.Transcript("session", []byte(v.r.hub.ID), []byte(v.p.cluster), v.p.public(), nonce, agentNonce, []byte("instance-1"), []byte("uid-1"), []byte("v0.1.0")))
	answer := v.ask(http.MethodPost, "/v1/session", v.message("session", linkv1.Values{
		"cluster": v.p.cluster, "key": []byte(v.p.public()), "uid": "uid-1", "instance": "instance-1", "nonce": nonce, "agentNonce": agentNonce, "signature": signature,
	}))
	v.token = linkv1.Text(answer["token"])
	v.hubProves(answer, v.token, nonce)
	return answer
}

// down reads the next frame of a stream, and verifies its Assignment.
func (v *version1) down(stream io.Reader) map[string]any {
	v.r.t.Helper()
	d := v.read(stream)
	a, there := d["assignment"].(map[string]any)
	if !there {
		return d
	}
	generation, _ := a["generation"].(float64)
	transcript := linkv1.Transcript("assignment", []byte(v.r.hub.ID), []byte(v.p.cluster), []byte(linkv1.Text(a["uid"])), linkv1.Generation(uint64(generation)), []byte(linkv1.Text(a["digest"])))
	if !linkv1.Verify(v.r.hub.Key, transcript, linkv1.Bytes(a["signature"])) {
		v.r.t.Fatalf("the Assignment is not signed: %v", a)
	}
	return d
}

// TestAnAgentOfTheFirstVersionIsServed: it joins, is told to wait, connects, gets its Assignment and a bundle, reports,
// takes settings and requests, carries a removal out, and is told why its stream ends.
func TestAnAgentOfTheFirstVersionIsServed(t *testing.T) {
	r := newRig(t)
	v := &version1{r: r, p: r.peer()}
	b := configMaps(t, 3, 200)
	digest := b.Digest()
	r.bundles[digest] = b
	r.add(edgeKey, func(a *v1alpha1.Agent) {
		a.Join = &v1alpha1.AgentJoin{TokenHash: hashOf("token-1"), Expires: metav1.NewTime(r.now().Add(time.Hour))}
		a.Approval = v1alpha1.AgentApprovalManual
	})
	v.join("token-1")
	if goAway, _ := v.session()["bye"].(map[string]any); goAway["reason"] != "NotApproved" || goAway["retryAfter"] == nil || v.token != "" {
		t.Errorf("before it is approved: %v", goAway)
	}
	r.change(edgeKey, func(c *v1alpha1.Cluster) {
		c.Spec.Agent.Approval = ""
		c.Spec.Agent.Heartbeat = &metav1.Duration{Duration: time.Hour}
	})
	r.assign(edgeKey, 3, entry("apps", digest), entry("base", "sha256:0"))
	if settings, _ := v.session()["settings"].(map[string]any); settings["heartbeat"] != float64(3600) {
		t.Errorf("settings %v", settings)
	}
	stream := v.send(http.MethodPost, "/v1/stream", v.message("hello", linkv1.Values{"short": "0011223344556677"}))
	defer stream.Close()
	a, _ := v.down(stream)["assignment"].(map[string]any)
	entries, _ := a["entries"].([]any)
	if len(entries) != 2 || a["generation"] != float64(3) || a["uid"] != "assignment" {
		t.Fatalf("Assignment %v", a)
	}
	if e, _ := entries[0].(map[string]any); e["name"] != "apps" || e["digest"] != digest || e["interval"] != "1m0s" || e["revision"] != "main@sha1:1" {
		t.Errorf("entry %v", e)
	}
	v.downloads(digest, len(b.Objects), b.Encode())
	v.reports()
	r.gateway.Verify(edgeKey)
	if d := v.down(stream); d["verify"] != true || d["seq"] != float64(2) {
		t.Errorf("frame %v", d)
	}
	v.finalizes(stream)
	r.stop()
	if goAway, _ := v.down(stream)["bye"].(map[string]any); goAway["reason"] != "Stopping" || goAway["retryAfter"] == nil {
		t.Errorf("the last frame is %v", goAway)
	}
}

// downloads fetches a bundle, the first object from its third byte on.
func (v *version1) downloads(digest string, count int, want []byte) {
	t := v.r.t
	t.Helper()
	m := v.ask(http.MethodGet, "/v1/bundles/"+digest, nil)
	ids := linkv1.Bytes(m["objects"])
	transcript := linkv1.Transcript("bundle", []byte(v.r.hub.ID), []byte(v.p.cluster), []byte(digest), []byte(linkv1.Text(m["content"])), []byte{0})
	if len(ids) != 8*count || m["size"] != float64(len(want)) || m["confidential"] != nil || !linkv1.Verify(v.r.hub.Key, transcript, linkv1.Bytes(m["signature"])) {
		t.Fatalf("manifest %v", m)
	}
	body := v.send(http.MethodPost, "/v1/objects", v.message("wanted-all", linkv1.Values{"bundle": digest}))
	defer body.Close()
	var got []byte
	for {
		payload, err := linkv1.ReadFrame(body)
		if err != nil {
			t.Fatal(err)
		}
		if len(payload) == 0 {
			break
		}
		bodies, err := linkv1.Chunks(payload)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range bodies {
			got = append(append(got, b...), '\n')
		}
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the bundle has %d bytes, want %d", len(got), len(want))
	}
	rest := v.send(http.MethodPost, "/v1/objects", v.message("wanted", linkv1.Values{"bundle": digest, "objects": ids[8:16]}))
	defer rest.Close()
	payload, err := linkv1.ReadFrame(rest)
	if err != nil {
		t.Fatal(err)
	}
	if line := bytes.Split(want, []byte{'\n'})[1]; !bytes.Equal(payload, linkv1.Chunk(line, 3)) {
		t.Errorf("the rest of an object came as %d bytes", len(payload))
	}
}

// reports tells the hub everything that there was to tell.
func (v *version1) reports() {
	t, r := v.r.t, v.r
	t.Helper()
	answer := v.ask(http.MethodPost, "/v1/report", v.message("up", linkv1.Values{"uid": "uid-1"}))
	if answer["seq"] != float64(1) || answer["sent"] != float64(1) {
		t.Errorf("answer %v", answer)
	}
	v.ask(http.MethodPost, "/v1/report", v.message("up-idle", nil))
	state := r.until("reachable", func(s engine.State) bool { return s.Reachable })
	if !state.Usable || state.UID != "uid-1" || state.Version != "v1.36.3" || state.Orphaned != "old" || !state.Examined || state.Agent.DiskReason != v1alpha1.AgentDiskFullReason || state.Agent.Version != "v0.1.0" {
		t.Errorf("state %+v", state)
	}
	got, told := r.gateway.Report(edgeKey)
	if !told || len(got) != 1 || got[0].Ready != metav1.ConditionTrue || got[0].Objects.Ready != 3 || got[0].Drift != 2 || got[0].VerifiedAt == nil || got[0].HandledAt != "now" ||
		len(got[0].Drifts) != 1 || got[0].Drifts[0].Action != v1alpha1.DriftCorrected || got[0].Drifts[0].Paths[0] != ".data.n" {
		t.Errorf("report %t %+v", told, got)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) != 1 || r.events[0].Reason != "DriftCorrected" || !r.events[0].Warning || r.events[0].Object.ID.Kind != "Deployment" || r.events[0].Object.ResourceVersion != "5" {
		t.Errorf("events %+v", r.events)
	}
}

// finalizes refuses a removal once, and then carries it out.
func (v *version1) finalizes(stream io.Reader) {
	t, r := v.r.t, v.r
	t.Helper()
	for _, test := range []struct {
		answer string
		want   error
	}{{"up-finalize-failed", engine.ErrNotRemoved}, {"up-finalized", nil}} {
		ended := make(chan error, 1)
		go func() { ended <- r.gateway.Finalize(context.WithoutCancel(t.Context()), edgeKey) }()
		d := v.down(stream)
		request := linkv1.Text(d["finalize"])
		transcript := linkv1.Transcript("finalize", []byte(r.hub.ID), []byte(v.p.cluster), v.p.public(), []byte(request))
		if request == "" || !linkv1.Verify(r.hub.Key, transcript, linkv1.Bytes(d["finalizeSignature"])) {
			t.Fatalf("frame %v", d)
		}
		v.ask(http.MethodPost, "/v1/report", v.message(test.answer, linkv1.Values{"request": request}))
		if err := <-ended; !errors.Is(err, test.want) {
			t.Errorf("%s: %v", test.answer, err)
		}
	}
}
