package agent

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
)

// longAgo is when the certificates of the tests' hubs ended: to a clock in 2026, or in 1970, they are not valid.
var longAgo = time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)

// TestJoinsWithAWrongClockAndGoesOnWithoutTheHub: from the token to the report, though no certificate is valid
// by the edge's clock; and after a kill, without the hub, the engine is told the same again.
func TestJoinsWithAWrongClockAndGoesOnWithoutTheHub(t *testing.T) {
	h := startHub(t, longAgo)
	digest := h.bundle(configMap("a", "1"), configMap("b", "1"))
	h.assign(entryOf("apps", digest))
	e := newSite(t)
	e.api.enroll(t, h.enroll)
	e.start()
	eventually(t, "the hub is told that apps is ready", h.reported("apps", "Ready"))
	identity := e.api.secret(t, agentName)
	if strings.Contains(string(identity.Data[enrollmentField]), "token-1") || len(identity.Data[keyField]) == 0 || len(identity.Data[nextKeyField]) != 0 {
		t.Errorf("the identity has the fields %v, and of the enrollment %s", len(identity.Data), identity.Data[enrollmentField])
	}
	e.stop()
	h.stop()

	e.pools = nil
	e.start()
	got := e.pool()
	if got == nil || len(got.last()) != 1 || got.last()[0].Digest != digest {
		t.Fatalf("without the hub the engine was told %+v", got)
	}
	if o := got.o; o.Hub != "hub-1" || o.HubUID != "hub-uid" || o.Fence == nil {
		t.Errorf("the engine is not the hub's own: %+v", o)
	}
	if b, err := got.o.Bundles.Get(t.Context(), digest); err != nil || len(b.Objects) != 2 {
		t.Errorf("the bundle: %v, %v", b, err)
	}
}

// TestAnotherAuthorityOrKeyIsNotTheHub: what answers must show a certificate of the pinned authority, and then
// prove the pinned key.
func TestAnotherAuthorityOrKeyIsNotTheHub(t *testing.T) {
	h, other := startHub(t, longAgo), startHub(t, longAgo)
	for name, enroll := range map[string]link.Enrollment{
		"authority": func() link.Enrollment { e := h.enroll; e.CA = other.enroll.CA; return e }(),
		"key":       func() link.Enrollment { e := h.enroll; e.HubKey = other.enroll.HubKey; return e }(),
	} {
		t.Run(name, func(t *testing.T) {
			e := newSite(t)
			e.api.enroll(t, enroll)
			e.start()
			e.stop()
			if _, err := e.p.connectOnce(t.Context()); err == nil || e.pool() != nil {
				t.Errorf("connected to another hub: %v", err)
			}
		})
	}
}

// TestALostAnswerToAJoinLocksNoAgentOut: the hub has bound the key, and the agent never heard of it.
func TestALostAnswerToAJoinLocksNoAgentOut(t *testing.T) {
	h := startHub(t, longAgo)
	h.loseJoin = true
	h.assign(entryOf("apps", h.bundle(configMap("a", "1"))))
	e := newSite(t)
	e.api.enroll(t, h.enroll)
	e.start()
	eventually(t, "connected with the key that was written down", h.reported("apps", "Ready"))
}

