package agent

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"

	"github.com/skerry-dev/skerry/internal/link"
)

// TestARefusedTokenLocksNoAgentOutThatHasAKey: an enrollment that has ended, in the place of a good one, changes nothing.
func TestARefusedTokenLocksNoAgentOutThatHasAKey(t *testing.T) {
	h, e := connected(t)
	e.stop()
	h.mu.Lock()
	sessions := h.sessions
	h.mu.Unlock()
	late := h.enroll
	late.Token = "token-2"
	e.api.enroll(t, late)
	e.start()
	eventually(t, "connected with the key that it has", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return h.sessions > sessions })
	if id := e.api.secret(t, agentName); !bytes.Equal(id.Data[joinedTokenField], hashOf("token-1")) {
		t.Error("the refused token counts as one that has served")
	}
	e.stop()
	if e.p.refusedToken != "token-2" {
		t.Errorf("the token that is refused is %q", e.p.refusedToken)
	}
}

// TestAKeyThatTheHubMayHaveBoundIsKept: the agent dies before it hears of that, and its enrollment is replaced by one
// whose token does not serve.
func TestAKeyThatTheHubMayHaveBoundIsKept(t *testing.T) {
	h, e := connected(t)
	e.stop()
	ctx := t.Context()
	enrollment, _, err := e.p.identities.enrollment(ctx)
	if err != nil {
		t.Fatal(err)
	}
	id, err := e.p.identities.load(ctx, "edge-uid")
	if err != nil {
		t.Fatal(err)
	}
	// As it was between the two: bound, and not a member.
	id.secret.Data[nextKeyField], id.secret.Data[nextTokenField] = id.secret.Data[keyField], hashOf(enrollment.Token)
	if _, err = e.p.identities.change(ctx, id, map[string][]byte{keyField: nil, joinedTokenField: nil, enrollmentField: nil, hubField: nil}); err != nil {
		t.Fatal(err)
	}
	late := h.enroll
	late.Token = "token-2"
	e.api.enroll(t, late)
	h.mu.Lock()
	ups := len(h.ups)
	h.mu.Unlock()
	e.start()
	eventually(t, "connected with the key that was bound", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.ups) > ups })
}

