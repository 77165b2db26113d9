package gateway

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/medium"
)

// ticket lets who has the token carry files for a Cluster.
func (r *rig) ticket(key engine.Key, token string, life time.Duration) {
	until := r.now().Add(life).Unix()
	r.change(key, func(c *v1alpha1.Cluster) {
		c.Annotations = map[string]string{v1alpha1.MediumTicketAnnotation: hashOf(token) + "." + strconv.FormatInt(until, 10)}
	})
}

// carry sends a request for a file, or with one.
func (p *peer) carry(method, path, token string, file []byte) (int, []byte) {
	p.r.t.Helper()
	req, err := http.NewRequestWithContext(p.r.t.Context(), method, p.r.base+path, bytes.NewReader(file))
	if err != nil {
		p.r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set(link.ClusterHeader, p.cluster)
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

func answerOf(t *testing.T, body []byte) link.MediumResponse {
	t.Helper()
	var a link.MediumResponse
	if err := link.ReadMessage(bytes.NewReader(body), link.MaxProof, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// report makes a report of the peer.
func (p *peer) report(number uint64, up link.Up) []byte {
	p.r.t.Helper()
	var out bytes.Buffer
	l := medium.Label{Hub: p.r.hub.ID, Cluster: p.cluster, Made: p.r.now().Add(-time.Hour)}
	up.Complete = true
	if err := medium.WriteReport(&out, l, medium.Report{Number: number, Version: "v0.2.0", ClusterUID: p.who.ClusterUID, Up: up}, p.key, p.r.hub.Key); err != nil {
		p.r.t.Fatal(err)
	}
	return out.Bytes()
}

// TestAnUpdateIsExportedForTheAgent, with all bundles that the Assignment names and that are there.
func TestAnUpdateIsExportedForTheAgent(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	b, earlier := configMaps(t, 20, 5000), configMaps(t, 1, 10)
	r.bundles[b.Digest()], r.bundles[earlier.Digest()] = b, earlier
	e := entry("app", b.Digest())
	e.Fallback, e.KeepFor = &v1alpha1.Bundle{Revision: "main@sha1:0", Digest: earlier.Digest()}, []string{"sha256:gone"}
	r.ticket(edgeKey, "ticket", time.Minute)
	if status, body := p.carry(http.MethodGet, link.MediumUpdatePath, "ticket", nil); status != http.StatusConflict || answerOf(t, body).Reason != v1alpha1.MediumNotExpectedReason {
		t.Errorf("before anything is assigned: %d", status)
	}
	r.assign(edgeKey, 3, e)
	status, file := p.carry(http.MethodGet, link.MediumUpdatePath, "ticket", nil)
	if status != http.StatusOK {
		t.Fatalf("status %d: %q", status, file)
	}
	u, err := medium.OpenUpdate(bytes.NewReader(file), medium.Edge{Hub: r.hub.ID, HubKey: r.hub.Key, Cluster: p.cluster, Key: p.key})
	if err != nil {
		t.Fatal(err)
	}
	entries, err := u.Update.Assignment.Apply(nil)
	if err != nil || len(entries) != 1 || u.Update.Assignment.Generation != 3 || u.Update.Assignment.UID != "assignment" {
		t.Errorf("%+v, %v", u.Update.Assignment, err)
	}
	var got []string
	for {
		digest, bundle, err := u.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if bundle.Digest() != digest {
			t.Errorf("bundle %s has digest %s", digest, bundle.Digest())
		}
		got = append(got, digest)
	}
	if len(got) != 2 || got[0] != b.Digest() || got[1] != earlier.Digest() {
		t.Errorf("bundles %v", got)
	}
	r.mu.Lock()
	delete(r.bundles, b.Digest())
	r.mu.Unlock()
	if status, _ := p.carry(http.MethodGet, link.MediumUpdatePath, "ticket", nil); status != http.StatusServiceUnavailable {
		t.Errorf("while the bundle is rendered anew: %d", status)
	}
	r.mu.Lock()
	r.bundles[b.Digest()] = b
	r.mu.Unlock()
	r.change(edgeKey, func(c *v1alpha1.Cluster) { c.Spec.Agent.Approval = v1alpha1.AgentApprovalManual })
	if status, body := p.carry(http.MethodGet, link.MediumUpdatePath, "ticket", nil); status != http.StatusConflict || answerOf(t, body).Reason != v1alpha1.AgentNotApprovedReason {
		t.Errorf("before the agent is approved: %d, %d bytes", status, len(body))
	}
	r.change(edgeKey, func(c *v1alpha1.Cluster) {
		c.Annotations[v1alpha1.AgentApprovedAnnotation] = link.Fingerprint(p.public())
	})
	if status, _ := p.carry(http.MethodGet, link.MediumUpdatePath, "ticket", nil); status != http.StatusOK {
		t.Errorf("when it is approved: %d", status)
	}
	r.change(edgeKey, func(c *v1alpha1.Cluster) { c.Spec.Agent.PublicKey = "" })
	if status, body := p.carry(http.MethodGet, link.MediumUpdatePath, "ticket", nil); status != http.StatusConflict || answerOf(t, body).Reason != v1alpha1.MediumNotExpectedReason {
		t.Errorf("without a key: %d %q", status, body)
	}
}

// TestACarriedReportCounts as one over a link does, while the agent stays disconnected; and no older one after it.
func TestACarriedReportCounts(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	r.assign(edgeKey, 1, entry("app", "sha256:1"))
	r.ticket(edgeKey, "ticket", time.Minute)
	send := func(file []byte) (int, link.MediumResponse) {
		status, body := p.carry(http.MethodPost, link.MediumReportPath, "ticket", file)
		return status, answerOf(t, body)
	}
	up := link.Up{Entries: []v1alpha1.AssignmentEntryStatus{status("app", metav1.ConditionTrue), status("not-its-own", metav1.ConditionTrue)}, Events: []link.Event{{Seq: 5, Reason: "DriftCorrected", Message: "x"}}, State: healthy}
	if code, a := send(p.report(7, up)); code != http.StatusOK || a.Entries != 2 || a.Events != 1 {
		t.Fatalf("%d %+v", code, a)
	}
	got, complete := r.gateway.Report(edgeKey)
	if !complete || len(got) != 1 || got[0].Name != "app" || got[0].Ready != metav1.ConditionTrue || len(r.events) != 1 {
		t.Errorf("%+v %v, events %+v", got, complete, r.events)
	}
	state, _ := r.gateway.State(edgeKey)
	if ago := r.now().Sub(state.LastSeen); !state.Known || state.Reachable || state.Agent.Connected || ago < 59*time.Minute || ago > 61*time.Minute || state.Agent.Carried.Number != 7 || state.Agent.Carried.Imported.IsZero() {
		t.Errorf("%+v", state)
	}
	for name, number := range map[string]uint64{"the same": 7, "an older one": 6} {
		if code, a := send(p.report(number, link.Up{})); code != http.StatusConflict || a.Reason != v1alpha1.MediumOutdatedReason {
			t.Errorf("%s: %d %+v", name, code, a)
		}
	}
	if code, _ := send(p.report(8, link.Up{Entries: []v1alpha1.AssignmentEntryStatus{status("app", metav1.ConditionFalse)}})); code != http.StatusOK {
		t.Errorf("a newer one: %d", code)
	}
	if got, _ := r.gateway.Report(edgeKey); len(got) != 1 || got[0].Ready != metav1.ConditionFalse {
		t.Errorf("%+v", got)
	}
}

// TestAReportIsOlderThanWhatCameOverTheLink.
func TestAReportIsOlderThanWhatCameOverTheLink(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(*rig, *peer)
		number  uint64
		want    string
	}{
		"while the agent is connected": {func(_ *rig, p *peer) { p.welcome(); p.stream(link.Have{}).next() }, 9, v1alpha1.MediumOutdatedReason},
		"made before the agent connected": {func(r *rig, p *peer) {
			p.who.Carried = 9
			p.welcome()
			r.pass(reconnectGrace + time.Minute)
		}, 9, v1alpha1.MediumOutdatedReason},
		"made after the agent connected": {func(r *rig, p *peer) {
			p.who.Carried = 8
			p.welcome()
			r.pass(reconnectGrace + time.Minute)
		}, 9, ""},
		"taken by the hub before it was restarted": {func(r *rig, p *peer) {
			r.change(edgeKey, func(c *v1alpha1.Cluster) {
				c.Status.Agent = &v1alpha1.AgentStatus{KeyFingerprint: link.Fingerprint(p.public()), CarriedReport: &v1alpha1.CarriedReport{Number: 9}}
			})
		}, 9, v1alpha1.MediumOutdatedReason},
		"another cluster": {func(_ *rig, p *peer) { p.who.ClusterUID = "uid-2" }, 9, v1alpha1.ClusterReplacedReason},
		"another agent":   {func(_ *rig, p *peer) { p.key = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) }, 9, v1alpha1.MediumNotSignedReason},
		"not approved yet": {func(r *rig, _ *peer) {
			r.change(edgeKey, func(c *v1alpha1.Cluster) { c.Spec.Agent.Approval = v1alpha1.AgentApprovalManual })
		}, 9, v1alpha1.AgentNotApprovedReason},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			p := r.joined()
			r.assign(edgeKey, 1, entry("app", "sha256:1"))
			tt.prepare(r, p)
			r.ticket(edgeKey, "ticket", time.Hour)
			_, body := p.carry(http.MethodPost, link.MediumReportPath, "ticket", p.report(tt.number, link.Up{}))
			if got := answerOf(t, body).Reason; got != tt.want {
				t.Errorf("%q, not %q", got, tt.want)
			}
		})
	}
}