// TestOnlyWhatIsMissingTravels: of a changed bundle one object, of what was cut off the rest, after a restart
// as well.
func TestOnlyWhatIsMissingTravels(t *testing.T) {
	h := startHub(t, longAgo)
	var objects []string
	for i := range 50 {
		objects = append(objects, configMap(fmt.Sprintf("c-%02d", i), strings.Repeat("x", 4000)))
	}
	whole := h.bundle(objects...)
	h.assign(entryOf("apps", whole))
	h.cutAfter = 110_000
	e := newSite(t)
	e.api.enroll(t, h.enroll)
	e.start()
	eventually(t, "a download was cut off", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return h.sentBytes >= 110_000 })
	eventually(t, "what arrived is on the disk", func() bool { return len(e.p.disk.List(partPrefix)) > 0 })
	e.stop()
	h.mu.Lock()
	h.cutAfter, h.sentObjects, h.sentBytes = 0, 0, 0
	h.mu.Unlock()
	e.start()
	eventually(t, "apps is ready", h.reported("apps", "Ready"))
	h.mu.Lock()
	if total := 50 * 4100; h.sentBytes > total-100_000 {
		t.Errorf("after the cut %d bytes travelled of %d", h.sentBytes, total)
	}
	h.sentObjects = 0
	h.mu.Unlock()
	if left := e.p.disk.List(partPrefix); len(left) != 0 {
		t.Errorf("parts are left: %v", left)
	}

	objects[7] = configMap("c-07", "changed")
	changed := h.bundle(objects...)
	h.assign(entryOf("apps", changed))
	h.down <- link.Down{Seq: 2, Assignment: h.change(e.p.have())}
	eventually(t, "the engine is told of the change", func() bool { l := e.pool().last(); return len(l) == 1 && l[0].Digest == changed })
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sentObjects != 1 {
		t.Errorf("%d objects travelled for one that changed", h.sentObjects)
	}
}

// TestWhatIsNotWhatItsDigestSaysIsRefusedAndNamed, and what stood before goes on.
func TestWhatIsNotWhatItsDigestSaysIsRefusedAndNamed(t *testing.T) {
	h := startHub(t, longAgo)
	good := h.bundle(configMap("a", "1"))
	h.assign(entryOf("apps", good))
	e := newSite(t)
	e.api.enroll(t, h.enroll)
	e.start()
	eventually(t, "apps is ready", h.reported("apps", "Ready"))
	h.mu.Lock()
	h.tamper = func(b []byte) []byte { b[len(b)-3] ^= 1; return b }
	h.mu.Unlock()
	h.assign(entryOf("apps", h.bundle(configMap("a", "2"))))
	h.down <- link.Down{Seq: 2, Assignment: h.change(e.p.have())}
	eventually(t, "the refusal is reported", h.reported("apps", v1alpha1.BundleRefusedReason))
	if l := e.pool().last(); l[0].Digest != good {
		t.Errorf("the engine was told of %s, and not of what stood before", l[0].Digest)
	}
}

// TestAnAssignmentThatTheHubDidNotSignIsRefused ends the session and changes nothing.
func TestAnAssignmentThatTheHubDidNotSignIsRefused(t *testing.T) {
	h := startHub(t, longAgo)
	h.assign(entryOf("apps", h.bundle(configMap("a", "1"))))
	e := newSite(t)
	e.api.enroll(t, h.enroll)
	e.start()
	eventually(t, "apps is ready", h.reported("apps", "Ready"))
	forged := h.change(link.Have{})
	forged.Generation++
	if err := e.p.takeAssignment(h.enroll, *forged, order{}); err == nil || e.p.assignment.Generation != 7 {
		t.Errorf("taken: %v, generation %d", err, e.p.assignment.Generation)
	}
}

// TestOnlyDifferencesTravelAfterAReconnect: the agent says what it has, and a restart of the agent is none of the
// hub's business.
func TestOnlyDifferencesTravelAfterAReconnect(t *testing.T) {
	h := startHub(t, longAgo)
	h.assign(entryOf("apps", h.bundle(configMap("a", "1"))))
	e := newSite(t)
	e.api.enroll(t, h.enroll)
	e.start()
	eventually(t, "apps is ready", h.reported("apps", "Ready"))
	h.down <- link.Down{Seq: 2, GoAway: &link.GoAway{Reason: link.GoAwayStopping}}
	eventually(t, "a second session", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.hellos) == 2 })
	h.mu.Lock()
	defer h.mu.Unlock()
	if first, second := h.hellos[0].Assignment, h.hellos[1].Assignment; len(first.Entries) != 0 || len(second.Entries) != 1 {
		t.Errorf("the agent said that it has %v, then %v", first, second)
	}
}