// TestAKeyOfACopyIsNotItsOwn: what came with a copied Secret does not join here.
func TestAKeyOfACopyIsNotItsOwn(t *testing.T) {
	h, e := connected(t)
	e.stop()
	ctx := t.Context()
	id, err := e.p.identities.load(ctx, "edge-uid")
	if err != nil {
		t.Fatal(err)
	}
	seed := bytes.Repeat([]byte{1}, ed25519.SeedSize)
	if id, err = e.p.identities.change(ctx, id, map[string][]byte{nextKeyField: seed, nextTokenField: hashOf("token-2")}); err != nil {
		t.Fatal(err)
	}
	invited := h.enroll
	invited.Token = "token-3"
	for what, test := range map[string]struct{ copied, kept bool }{"its own": {false, true}, "of a copy": {true, false}} {
		got, err := e.p.identities.prepareKey(ctx, id, invited, test.copied)
		if err != nil {
			t.Fatal(err)
		}
		if kept := bytes.Equal(got.secret.Data[nextKeyField], seed); kept != test.kept {
			t.Errorf("a key %s is used again: %t", what, kept)
		}
		if id, err = e.p.identities.change(ctx, got, map[string][]byte{nextKeyField: seed, nextTokenField: hashOf("token-2")}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestACopyIsNoMemberBeforeItHasJoined: an invitation that is refused does not make the key of the original its own.
func TestACopyIsNoMemberBeforeItHasJoined(t *testing.T) {
	h, e := connected(t)
	e.stop()
	e.api.mu.Lock()
	e.api.put("/api/v1/namespaces/kube-system", map[string]any{"metadata": map[string]any{"name": "kube-system", "uid": "another"}})
	e.api.mu.Unlock()
	late := h.enroll
	late.Token = "token-2"
	e.api.enroll(t, late)
	e.pools = nil
	e.start()
	e.stop()
	for range 2 {
		if _, err := e.p.connectOnce(t.Context()); err == nil || e.pool() != nil {
			t.Fatalf("the copy works with the key of the original: %v", err)
		}
	}
	if uid := e.api.secret(t, agentName).Data[uidField]; string(uid) != "edge-uid" {
		t.Errorf("the key is said to be one of cluster %s", uid)
	}
	h.mu.Lock()
	h.bound, h.enroll.Token = nil, "token-2" // it is invited
	h.mu.Unlock()
	e.start()
	eventually(t, "the copy has joined", func() bool { return string(e.api.secret(t, agentName).Data[uidField]) == "another" })
}

// TestALeaseThatIsGivenAwayClosesTheFence at once, also where it names no holder and cannot be taken back.
func TestALeaseThatIsGivenAwayClosesTheFence(t *testing.T) {
	for name, change := range map[string]func(*apiServer, string){
		"no holder": func(a *apiServer, path string) {
			a.put(path, map[string]any{"metadata": map[string]any{"name": agentName}, "spec": map[string]any{"holderIdentity": ""}})
		},
		"deleted": func(a *apiServer, path string) { delete(a.objects, path) },
	} {
		t.Run(name, func(t *testing.T) {
			a, config := startAPIServer(t)
			k, err := newKube(config)
			if err != nil {
				t.Fatal(err)
			}
			l := &lease{kube: k, namespace: "n", holder: "first", now: time.Now}
			if _, err := l.renew(t.Context()); err != nil || l.Leading() != nil {
				t.Fatal(err, l.Leading())
			}
			a.mu.Lock()
			change(a, l.path()+"/"+agentName)
			a.refuse = func(r *http.Request) bool { return r.Method != http.MethodGet }
			a.mu.Unlock()
			if _, err := l.renew(t.Context()); err == nil || l.Leading() == nil || l.Lost() == nil {
				t.Errorf("renewed with %v, leading: %v, lost: %v", err, l.Leading(), l.Lost())
			}
			a.mu.Lock()
			a.refuse = nil
			a.mu.Unlock()
			if resumed, err := l.renew(t.Context()); err != nil || !resumed || l.Leading() != nil {
				t.Errorf("taken back: resumed %t, %v", resumed, err)
			}
		})
	}
}

// TestAFrameThatIsHeldBackIsNoticed, and one that waits behind a download is not taken for it.
func TestAFrameThatIsHeldBackIsNoticed(t *testing.T) {
	for name, test := range map[string]struct {
		arrives time.Duration // until when something arrives, every second
		frame   time.Duration // when the frame does; 0: never
		want    error
	}{
		"it arrives":                  {0, 5 * time.Second, nil},
		"it does not":                 {0, 0, errHeldBack},
		"behind a long download":      {5 * time.Minute, 5 * time.Minute, nil},
		"not after a download either": {5 * time.Minute, 0, errHeldBack},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &gateway{now: time.Now, began: time.Now()}
				work, ctx := errgroup.WithContext(t.Context())
				s := &session{a: &agent{now: time.Now}, gateway: g, work: work}
				s.expectFrames(ctx, 3)
				began := time.Now()
				for time.Since(began) < test.arrives {
					time.Sleep(time.Second)
					g.arrived()
				}
				if test.frame > 0 {
					time.Sleep(test.frame - time.Since(began))
					s.mu.Lock()
					s.received = 3
					s.mu.Unlock()
				}
				if err := work.Wait(); !errors.Is(err, test.want) {
					t.Errorf("got %v after %s", err, time.Since(began))
				}
			})
		})
	}
}