// filesNeedATicket: nothing is answered, and nothing of a file is read, for who has none.
func filesNeedATicket(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	r.assign(edgeKey, 1, entry("app", "sha256:1"))
	refused := func(what, token string) {
		t.Helper()
		for method, path := range map[string]string{http.MethodGet: link.MediumUpdatePath, http.MethodPost: link.MediumReportPath} {
			code, body := p.carry(method, path, token, p.report(1, link.Up{}))
			uniform(t, what+" "+path, code, body)
		}
	}
	refused("without a ticket", "ticket")
	refused("with no token", "")
	r.ticket(edgeKey, "ticket", time.Minute)
	refused("with another token", "other")
	p.cluster = "fleet/edge-2"
	refused("for another Cluster", "ticket")
	p.cluster = edgeKey.String()
	r.pass(2 * time.Minute)
	refused("too late", "ticket")
	r.ticket(edgeKey, "ticket", 100*365*24*time.Hour)
	refused("with another token for one that never ends", "other")
	if status, body := p.carry(http.MethodGet, link.MediumUpdatePath, "ticket", nil); status != http.StatusConflict || !strings.Contains(answerOf(t, body).Message, "1h0m0s") {
		t.Errorf("with a ticket that never ends: %d", status)
	}
	for _, broken := range []string{"", ".", "zz.9999999999", hashOf("ticket"), hashOf("ticket") + ".x"} {
		r.change(edgeKey, func(c *v1alpha1.Cluster) { c.Annotations[v1alpha1.MediumTicketAnnotation] = broken })
		refused("with the annotation "+strconv.Quote(broken), "ticket")
	}
}