// TestWhatHappenedWithoutTheHubIsReportedInOrder after a restart in between.
func TestWhatHappenedWithoutTheHubIsReportedInOrder(t *testing.T) {
	h := startHub(t, longAgo)
	h.assign(entryOf("apps", h.bundle(configMap("a", "1"))))
	h.settings.Heartbeat = 3600
	e := newSite(t)
	e.api.enroll(t, h.enroll)
	e.start()
	eventually(t, "apps is ready", h.reported("apps", "Ready"))
	h.mu.Lock()
	h.refuse = &link.GoAway{Reason: link.GoAwayStopping}
	h.mu.Unlock()
	h.down <- link.Down{GoAway: &link.GoAway{Reason: link.GoAwayStopping}}
	eventually(t, "the hub is away", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return h.sessions > 1 })
	e.pool().o.OnEvent(engine.Event{Reason: v1alpha1.DriftCorrectedReason, Message: "first"})
	e.p.journal.save() // as it does every two seconds
	e.stop()
	e.start()
	e.pool().o.OnEvent(engine.Event{Reason: v1alpha1.DriftCorrectedReason, Message: "second"})
	h.mu.Lock()
	h.refuse = nil
	h.mu.Unlock()
	var got []string
	eventually(t, "both are told", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		got = nil
		for _, up := range h.ups {
			for _, ev := range up.Events {
				got = append(got, ev.Message)
			}
		}
		return len(got) >= 2
	})
	if !slices.Equal(got, []string{"first", "second"}) {
		t.Errorf("told %v", got)
	}
}

// TestAReplacedClusterIsLeftAlone: a Secret that was copied to another cluster is no identity there.
func TestAReplacedClusterIsLeftAlone(t *testing.T) {
	h := startHub(t, longAgo)
	h.assign(entryOf("apps", h.bundle(configMap("a", "1"))))
	e := newSite(t)
	e.api.enroll(t, h.enroll)
	e.start()
	eventually(t, "apps is ready", h.reported("apps", "Ready"))
	e.stop()
	e.api.mu.Lock()
	e.api.put("/api/v1/namespaces/kube-system", map[string]any{"metadata": map[string]any{"name": "kube-system", "uid": "another"}})
	e.api.mu.Unlock()
	e.pools = nil
	e.start()
	e.stop()
	if _, err := e.p.connectOnce(t.Context()); err == nil || !strings.Contains(err.Error(), "another cluster") || e.pool() != nil {
		t.Errorf("the agent works on a cluster that is not its own: %v", err)
	}
}

// TestARestingAgentDoesNothingUntilItIsWanted: the hub reaches the cluster itself now, and later not any more.
func TestARestingAgentDoesNothingUntilItIsWanted(t *testing.T) {
	h := startHub(t, longAgo)
	h.assign(entryOf("apps", h.bundle(configMap("a", "1"))))
	e := newSite(t)
	e.api.enroll(t, h.enroll)
	e.start()
	eventually(t, "apps is ready", h.reported("apps", "Ready"))
	first := e.pool()
	h.mu.Lock()
	h.refuse = &link.GoAway{Reason: link.GoAwayPushed}
	h.mu.Unlock()
	h.down <- link.Down{GoAway: &link.GoAway{Reason: link.GoAwayPushed}}
	eventually(t, "the engine rests", func() bool { first.mu.Lock(); defer first.mu.Unlock(); return first.stopped })
	e.stop()
	e.pools = nil
	h.mu.Lock()
	h.refuse = nil
	h.mu.Unlock()
	e.start()
	eventually(t, "the engine works again", func() bool { p := e.pool(); return p != nil && len(p.last()) == 1 })
}