// TestABusyGatewayIsAskedAgainInTheSession: it has no place for a download, or has not rendered the bundle yet.
func TestABusyGatewayIsAskedAgainInTheSession(t *testing.T) {
	h := startHub(t, longAgo)
	h.assign(entryOf("apps", h.bundle(configMap("a", "1"))))
	h.mu.Lock()
	h.busy = 1
	h.mu.Unlock()
	e := newSite(t)
	e.api.enroll(t, h.enroll)
	e.start()
	eventually(t, "apps is ready", h.reported("apps", "Ready"))
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sessions != 1 || h.busy != 0 {
		t.Errorf("it took %d sessions", h.sessions)
	}
}

// TestALostAnswerToAWriteOfTheIdentity: what was written is found there, and a write of something else goes on from it.
func TestALostAnswerToAWriteOfTheIdentity(t *testing.T) {
	_, e := connected(t)
	e.stop()
	ctx := t.Context()
	before, err := e.p.identities.load(ctx, "edge-uid")
	if err != nil {
		t.Fatal(err)
	}
	seed := map[string][]byte{nextKeyField: bytes.Repeat([]byte{1}, ed25519.SeedSize)}
	if _, err := e.p.identities.change(ctx, before, seed); err != nil {
		t.Fatal(err)
	}
	if after, err := e.p.identities.change(ctx, before, seed); err != nil || !bytes.Equal(after.secret.Data[nextKeyField], seed[nextKeyField]) {
		t.Errorf("written again: %v", err)
	}
	other := map[string][]byte{nextTokenField: []byte("x")}
	now, err := e.p.identities.change(ctx, before, other)
	if err == nil || !bytes.Equal(now.secret.Data[nextKeyField], seed[nextKeyField]) {
		t.Fatalf("over what it does not know: %v, %v", now, err)
	}
	if now, err = e.p.identities.change(ctx, now, other); err != nil || len(now.secret.Data[nextKeyField]) == 0 || string(now.secret.Data[nextTokenField]) != "x" {
		t.Errorf("with what it knows now: %v", err)
	}
}

// TestTheFirstSettingsAfterAJoinHold: the engine never begins without them, and a restart goes on with them.
func TestTheFirstSettingsAfterAJoinHold(t *testing.T) {
	h := startHub(t, longAgo)
	h.settings = link.Settings{Suspend: true, TakeOver: "another"}
	h.assign(entryOf("apps", h.bundle(configMap("a", "1"))))
	e := newSite(t)
	e.api.enroll(t, h.enroll)
	e.start()
	suspended := func(when string) {
		t.Helper()
		p := e.pool()
		p.mu.Lock()
		defer p.mu.Unlock()
		for i, c := range p.connected {
			if !c.Suspend || c.TakeOver != "another" {
				t.Errorf("%s the engine is told, as number %d of %d: suspend %t, take over %q", when, i+1, len(p.connected), c.Suspend, c.TakeOver)
			}
		}
	}
	eventually(t, "apps is reported", h.reported("apps", "Ready"))
	suspended("after the join")
	e.stop()
	h.stop()
	e.pools = nil
	e.start()
	suspended("after a restart")
}

// TestAnAgentThatRestsJoinsAnotherHub, and its engine never works under the identity of the former one again.
func TestAnAgentThatRestsJoinsAnotherHub(t *testing.T) {
	h, e := connected(t)
	e.p.deactivate(t.Context())
	e.stop()
	other := startHub(t, longAgo)
	other.assign()
	other.identity.UID, other.enroll.Cluster, other.enroll.Token = "other-uid", "fleet/another", "token-2"
	h.stop()
	e.api.enroll(t, other.enroll)
	e.pools = nil
	e.start()
	eventually(t, "it reports to the other hub", func() bool { other.mu.Lock(); defer other.mu.Unlock(); return len(other.ups) > 0 })
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.pools {
		if p.o.HubUID != "other-uid" {
			t.Errorf("an engine works for the hub %s", p.o.HubUID)
		}
	}
}

