package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/object"
)

func TestAnAgentJoinsConnectsAndReports(t *testing.T) {
	r := newRig(t)
	p := r.peer()
	const token = "a-token"
	r.add(edgeKey, func(a *v1alpha1.Agent) {
		a.Join = &v1alpha1.AgentJoin{TokenHash: hashOf(token), Expires: metav1.NewTime(r.now().Add(time.Hour))}
	})
	if state, _ := r.gateway.State(edgeKey); !state.Agent.Pending || state.Reason != v1alpha1.AgentNotConnectedReason {
		t.Errorf("before: %+v", state)
	}
	r.assign(edgeKey, 1, entry("apps", "sha256:1"))
	if got := p.join(token); got != http.StatusOK {
		t.Fatalf("join: %d", got)
	}
	if got := p.join(token); got != http.StatusUnauthorized {
		t.Errorf("a token serves twice: %d", got)
	}
	p.welcome()
	stream := p.stream(link.Have{})
	down := stream.next()
	if down.Assignment == nil {
		t.Fatalf("got %+v", down)
	}
	entries, err := down.Assignment.Apply(nil)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%v, %v", entries, err)
	}
	if !link.Verify(r.hub.Key, link.AssignmentTranscript(r.hub.ID, p.cluster, *down.Assignment), down.Assignment.Signature) {
		t.Error("the Assignment is not signed")
	}
	if _, told := r.gateway.Report(edgeKey); told {
		t.Error("there is a report before the agent has sent one")
	}
	if state, _ := r.gateway.State(edgeKey); state.Known {
		t.Errorf("something is known before the first report: %+v", state)
	}
	verified := metav1.NewTime(r.now().Truncate(time.Second))
	mine := status("apps", metav1.ConditionTrue)
	mine.VerifiedAt = &verified
	if got := p.up(link.Up{Seq: 1, State: healthy, Entries: []v1alpha1.AssignmentEntryStatus{mine}, Complete: true}); got.Seq != 1 || got.Sent != 1 {
		t.Errorf("answer %+v", got)
	}
	state := r.until("reachable", func(s engine.State) bool { return s.Reachable && s.Usable })
	if !state.Agent.Connected || state.Agent.Version != "v0.2.0" || state.UID != "uid-1" || state.Agent.Fingerprint != link.Fingerprint(p.public()) {
		t.Errorf("state %+v", state)
	}
	got, told := r.gateway.Report(edgeKey)
	if diff := cmp.Diff([]v1alpha1.AssignmentEntryStatus{mine}, got); !told || diff != "" {
		t.Errorf("told %t %s", told, diff)
	}
}

func TestOnlyDifferencesComeDown(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	r.assign(edgeKey, 1, entry("apps", "sha256:1"), entry("base", "sha256:2"))
	p.welcome()
	stream := p.stream(link.Have{})
	before, err := stream.next().Assignment.Apply(nil)
	if err != nil {
		t.Fatal(err)
	}
	r.assign(edgeKey, 2, entry("base", "sha256:3"), entry("apps", "sha256:1"))
	change := stream.next().Assignment
	if change == nil || len(change.Entries) != 1 || change.Entries[0].Name != "base" || change.Generation != 2 {
		t.Fatalf("change %+v", change)
	}
	after, err := change.Apply(before)
	if err != nil {
		t.Fatal(err)
	}
	// After a reconnect, with what it has, and without.
	again := p.stream(link.HaveEntries(after)).next().Assignment
	if len(again.Entries)+len(again.Dropped) != 0 {
		t.Errorf("what the agent has is sent again: %+v", again)
	}
	if whole := p.stream(link.Have{}).next().Assignment; len(whole.Entries) != 2 {
		t.Errorf("an agent that has lost its disk gets %+v", whole)
	}
	stale := p.stream(link.HaveEntries(before)).next().Assignment
	if len(stale.Entries) != 1 || stale.Entries[0].Name != "base" {
		t.Errorf("an agent that missed a change gets %+v", stale)
	}
}

// TestEachChangeOfAnAssignmentIsSentByItself: nothing waits for more to come.
func TestEachChangeOfAnAssignmentIsSentByItself(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	p.welcome()
	stream := p.stream(link.Have{})
	r.assign(edgeKey, 1, entry("apps", "sha256:0"))
	stream.next()
	for i := range 20 {
		r.assign(edgeKey, int64(i+2), entry("apps", "sha256:"+string(rune('a'+i))))
		if down := stream.next().Assignment; down == nil || down.Generation != int64(i+2) {
			t.Fatalf("change %d: %+v", i, down)
		}
	}
}