// TestTheHubRemovesTheCluster: what Skerry keeps there goes, that is told, and the agent ends.
func TestTheHubRemovesTheCluster(t *testing.T) {
	h := startHub(t, longAgo)
	e := newSite(t)
	e.api.enroll(t, h.enroll)
	e.start()
	eventually(t, "connected", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.ups) > 0 })
	h.down <- h.finalize(2, "f1")
	h.letGo()
	e.awaitFinalized()
	if told := h.finalizations(); !slices.Equal(told, [][2]string{{"f1", ""}}) || e.pool().finalized != 1 {
		t.Errorf("told %v, finalized %d times", told, e.pool().finalized)
	}
	if err := e.p.uninstall(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := e.api.secret(t, agentName); s.Name != "" || len(e.p.disk.List("")) != 0 {
		t.Errorf("left: the Secret %q, records %v", s.Name, e.p.disk.List(""))
	}
}

// TestOneAgentAtATime: a second one waits, is named, and takes over when the first gives the lease back or
// is not heard of for its duration.
func TestOneAgentAtATime(t *testing.T) {
	_, config := startAPIServer(t)
	k, err := newKube(config)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_000_000, 0)
	clock := func() time.Time { return now }
	first := &lease{kube: k, namespace: "n", holder: "first", now: clock}
	second := &lease{kube: k, namespace: "n", holder: "second", now: clock}
	renew := func(l *lease, want string) {
		t.Helper()
		got := "held"
		if _, err := l.renew(t.Context()); err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Fatalf("%s: %s, want %s", l.holder, got, want)
		}
	}
	renew(first, "held")
	renew(second, "another agent (first)")
	if first.Leading() != nil || second.Leading() == nil {
		t.Fatal("the fences do not say who works")
	}
	first.release(t.Context())
	renew(second, "held")
	renew(first, "another agent (second)")
	if first.Leading() == nil || first.Lost() == nil {
		t.Error("the first may write still")
	}
	now = now.Add(leaseDuration - leaseMargin + time.Second)
	if second.Leading() == nil {
		t.Error("a lease that was not renewed lets writes through")
	}
	now = now.Add(leaseDuration)
	renew(first, "held")
	renew(second, "another agent (first)")
	now = now.Add(leaseDuration)
	if resumed, err := first.renew(t.Context()); !resumed || err != nil || first.Leading() != nil {
		t.Errorf("after its API server was away the holder does not go on: %v, %v", resumed, err)
	}
}

// TestALeaseIsRenewedInOneRequest, and read where another has written it.
func TestALeaseIsRenewedInOneRequest(t *testing.T) {
	api, config := startAPIServer(t)
	k, err := newKube(config)
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	api.refuse = func(r *http.Request) bool { asked = append(asked, r.Method); return false }
	now := time.Unix(1_000_000, 0)
	l := &lease{kube: k, namespace: "n", holder: "first", now: func() time.Time { return now }}
	renew := func(held bool, want string) {
		t.Helper()
		asked = nil
		_, err := l.renew(t.Context())
		if got := strings.Join(asked, " "); got != want || (err == nil) != held {
			t.Errorf("asked %s, want %s: %v", got, want, err)
		}
	}
	renew(true, "GET POST")
	renew(true, "PUT")
	now = now.Add(leaseRenewal)
	renew(true, "PUT")

	var lease coordinationv1.Lease
	path := l.path() + "/" + agentName
	if err := k.get(t.Context(), path, &lease); err != nil {
		t.Fatal(err)
	}
	if !lease.Spec.RenewTime.Time.Equal(now) {
		t.Errorf("renewed at %s, want %s", lease.Spec.RenewTime, now)
	}
	lease.Labels, lease.ManagedFields = map[string]string{"a": "b"}, []metav1.ManagedFieldsEntry{{Manager: "second"}}
	if err := k.update(t.Context(), path, &lease); err != nil {
		t.Fatal(err)
	}
	renew(true, "PUT GET PUT")
	now = now.Add(leaseRenewal)
	renew(true, "PUT")

	other := "second"
	lease = coordinationv1.Lease{}
	if err := k.get(t.Context(), path, &lease); err != nil {
		t.Fatal(err)
	}
	if !lease.Spec.RenewTime.Time.Equal(now) || lease.Labels["a"] != "b" || lease.ManagedFields != nil {
		t.Errorf("renewed without what it need not send: %+v", lease)
	}
	lease.Spec.HolderIdentity = &other
	if err := k.update(t.Context(), path, &lease); err != nil {
		t.Fatal(err)
	}
	renew(false, "PUT GET")
	if l.Leading() == nil {
		t.Error("it writes on")
	}
	renew(false, "GET")
	now = now.Add(leaseDuration)
	renew(true, "GET PUT")
	now = now.Add(leaseDuration) // its API server was away: another agent may have had the lease meanwhile
	renew(true, "GET PUT")
}