// mediaAreSealed: what is found on a medium reveals nothing, and serves no other agent.
func mediaAreSealed(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	b := configMaps(t, 3, 10)
	r.bundles[b.Digest()] = b
	r.assign(edgeKey, 1, entry("app", b.Digest()))
	r.ticket(edgeKey, "ticket", time.Minute)
	status, file := p.carry(http.MethodGet, link.MediumUpdatePath, "ticket", nil)
	if status != http.StatusOK {
		t.Fatal(status)
	}
	for _, text := range []string{"ConfigMap", "c-0", "app", strings.TrimPrefix(b.Digest(), "sha256:")} {
		if bytes.Contains(file, []byte(text)) {
			t.Errorf("the file shows %q", text)
		}
	}
	thief := medium.Edge{Hub: r.hub.ID, HubKey: r.hub.Key, Cluster: p.cluster, Key: r.peer().key}
	if _, err := medium.OpenUpdate(bytes.NewReader(file), thief); err == nil {
		t.Error("another key opens the file")
	}
	mine := bytes.Replace(file, []byte(link.Fingerprint(p.public())), []byte(link.Fingerprint(thief.Key.Public().(ed25519.PublicKey))), 1)
	if _, err := medium.OpenUpdate(bytes.NewReader(mine), thief); err == nil {
		t.Error("another key opens the file with another label")
	}
}