func TestChangesAreCoalescedWhileAnAgentReadsSlowly(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	p.welcome()
	a := r.gateway.agentOf(edgeKey)
	s := a.session
	st := a.startStream(s, link.Have{}, r.now())
	for i := range 100 {
		r.assign(edgeKey, int64(i), entry("apps", "sha256:"+string(rune('a'+i))))
	}
	down, _ := a.nextFrame(s, st, r.now)
	if down == nil || down.Assignment == nil || down.Assignment.Generation != 99 {
		t.Errorf("got %+v", down)
	}
	if more, _ := a.nextFrame(s, st, r.now); more != nil {
		t.Errorf("and then %+v", more)
	}
}

func TestWhatWasReportedBeforeIsNotReportedAgain(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	reported := []v1alpha1.AssignmentEntryStatus{status("apps", metav1.ConditionTrue), status("base", metav1.ConditionFalse)}
	r.stored[edgeKey] = &v1alpha1.Assignment{Status: v1alpha1.AssignmentStatus{Entries: reported}}
	r.assign(edgeKey, 1, entry("apps", "sha256:1"), entry("base", "sha256:2"))
	welcome := p.welcome() // the hub was started anew
	var up link.Up
	if err := up.DiffStatuses(welcome.Reported, nil, []v1alpha1.AssignmentEntryStatus{reported[0], status("base", metav1.ConditionTrue)}); err != nil {
		t.Fatal(err)
	}
	if len(up.Entries) != 1 || up.Entries[0].Name != "base" {
		t.Fatalf("it reports %+v", up)
	}
	up.Seq, up.State, up.Complete = 1, healthy, true
	p.up(up)
	got, told := r.gateway.Report(edgeKey)
	if !told || len(got) != 2 || got[0].Ready != metav1.ConditionTrue || got[1].Ready != metav1.ConditionTrue {
		t.Errorf("told %t, %+v", told, got)
	}
}

func TestASilentAgentIsNeverCalledReachable(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	if state, _ := r.gateway.State(edgeKey); state.Known {
		t.Errorf("at the start: %+v", state)
	}
	r.pass(startGrace + time.Second)
	if state, _ := r.gateway.State(edgeKey); !state.Known || state.Reachable {
		t.Errorf("after the grace: %+v", state)
	}
	select {
	case <-r.changes:
	default:
		t.Error("the controllers are not woken when the grace has passed")
	}
	p.welcome()
	stream := p.stream(link.Have{})
	p.up(link.Up{Seq: 1, State: healthy, Complete: true})
	r.until("reachable", func(s engine.State) bool { return s.Reachable })
	r.pass(2 * link.DefaultHeartbeat)
	if state, _ := r.gateway.State(edgeKey); !state.Reachable {
		t.Errorf("within the time: %+v", state)
	}
	p.up(link.Up{}) // a heartbeat
	r.pass(2 * link.DefaultHeartbeat)
	if state, _ := r.gateway.State(edgeKey); !state.Reachable {
		t.Errorf("after a heartbeat: %+v", state)
	}
	r.pass(link.DefaultHeartbeat)
	if state, _ := r.gateway.State(edgeKey); state.Reachable || !state.Known {
		t.Errorf("half-open: %+v", state)
	}
	if got := stream.closeReason(); got != "" {
		t.Errorf("the stream ends with %q", got)
	}
	if got := p.ask(link.ReportPath, link.Up{}, &link.UpResponse{}); got != http.StatusUnauthorized {
		t.Errorf("the session goes on: %d", got)
	}
}

func TestAnAgentWhoseStreamEndsHasAMinuteToReturn(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	p.welcome()
	stream := p.stream(link.Have{})
	p.up(link.Up{Seq: 1, State: healthy, Complete: true})
	stream.body.Close()
	r.until("disconnected", func(s engine.State) bool { return !s.Agent.Connected && s.Reachable })
	p.stream(link.Have{}) // in the same session
	r.until("connected", func(s engine.State) bool { return s.Agent.Connected && s.Reachable })
}