// TestAnAPIServerThatIsAwayIsWaitedFor at the start.
func TestAnAPIServerThatIsAwayIsWaitedFor(t *testing.T) {
	h := startHub(t, longAgo)
	h.assign(entryOf("apps", h.bundle(configMap("a", "1"))))
	e := newSite(t)
	e.api.enroll(t, h.enroll)
	asked := 0
	e.api.refuse = func(*http.Request) bool { asked++; return asked < 3 }
	e.start()
	eventually(t, "apps is ready", h.reported("apps", "Ready"))
}

// TestADamagedBundleIsFetchedAgain, and the engine looks again.
func TestADamagedBundleIsFetchedAgain(t *testing.T) {
	h := startHub(t, longAgo)
	digest := h.bundle(configMap("a", "1"))
	h.assign(entryOf("apps", digest))
	e := newSite(t)
	e.api.enroll(t, h.enroll)
	e.start()
	eventually(t, "apps is ready", h.reported("apps", "Ready"))
	there := func() bool { _, err := e.pool().o.Bundles.Get(t.Context(), digest); return err == nil }
	verifications := func() int { p := e.pool(); p.mu.Lock(); defer p.mu.Unlock(); return p.verified }
	if !there() {
		t.Error("a bundle that has arrived was not read")
	}
	before := verifications() // one where an assignment came between the arrival of the bundle and its hand-over
	e.p.disk.Remove(recordOf(bundlePrefix, digest))
	if there() {
		t.Fatal("a bundle that is gone was read")
	}
	eventually(t, "the bundle is back", there)
	eventually(t, "the engine is told to look again", func() bool { return verifications() > before })
}

// TestASlowDownloadIsNoDamage: of a commit, an entry begins when its bundle is there while others are on their way. What has
// arrived does not pass for what the disk had lost, for which the engine verifies the whole cluster.
func TestASlowDownloadIsNoDamage(t *testing.T) {
	h := startHub(t, longAgo)
	commit := func(value string) (entries []v1alpha1.AssignmentEntry) {
		for _, name := range []string{"a", "b", "c", "d"} {
			entries = append(entries, entryOf(name, h.bundle(configMap(name, value))))
		}
		h.assign(entries...)
		return entries
	}
	commit("1")
	e := newSite(t)
	e.arrival = 0 // each bundle takes longer
	e.api.enroll(t, h.enroll)
	e.start()
	eventually(t, "the first commit is ready", h.reported("d", "Ready"))
	p := e.pool()
	verifications := func() int { p.mu.Lock(); defer p.mu.Unlock(); return p.verified }
	before := verifications()
	last := commit("2")
	h.down <- link.Down{Seq: 2, Assignment: h.change(e.p.have())}
	eventually(t, "the second commit has begun", func() bool {
		now := p.last()
		return len(now) == len(last) && now[3].Digest == last[3].Digest && !now[3].HoldPrune
	})
	if n := verifications() - before; n > 0 {
		t.Errorf("%d verifications", n)
	}
}