// filesAreSigned: a file that somebody else made, or changed, is refused.
func filesAreSigned(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	r.assign(edgeKey, 1, entry("app", "sha256:1"))
	r.ticket(edgeKey, "ticket", time.Minute)
	genuine := p.report(1, link.Up{})
	changed := bytes.Clone(genuine)
	changed[len(changed)-1] ^= 1
	forger := &peer{r: r, client: p.client, cluster: p.cluster, key: r.peer().key, who: p.who}
	for name, file := range map[string][]byte{"changed": changed, "cut off": genuine[:len(genuine)-1], "forged": forger.report(1, link.Up{}), "none": []byte("x")} {
		if status, _ := p.carry(http.MethodPost, link.MediumReportPath, "ticket", file); status != http.StatusConflict {
			t.Errorf("%s: %d", name, status)
		}
	}
	if _, complete := r.gateway.Report(edgeKey); complete {
		t.Error("something of it was taken")
	}
	if status, _ := p.carry(http.MethodPost, link.MediumReportPath, "ticket", genuine); status != http.StatusOK {
		t.Errorf("as it was: %d", status)
	}
}

// readDeadlines records the last deadline for the body of a request, when the first of the answer is written.
type readDeadlines struct {
	*httptest.ResponseRecorder
	last, whenWritten time.Time
	written           bool
}

func (d *readDeadlines) SetReadDeadline(at time.Time) error {
	d.last = at
	return nil
}

func (d *readDeadlines) Write(p []byte) (int, error) {
	if !d.written {
		d.written, d.whenWritten = true, d.last
	}
	return d.ResponseRecorder.Write(p)
}

// TestAnExportMayTakeLongerThanItsRequest: over HTTP/1.1 the deadline for the body ends the connection.
func TestAnExportMayTakeLongerThanItsRequest(t *testing.T) {
	r := newRig(t)
	r.joined()
	b := configMaps(t, 1, 10)
	r.bundles[b.Digest()] = b
	r.assign(edgeKey, 1, entry("app", b.Digest()))
	r.ticket(edgeKey, "ticket", time.Minute)
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, link.MediumUpdatePath, nil)
	req.Header.Set("Authorization", "Bearer ticket")
	req.Header.Set(link.ClusterHeader, edgeKey.String())
	w := &readDeadlines{ResponseRecorder: httptest.NewRecorder()}
	r.gateway.withTicket(r.gateway.exportUpdate)(w, req)
	if !w.written || !w.whenWritten.IsZero() {
		t.Errorf("status %d, written %t, with the deadline %s", w.Code, w.written, w.whenWritten)
	}
}

// export returns the label and the Assignment of a new file.
func (p *peer) export(t *testing.T) (medium.Label, link.Assignment) {
	t.Helper()
	status, file := p.carry(http.MethodGet, link.MediumUpdatePath, "ticket", nil)
	if status != http.StatusOK {
		t.Fatalf("export: %d", status)
	}
	u, err := medium.OpenUpdate(bytes.NewReader(file), medium.Edge{Hub: p.r.hub.ID, HubKey: p.r.hub.Key, Cluster: p.cluster, Key: p.key})
	if err != nil {
		t.Fatal(err)
	}
	return u.Label, u.Update.Assignment
}