func TestRevocationEndsALiveStream(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.Cluster){
		"no key":          func(c *v1alpha1.Cluster) { c.Spec.Agent.PublicKey = "" },
		"another key":     func(c *v1alpha1.Cluster) { c.Spec.Agent.PublicKey = link.EncodeKey(make([]byte, 32)) },
		"not approved":    func(c *v1alpha1.Cluster) { c.Spec.Agent.Approval = v1alpha1.AgentApprovalManual },
		"what is no key":  func(c *v1alpha1.Cluster) { c.Spec.Agent.PublicKey = "%" },
		"another is made": func(c *v1alpha1.Cluster) { c.Spec.Agent = &v1alpha1.Agent{} },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			p := r.joined()
			p.welcome()
			stream := p.stream(link.Have{})
			p.up(link.Up{Seq: 1, State: healthy, Complete: true})
			r.change(edgeKey, change)
			if got := stream.closeReason(); got != link.GoAwayRevoked {
				t.Errorf("the last frame says %q", got)
			}
			if got := p.ask(link.ReportPath, link.Up{Seq: 2, State: healthy}, &link.UpResponse{}); got != http.StatusUnauthorized {
				t.Errorf("it may report: %d", got)
			}
			if state, _ := r.gateway.State(edgeKey); state.Reachable {
				t.Errorf("state %+v", state)
			}
		})
	}
}

func TestARemovedClusterEndsItsStream(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	p.welcome()
	stream := p.stream(link.Have{})
	r.mu.Lock()
	delete(r.clusters, edgeKey)
	r.mu.Unlock()
	r.gateway.Disconnect(edgeKey)
	if got := stream.closeReason(); got != link.GoAwayElsewhere {
		t.Errorf("the last frame says %q", got)
	}
	if got, _ := p.session(); got != http.StatusUnauthorized {
		t.Errorf("a session of a Cluster that is gone: %d", got)
	}
}

func TestASecondAgentWithOneKeyIsNamed(t *testing.T) {
	r := newRig(t)
	original := r.joined()
	original.welcome()
	first := original.stream(link.Have{})
	original.up(link.Up{Seq: 1, State: healthy, Complete: true})
	restarted := r.peerWith(original.key, "uid-1")
	restarted.welcome()
	if got := first.closeReason(); got != link.GoAwayReplaced {
		t.Errorf("the first stream ends with %q", got)
	}
	second := restarted.stream(link.Have{})
	restarted.up(link.Up{Seq: 1, State: healthy, Complete: true})
	if state, _ := r.gateway.State(edgeKey); !state.Usable {
		t.Fatalf("a restart is taken for a copy: %+v", state)
	}
	if _, answer := original.session(); answer.GoAway == nil || answer.GoAway.Reason != link.GoAwayDuplicate || answer.Token != "" {
		t.Fatalf("the first one is back: %+v", answer)
	}
	state, _ := r.gateway.State(edgeKey)
	if state.Usable || state.Reason != v1alpha1.DuplicateAgentReason || !bytes.Contains([]byte(state.Message), []byte(original.who.Instance)) || !bytes.Contains([]byte(state.Message), []byte(restarted.who.Instance)) {
		t.Errorf("state %+v", state)
	}
	r.assign(edgeKey, 1, entry("apps", "sha256:1"))
	if second.next().Assignment == nil {
		t.Error("the one that is connected gets no Assignment")
	}
	for range 3 { // the copy has gone: its last try is forgotten after a while
		r.pass(link.DefaultHeartbeat)
		restarted.up(link.Up{})
	}
	r.pass(time.Minute)
	if state, _ := r.gateway.State(edgeKey); !state.Usable {
		t.Errorf("after the copy has gone: %+v", state)
	}
	r.pass(20 * time.Minute) // the one that was connected has gone, for good: the other one waits no longer
	if _, answer := original.session(); answer.GoAway != nil {
		t.Errorf("the one that is left is refused: %+v", answer.GoAway)
	}
	if _, answer := restarted.session(); answer.GoAway == nil {
		t.Error("two agents with one key take turns")
	}
}