// TestTheEngineOfAnAgentGivesWayToItsHub, whatever its clock says; and what it has given way to does not keep back the one
// that the hub invites again.
func TestTheEngineOfAnAgentGivesWayToItsHub(t *testing.T) {
	h, e := connected(t)
	first := e.pool()
	if first.o.Since.Before(time.Now().AddDate(100, 0, 0)) {
		t.Errorf("a hub that begins after %s gives way to its agent", first.o.Since)
	}
	e.inviteAgain(h)
	eventually(t, "it begins anew when it has joined again", e.restartedEngine(first))
}

// inviteAgain has the hub invite the agent anew, and ends its session.
func (e *site) inviteAgain(h *hub) {
	e.t.Helper()
	again := h.enroll
	again.Token = "token-2"
	h.mu.Lock()
	h.bound, h.enroll.Token = nil, again.Token
	h.mu.Unlock()
	e.api.enroll(e.t, again)
	h.down <- link.Down{GoAway: &link.GoAway{Reason: link.GoAwayStopping}}
}

// restartedEngine reports whether the engine has ended, and another one works.
func (e *site) restartedEngine(first *pool) func() bool {
	return func() bool {
		first.mu.Lock()
		defer first.mu.Unlock()
		return first.stopped && e.pool() != first
	}
}

// TestTheEngineGoesOnUntilAJoinIsWrittenDown: where the API server does not take the identity, the engine from before
// corrects drift until it does.
func TestTheEngineGoesOnUntilAJoinIsWrittenDown(t *testing.T) {
	h, e := connected(t)
	first := e.pool()
	refused := 0
	e.api.mu.Lock()
	e.api.refuse = func(r *http.Request) bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		joined := h.enroll.Token == "token-2" && h.bound != nil
		if !joined || r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "/secrets/"+agentName) {
			return false
		}
		refused++
		return true
	}
	e.api.mu.Unlock()
	e.inviteAgain(h)
	eventually(t, "the identity was not taken, twice", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return refused >= 2 })
	first.mu.Lock()
	if first.stopped || e.pool() != first {
		t.Error("the engine has ended before the next one can begin")
	}
	first.mu.Unlock()
	e.api.mu.Lock()
	e.api.refuse = nil
	e.api.mu.Unlock()
	eventually(t, "it begins anew when it is written down", e.restartedEngine(first))
}

// TestTheEngineBeginsAnewWhenAJoinIsApproved: what it had given way to does not keep it back any longer then.
func TestTheEngineBeginsAnewWhenAJoinIsApproved(t *testing.T) {
	h, e := connected(t)
	first := e.pool()
	before := string(e.api.secret(t, agentName).Data[joinedTokenField])
	h.mu.Lock()
	h.refuse = &link.GoAway{Reason: link.GoAwayNotApproved}
	h.mu.Unlock()
	e.inviteAgain(h)
	eventually(t, "it has joined, and waits", func() bool { return string(e.api.secret(t, agentName).Data[joinedTokenField]) != before })
	first.mu.Lock()
	if first.stopped || e.pool() != first {
		t.Error("the engine has ended before the next one can begin")
	}
	first.mu.Unlock()
	h.mu.Lock()
	h.refuse = nil
	h.mu.Unlock()
	eventually(t, "it begins anew when it is approved", e.restartedEngine(first))
}

// TestAnAgentWithoutItsLeaseOpensNoSession: another one may have it, of which it would seem to be a copy.
func TestAnAgentWithoutItsLeaseOpensNoSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lease{holder: "test", now: time.Now}
		p := &process{agent: &agent{lease: l, log: logr.Discard(), now: time.Now}} // it has nothing to connect with
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.maintainConnection(ctx) }()
		time.Sleep(time.Hour)
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		l.mu.Lock()
		l.holds, l.renewed = true, time.Now()
		l.mu.Unlock()
		if !p.awaitLease(t.Context()) {
			t.Error("an agent that has its lease waits for it")
		}
	})
}