// TestAClockThatWasAheadDoesNotMakeLaterExportsOlder, nor what comes over the link, whether the hub was started anew since
// or not; and what was made meanwhile stays older than what is made after it.
func TestAClockThatWasAheadDoesNotMakeLaterExportsOlder(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	b := configMaps(t, 1, 10)
	r.bundles[b.Digest()] = b
	r.assign(edgeKey, 1, entry("app", b.Digest()))
	const years = 4 * 365 * 24 * time.Hour
	r.pass(years)
	r.ticket(edgeKey, "ticket", time.Minute)
	ahead, _ := p.export(t)
	r.pass(-years)
	r.ticket(edgeKey, "ticket", time.Minute)
	if now := r.now(); !ahead.Made.After(now.Add(years / 2)) {
		t.Fatalf("made at %s, and now is %s", ahead.Made, now)
	}
	r.assign(edgeKey, 2, entry("app", b.Digest()), entry("more", b.Digest()))
	began := time.Unix(0, p.welcome().At)
	if !began.After(ahead.Made) {
		t.Errorf("the settings of a session are of %s, and the file of %s", began, ahead.Made)
	}
	at := time.Unix(0, p.stream(link.Have{}).next().At)
	if !at.After(began) {
		t.Errorf("what comes over the link is of %s, and the session of %s", at, began)
	}
	second, a := p.export(t)
	if !second.Made.After(at) || a.Generation != 2 {
		t.Errorf("the second file is of %s, generation %d, and the link told of %s", second.Made, a.Generation, at)
	}
	r.gateway.Disconnect(edgeKey) // another process of the hub knows what is written down, and nothing else
	r.connect(edgeKey)
	r.assign(edgeKey, 3, entry("app", b.Digest()))
	if third, _ := p.export(t); !third.Made.After(second.Made) {
		t.Errorf("after a restart a file is of %s, and the one before of %s", third.Made, second.Made)
	}
}

// TestAHubThatHasForgottenItsClockGoesOnFromWhatTheAgentHasSeen: it was restored from a backup of before that, and the
// agent tells it over the link, or in a report that is carried.
func TestAHubThatHasForgottenItsClockGoesOnFromWhatTheAgentHasSeen(t *testing.T) {
	seen := time.Now().Add(4 * 365 * 24 * time.Hour).Round(0)
	for name, tell := range map[string]func(p *peer, latest int64){
		"over the link": func(p *peer, latest int64) {
			p.signs().welcome()
			p.up(link.Up{Seq: 1, Latest: latest})
		},
		"by medium": func(p *peer, latest int64) {
			if status, _ := p.carry(http.MethodPost, link.MediumReportPath, "ticket", p.report(7, link.Up{Latest: latest})); status != http.StatusOK {
				t.Errorf("status %d", status)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			p := r.joined()
			b := configMaps(t, 1, 10)
			r.bundles[b.Digest()] = b
			r.assign(edgeKey, 1, entry("app", b.Digest()))
			r.ticket(edgeKey, "ticket", time.Minute)
			if before, _ := p.export(t); !before.Made.Before(seen) {
				t.Fatalf("made at %s", before.Made)
			}
			tell(p, seen.UnixNano())
			r.gateway.Disconnect(edgeKey) // the process ends
			r.connect(edgeKey)
			r.assign(edgeKey, 2, entry("app", b.Digest()))
			if after, _ := p.export(t); !after.Made.After(seen) {
				t.Errorf("made at %s, and the agent has seen %s", after.Made, seen)
			}
		})
	}
}

// TestAnExportWaitsUntilItsTimeIsWrittenDown: a file that has left the hub must not be later than one of the next process.
func TestAnExportWaitsUntilItsTimeIsWrittenDown(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	r.assign(edgeKey, 1, v1alpha1.AssignmentEntry{Name: "app", Remove: true})
	r.ticket(edgeKey, "ticket", time.Minute)
	r.mu.Lock()
	r.unwritable = errors.New("the API server is away")
	r.mu.Unlock()
	if status, body := p.carry(http.MethodGet, link.MediumUpdatePath, "ticket", nil); status != http.StatusServiceUnavailable || len(body) > 0 {
		t.Errorf("status %d, %d bytes", status, len(body))
	}
	r.mu.Lock()
	r.unwritable = nil
	r.mu.Unlock()
	p.export(t)
}

// TestATimeThatNoClockShowsIsNotLearnt: an agent that names it would have the hub's times end.
func TestATimeThatNoClockShowsIsNotLearnt(t *testing.T) {
	var h hubTime
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	h.observe(time.Unix(0, 1<<63-1))
	if at := h.next(now, 1); !at.Equal(now) {
		t.Errorf("the time is %s", at)
	}
	if at := h.next(now, exportGap); !at.Equal(now.Add(exportGap)) {
		t.Errorf("the next is %s", at)
	}
}