func TestAnAgentOfAnotherClusterIsRefused(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	r.assign(edgeKey, 1, entry("apps", "sha256:1"))
	for name, test := range map[string]struct {
		uid, goAway, reason string
	}{
		"replaced":         {"uid-2", link.GoAwayClusterReplaced, v1alpha1.ClusterReplacedReason},
		"the hub's own":    {"hub-uid", link.GoAwayDuplicate, v1alpha1.HubItselfReason},
		"back as it was":   {"uid-1", "", ""},
		"of another again": {"uid-3", link.GoAwayClusterReplaced, v1alpha1.ClusterReplacedReason},
	} {
		t.Run(name, func(t *testing.T) {
			other := r.peerWith(p.key, test.uid)
			_, answer := other.session()
			if test.goAway == "" {
				if answer.GoAway != nil {
					t.Errorf("refused: %+v", answer.GoAway)
				}
				return
			}
			if answer.GoAway == nil || answer.GoAway.Reason != test.goAway || answer.Token != "" {
				t.Errorf("answer %+v", answer)
			}
			if state, _ := r.gateway.State(edgeKey); state.Usable || state.Reason != test.reason {
				t.Errorf("state %+v", state)
			}
		})
	}
	r.taken["uid-1"] = engine.Key{Namespace: "fleet", Name: "other"}
	if _, answer := p.session(); answer.GoAway == nil {
		t.Error("a cluster that another Cluster has is accepted")
	}
	if state, _ := r.gateway.State(edgeKey); state.Reason != v1alpha1.DuplicateClusterReason {
		t.Errorf("state %+v", state)
	}
}

// TestATickLooksAtSomeOfManyAgents, and those after it at the others.
func TestATickLooksAtSomeOfManyAgents(t *testing.T) {
	looked := map[engine.Key]int{}
	g, err := New(Options{Now: time.Now, OnChange: func(key engine.Key) { looked[key]++ }})
	if err != nil {
		t.Fatal(err)
	}
	const agents = 2*agentsPerTick + 1
	for i := range agents {
		g.Connect(memberKey(i), engine.Connection{Agent: &v1alpha1.Agent{}})
	}
	clear(looked)
	for _, want := range []int{agentsPerTick, 2 * agentsPerTick, agents} {
		if g.tick(); len(looked) != want {
			t.Errorf("%d agents were looked at, want %d", len(looked), want)
		}
	}
}

// TestAnAgentGivesWayWhenItsClusterIsAnothers, and not only when it connects next: the hub works on the cluster by then.
func TestAnAgentGivesWayWhenItsClusterIsAnothers(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	r.assign(edgeKey, 1, entry("apps", "sha256:1"))
	p.welcome()
	stream := p.stream(link.Have{})
	stream.next()
	p.up(link.Up{Seq: 1, State: healthy, Complete: true})
	r.connect(edgeKey)
	if state, _ := r.gateway.State(edgeKey); !state.Usable {
		t.Fatalf("before, the Cluster says %+v", state)
	}
	r.mu.Lock()
	r.taken["uid-1"] = engine.Key{Namespace: "fleet", Name: "other"}
	r.mu.Unlock()
	r.connect(edgeKey)
	if d := stream.next(); d.GoAway == nil || d.GoAway.Reason != link.GoAwayDuplicate || d.GoAway.RetryAfter > 60 {
		t.Errorf("the stream says %+v", d)
	}
	if state, _ := r.gateway.State(edgeKey); state.Usable || state.Reason != v1alpha1.DuplicateClusterReason || !strings.Contains(state.Message, "fleet/other") {
		t.Errorf("the Cluster says %+v", state)
	}
	if status := p.ask(link.ReportPath, link.Up{Seq: 2, State: healthy}, &link.UpResponse{}); status != http.StatusUnauthorized {
		t.Errorf("a report of the session: %d", status)
	}
	r.mu.Lock()
	delete(r.taken, "uid-1")
	r.mu.Unlock()
	p.welcome()
	p.up(link.Up{Seq: 1, State: healthy, Complete: true})
	if state, _ := r.gateway.State(edgeKey); !state.Usable {
		t.Errorf("when the other Cluster is gone: %+v", state)
	}
}

// TestAnExpiredTokenIsNamed on the Cluster that waits, with what makes another: nobody else would notice.
func TestAnExpiredTokenIsNamed(t *testing.T) {
	r := newRig(t)
	r.add(edgeKey, func(a *v1alpha1.Agent) {
		a.Join = &v1alpha1.AgentJoin{TokenHash: hashOf("token"), Expires: metav1.NewTime(r.now().Add(time.Hour))}
	})
	if state, _ := r.gateway.State(edgeKey); strings.Contains(state.Message, "expired") {
		t.Errorf("state %+v", state)
	}
	r.gateway.tick() // what is shown until now is told
	r.pass(2 * time.Hour)
	state := r.until("expired", func(s engine.State) bool { return strings.Contains(s.Message, "has expired") })
	if !state.Agent.Pending || state.Reason != v1alpha1.AgentNotConnectedReason || !strings.Contains(state.Message, "skerry cluster join edge-1 --agent") {
		t.Errorf("state %+v", state)
	}
}

func TestAnAgentWaitsForApproval(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	r.change(edgeKey, func(c *v1alpha1.Cluster) { c.Spec.Agent.Approval = v1alpha1.AgentApprovalManual })
	if _, answer := p.session(); answer.GoAway == nil || answer.GoAway.Reason != link.GoAwayNotApproved {
		t.Fatalf("answer %+v", answer)
	}
	if state, _ := r.gateway.State(edgeKey); !state.Agent.Pending || state.Reason != v1alpha1.AgentNotApprovedReason {
		t.Errorf("state %+v", state)
	}
	r.change(edgeKey, func(c *v1alpha1.Cluster) {
		c.Annotations = map[string]string{v1alpha1.AgentApprovedAnnotation: link.Fingerprint(p.public())}
	})
	p.welcome()
}

func TestEventsAreToldInOrderAndOnce(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	r.assign(edgeKey, 1, entry("apps", "sha256:1"))
	p.welcome()
	events := []link.Event{
		{Seq: 1, Reason: "DriftCorrected", Message: "one", Kustomization: "apps"}, {Seq: 2, Reason: "DriftCorrected", Message: "two"},
		{Seq: 3, Reason: "DriftCorrected", Message: "of another", Kustomization: "other"}, {Seq: 4, Reason: "not a reason", Message: "three"},
	}
	p.up(link.Up{Seq: 1, Events: events[:2]})
	p.up(link.Up{Seq: 1, Events: events[:2]}) // the answer was lost
	p.up(link.Up{Seq: 2, Events: events})
	var got []string
	for _, e := range r.events {
		got = append(got, e.Kustomization+" "+e.Reason+" "+e.Message)
	}
	if diff := cmp.Diff([]string{"apps DriftCorrected one", " DriftCorrected two", " DriftCorrected other, which is not assigned: of another", " Failed three"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestTimesOfAWrongClockAreCorrected(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	r.assign(edgeKey, 1, entry("apps", "sha256:1"))
	p.welcome()
	edge := time.Unix(1000, 0) // 1970
	verified := metav1.NewTime(edge.Add(-time.Minute))
	mine := status("apps", metav1.ConditionTrue)
	mine.VerifiedAt = &verified
	p.up(link.Up{Seq: 1, State: healthy, Entries: []v1alpha1.AssignmentEntryStatus{mine}, Complete: true, Now: edge.Unix()})
	got, _ := r.gateway.Report(edgeKey)
	if age := r.now().Sub(got[0].VerifiedAt.Time); age < 50*time.Second || age > 2*time.Minute {
		t.Errorf("verified %s ago", age)
	}
	future := r.now().Add(24 * time.Hour)
	p.up(link.Up{Seq: 2, Verified: map[string]int64{"apps": future.Unix()}, Now: r.now().Unix()})
	if got, _ := r.gateway.Report(edgeKey); got[0].VerifiedAt.After(r.now()) {
		t.Errorf("verified in the future: %s", got[0].VerifiedAt)
	}
}

func (p *peer) download(t *testing.T, want link.Wanted) (map[link.ObjectID][]byte, int) {
	t.Helper()
	frame, err := link.EncodeFrame(want)
	if err != nil {
		t.Fatal(err)
	}
	status, body := p.raw(http.MethodPost, link.ObjectsPath, frame)
	got := map[link.ObjectID][]byte{}
	if status != http.StatusOK {
		return got, status
	}
	in := bytes.NewReader(body)
	for {
		payload, err := link.ReadFrame(in, link.MaxMessage)
		if err != nil {
			t.Fatalf("cut off: %v", err)
		}
		if len(payload) == 0 {
			if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
				t.Error("something comes after the end")
			}
			return got, status
		}
		chunks, err := link.ParseChunks(payload)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range chunks {
			if int64(len(got[c.ID])) != c.Offset-offsetOf(want, c.ID) {
				t.Errorf("a chunk of %s at %d, and %d bytes are there", c.ID, c.Offset, len(got[c.ID]))
			}
			got[c.ID] = append(got[c.ID], c.Data...)
		}
	}
}

func offsetOf(want link.Wanted, id link.ObjectID) int64 {
	if len(want.Objects) > 0 && want.Objects[0] == id {
		return want.From
	}
	return 0
}

func TestABundleTravelsByItsObjects(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	b := configMaps(t, 20, 300)
	large := configMaps(t, 1, 400_000)
	r.bundles[b.Digest()], r.bundles["sha256:keyed"] = b, &object.Bundle{Objects: large.Objects, Confidential: true, Hidden: map[string]string{"word": "***"}}
	r.assign(edgeKey, 1, entry("apps", b.Digest()), entry("secrets", "sha256:keyed"))
	p.welcome()
	for _, digest := range []string{b.Digest(), "sha256:keyed"} {
		var m link.Manifest
		status, body := p.raw(http.MethodGet, link.BundlesPath+digest, nil)
		if status != http.StatusOK {
			t.Fatalf("manifest: %d", status)
		}
		if err := link.ReadMessage(bytes.NewReader(body), link.MaxMessage, &m); err != nil {
			t.Fatal(err)
		}
		if !link.Verify(r.hub.Key, link.BundleTranscript(r.hub.ID, p.cluster, m), m.Signature) {
			t.Error("the manifest is not signed")
		}
		all, _ := p.download(t, link.Wanted{Bundle: digest})
		assembled, err := m.Assemble(func(id link.ObjectID) ([]byte, bool) { b, ok := all[id]; return b, ok })
		if err != nil {
			t.Fatal(err)
		}
		if assembled.Digest() != m.Content || assembled.Confidential != (digest == "sha256:keyed") {
			t.Errorf("%s: %+v", digest, m)
		}
		last := m.Objects[len(m.Objects)-1:]
		some, _ := p.download(t, link.Wanted{Bundle: digest, Objects: last})
		if diff := cmp.Diff(map[link.ObjectID][]byte{last[0]: all[last[0]]}, some); diff != "" {
			t.Error(diff)
		}
		half := int64(len(all[last[0]]) / 2)
		rest, _ := p.download(t, link.Wanted{Bundle: digest, Objects: last, From: half}) // resumed
		if !bytes.Equal(rest[last[0]], all[last[0]][half:]) {
			t.Error("the rest is another")
		}
	}
	for name, want := range map[string]link.Wanted{
		"of another bundle":    {Bundle: b.Digest(), Objects: link.ObjectIDs{{1}}},
		"from beyond the end":  {Bundle: b.Digest(), From: 1 << 30},
		"from before the":      {Bundle: b.Digest(), From: -1},
		"not assigned":         {Bundle: large.Digest()},
		"not a digest":         {Bundle: "../../etc/passwd"},
		"assigned to somebody": {Bundle: "sha256:0"},
	} {
		if _, status := p.download(t, want); status != http.StatusNotFound {
			t.Errorf("%s: %d", name, status)
		}
	}
	r.assign(edgeKey, 2, entry("apps", "sha256:new"))
	if status, _ := p.raw(http.MethodGet, link.BundlesPath+b.Digest(), nil); status != http.StatusNotFound {
		t.Errorf("a bundle that is not assigned any more: %d", status)
	}
	if status, _ := p.raw(http.MethodGet, link.BundlesPath+"sha256:new", nil); status != http.StatusServiceUnavailable {
		t.Errorf("a bundle that is not rendered yet: %d", status)
	}
}

func TestFinalizeIsCarriedOutByTheAgent(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	if err := r.gateway.Finalize(t.Context(), edgeKey); !errors.Is(err, engine.ErrNotConnected) {
		t.Errorf("without an agent: %v", err)
	}
	p.welcome()
	stream := p.stream(link.Have{})
	for _, test := range []struct {
		answer  string
		unnamed bool // an agent of the first version does not say which request it could not carry out
		want    error
	}{{answer: engine.ErrNotRemoved.Error(), want: engine.ErrNotRemoved}, {answer: engine.ErrNotRemoved.Error(), unnamed: true, want: engine.ErrNotRemoved}, {}} {
		ended := make(chan error, 1)
		go func() { ended <- r.gateway.Finalize(context.Background(), edgeKey) }()
		down := stream.next()
		id := down.Finalize
		if id == "" || !link.Verify(r.hub.Key, link.FinalizeTranscript(r.hub.ID, p.cluster, p.public(), id), down.FinalizeSignature) {
			t.Fatalf("the agent is asked %q, with signature %x", id, down.FinalizeSignature)
		}
		p.up(link.Up{Finalized: "another", FinalizeError: "x"})
		answer := link.Up{Finalized: id, FinalizeError: test.answer}
		if test.unnamed {
			answer.Finalized = ""
		}
		p.up(answer)
		if err := <-ended; !errors.Is(err, test.want) {
			t.Errorf("got %v, want %v", err, test.want)
		}
	}
	if err := r.gateway.Finalize(t.Context(), edgeKey); err != nil {
		t.Errorf("asked again, after its answer was lost: %v", err)
	}
}

func TestSettingsAndRequestsComeDown(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	if got := p.welcome().Settings; got != (link.Settings{}) {
		t.Errorf("settings %+v", got)
	}
	stream := p.stream(link.Have{})
	r.change(edgeKey, func(c *v1alpha1.Cluster) {
		c.Spec.Suspend = true
		c.Spec.Agent.KeepAlive, c.Spec.Agent.Heartbeat = &metav1.Duration{Duration: 10 * time.Minute}, &metav1.Duration{Duration: time.Hour}
	})
	if diff := cmp.Diff(&link.Settings{Suspend: true, KeepAlive: 600, Heartbeat: 3600}, stream.next().Settings); diff != "" {
		t.Error(diff)
	}
	r.gateway.Verify(edgeKey)
	if !stream.next().Verify {
		t.Error("no verification is asked for")
	}
}

// TestWhatChangesBeforeTheStreamComesDown: on a slow link, seconds go by between the answer to a session and its stream.
func TestWhatChangesBeforeTheStreamComesDown(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	p.welcome()
	r.change(edgeKey, func(c *v1alpha1.Cluster) { c.Spec.Suspend = true })
	first := p.stream(link.Have{}).next()
	if diff := cmp.Diff(&link.Settings{Suspend: true}, first.Settings); diff != "" {
		t.Error(diff)
	}
	if second := p.stream(link.Have{}).next(); second.Seq <= first.Seq {
		t.Errorf("frame %d of the session comes after frame %d: either could be repeated in place of the other", second.Seq, first.Seq)
	}
}

func TestAnIdleStreamIsKeptAlive(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	r.change(edgeKey, func(c *v1alpha1.Cluster) { c.Spec.Agent.KeepAlive = &metav1.Duration{Duration: time.Second} })
	p.welcome()
	stream := p.stream(link.Have{})
	for range 3 {
		select {
		case <-stream.empty:
		case <-time.After(10 * time.Second):
			t.Fatal("nothing comes")
		}
	}
}

func TestAHubThatStopsTellsItsAgents(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	p.welcome()
	stream := p.stream(link.Have{})
	r.stop()
	if got := stream.closeReason(); got != link.GoAwayStopping {
		t.Errorf("the last frame says %q", got)
	}
}

func TestItWorksOverHTTP1AndBehindAnIngress(t *testing.T) {
	r := newRig(t)
	r.stop()
	r.gateway.stopped = false
	r.serve(nil)
	p := r.joined()
	p.client = &http.Client{Transport: &http.Transport{}} // HTTP/1.1, in the clear
	r.assign(edgeKey, 1, entry("apps", "sha256:1"))
	p.welcome()
	stream := p.stream(link.Have{})
	if stream.next().Assignment == nil {
		t.Error("no Assignment")
	}
	p.up(link.Up{Seq: 1, State: healthy, Complete: true})
	r.until("reachable", func(s engine.State) bool { return s.Reachable })
}

// TestAKeyThatIsReplacedWhileItsProofIsJudged gets no session: there was none to end when it was replaced.
func TestAKeyThatIsReplacedWhileItsProofIsJudged(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	r.assign(edgeKey, 1)
	a := r.gateway.agentOf(edgeKey)
	proof := p.proof()
	r.change(edgeKey, func(c *v1alpha1.Cluster) { c.Spec.Agent.PublicKey = link.EncodeKey(r.peer().public()) })
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.base, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, goAway := r.gateway.startSession(req, a, proof); goAway == nil || goAway.Reason != link.GoAwayElsewhere {
		t.Errorf("admitted: %+v", goAway)
	}
	if state, _ := r.gateway.State(edgeKey); state.Agent.Connected || state.Reason != "" {
		t.Errorf("%+v", state)
	}
}

// TestAnotherAgentCountsItsOwnEvents: the clock of a cluster that was set up anew may be behind that of the one before.
func TestAnotherAgentCountsItsOwnEvents(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	r.assign(edgeKey, 1, entry("app", "sha256:1"))
	p.welcome()
	p.up(link.Up{Seq: 1, State: healthy, Events: []link.Event{{Seq: 1000, Reason: "First", Message: "x"}}})
	next, expires := r.peer(), metav1.NewTime(r.now().Add(time.Hour))
	r.change(edgeKey, func(c *v1alpha1.Cluster) {
		c.Spec.Agent.Join = &v1alpha1.AgentJoin{TokenHash: hashOf("again"), Expires: expires}
	})
	if status := next.join("again"); status != http.StatusOK {
		t.Fatal(status)
	}
	next.welcome()
	next.up(link.Up{Seq: 1, State: healthy, Events: []link.Event{{Seq: 5, Reason: "Second", Message: "x"}}})
	if len(r.events) != 2 {
		t.Errorf("events %+v", r.events)
	}
}

// TestWhatStoodOnAReplacedClusterIsNotReady on the one that has joined in its place, before that one has reported its
// entries: the first download may take hours. Nor does a hub that starts meanwhile call it so.
func TestWhatStoodOnAReplacedClusterIsNotReady(t *testing.T) {
	ready := []v1alpha1.AssignmentEntryStatus{status("apps", metav1.ConditionTrue)}
	for name, run := range map[string]func(*rig) *peer{
		"the hub goes on": func(r *rig) *peer {
			p := r.joined()
			r.assign(edgeKey, 1, entry("apps", "sha256:1"))
			p.welcome()
			p.up(link.Up{Seq: 1, State: healthy, Entries: ready, Complete: true})
			next, expires := r.peer(), metav1.NewTime(r.now().Add(time.Hour))
			next.who.ClusterUID = "uid-2"
			r.change(edgeKey, func(c *v1alpha1.Cluster) {
				c.Status.UID, c.Spec.Agent.Join = "uid-1", &v1alpha1.AgentJoin{TokenHash: hashOf("again"), Expires: expires}
			})
			if got, _ := r.gateway.Report(edgeKey); len(got) != 1 {
				t.Errorf("before another one joins: %+v", got)
			}
			if status := next.join("again"); status != http.StatusOK {
				t.Fatal(status)
			}
			return next
		},
		"the hub starts": func(r *rig) *peer {
			next := r.peer()
			next.who.ClusterUID = "uid-2"
			r.stored[edgeKey] = &v1alpha1.Assignment{Status: v1alpha1.AssignmentStatus{Entries: ready}}
			r.add(edgeKey, func(a *v1alpha1.Agent) { a.PublicKey, a.ClusterUID = link.EncodeKey(next.public()), "uid-2" })
			r.change(edgeKey, func(c *v1alpha1.Cluster) { c.Status.UID = "uid-1" })
			r.assign(edgeKey, 1, entry("apps", "sha256:1"))
			return next
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			p := run(r)
			if got, told := r.gateway.Report(edgeKey); !told || len(got) != 0 {
				t.Errorf("when another one has joined: told %t, %+v", told, got)
			}
			if welcome := p.welcome(); len(welcome.Reported.Entries) != 0 {
				t.Errorf("the agent hears that it has reported %+v", welcome.Reported)
			}
			p.up(link.Up{Seq: 1, State: &link.State{Reachable: true, Usable: true, UID: "uid-2"}})
			if got, told := r.gateway.Report(edgeKey); !told || len(got) != 0 {
				t.Errorf("before it has reported entries: told %t, %+v", told, got)
			}
			p.up(link.Up{Seq: 2, Entries: ready, Complete: true})
			r.connect(edgeKey) // its uid is not in the status yet
			r.change(edgeKey, func(c *v1alpha1.Cluster) { c.Status.UID = "uid-2" })
			if got, told := r.gateway.Report(edgeKey); !told || len(got) != 1 {
				t.Errorf("told %t, %+v", told, got)
			}
		})
	}
}
