package engine

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// A cluster is free for another Cluster when the engine that worked on it has ended: until then a write of
// that may be under way.
func TestAClusterIsFreeWhenItsEngineHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(PoolOptions{HubUID: "hub"})
		first, second := Key{Name: "first"}, Key{Name: "second"}
		ctx, cancel := context.WithCancel(t.Context())
		m := &runningEngine{engine: p.engineOf(first), conn: Connection{KnownUID: "uid"}, cancel: cancel, done: make(chan struct{})}
		p.engines[first] = m
		if err := p.admit(first, "uid", false); err != nil {
			t.Fatal(err)
		}
		disconnected := false
		go func() {
			p.Disconnect(first)
			disconnected = true
		}()
		synctest.Wait()
		if ctx.Err() == nil || disconnected {
			t.Fatalf("told to end: %v; disconnected: %v", ctx.Err(), disconnected)
		}
		p.claimKnown(second, Connection{KnownUID: "uid"}) // as of a Cluster whose status knows it
		if err := p.admit(second, "uid", false); err == nil {
			t.Error("another Cluster works on it beside an engine that has not ended")
		}
		close(m.done)
		synctest.Wait()
		if err := p.admit(second, "uid", false); err != nil || !disconnected {
			t.Errorf("the engine has ended, and the cluster is not free: %v", err)
		}
	})
}

// An Assignment is handed over again with each report of its engine, which takes up anew only what has changed.
func TestAnAssignmentThatSaysTheSameIsNotTakenUpAgain(t *testing.T) {
	p, key := NewPool(PoolOptions{HubUID: "hub"}), Key{Name: "edge"}
	m := &runningEngine{engine: p.engineOf(key), cancel: func() {}, done: make(chan struct{})} // which does not run
	p.engines[key] = m
	handed := func() bool {
		in := m.engine.inbox.pending
		m.engine.inbox.pending = inbox{}
		return in.assign
	}
	apps := func(revision string) []v1alpha1.AssignmentEntry {
		return []v1alpha1.AssignmentEntry{{Name: "apps", Revision: revision, KeepFor: []string{"sha256:1"}}}
	}
	for _, step := range []struct {
		name    string
		entries []v1alpha1.AssignmentEntry
		want    bool
	}{
		{"that there is none", nil, true},
		{"that there is none, again", nil, false},
		{"an entry", apps("r1"), true},
		{"the same entry", apps("r1"), false},
		{"the entry at another revision", apps("r2"), true},
		{"none any more", nil, true},
	} {
		if p.Assign(key, step.entries); handed() != step.want {
			t.Errorf("%s: taken up: %t", step.name, !step.want)
		}
	}
}

// A Cluster that is connected anew while its former engine ends waits for that, and keeps the claim.
func TestAClusterThatIsConnectedAnewWaitsForItsFormerEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		p := NewPool(PoolOptions{HubUID: "hub", Fence: fenceFunc(func() error { asked.Add(1); return nil })})
		key := Key{Name: "edge"}
		former := &runningEngine{engine: p.engineOf(key), cancel: func() {}, done: make(chan struct{})}
		p.engines[key] = former
		if err := p.admit(key, "uid", false); err != nil {
			t.Fatal(err)
		}
		go p.Disconnect(key)
		synctest.Wait()
		p.Assign(key, nil)
		synctest.Wait()
		if asked.Load() != 0 {
			t.Error("two engines of one Cluster run side by side")
		}
		close(former.done)
		synctest.Wait()
		if asked.Load() == 0 {
			t.Error("the new engine does not run")
		}
		if err := p.admit(Key{Name: "other"}, "uid", false); err == nil {
			t.Error("the claim is lost")
		}
		p.Disconnect(key)
	})
}

// fenceFunc is a Fence by a function.
type fenceFunc func() error

func (f fenceFunc) Lost() error { return f() }

func (f fenceFunc) Leading() error { return nil }

// An engine whose loop panics begins anew after a second, two, four, up to a minute.
func TestAnEngineThatPanicsRestartsAfterAGrowingPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var at []time.Duration
		p := NewPool(PoolOptions{HubUID: "hub", Log: logr.Discard(), Fence: fenceFunc(func() error {
			at = append(at, time.Since(begin))
			panic("cannot tell")
		})})
		key := Key{Name: "edge"}
		p.Assign(key, nil)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		want := []int{0, 1, 3, 7, 15, 31, 63, 123, 183, 243}
		if len(at) != len(want) {
			t.Fatalf("began at %v", at)
		}
		for i := range want {
			if int(at[i].Seconds()) != want[i] {
				t.Errorf("try %d began after %v; want %ds", i+1, at[i], want[i])
			}
		}
		p.Disconnect(key)
	})
}

// stuck is a store that does not answer for one bundle until it is released.
type stuck struct {
	*bundleStore
	digest atomic.Pointer[string]
	asked  chan struct{}
	free   chan struct{}
}

func (s *stuck) Get(ctx context.Context, digest string) (*object.Bundle, error) {
	if d := s.digest.Load(); d != nil && *d == digest {
		select {
		case s.asked <- struct{}{}:
		default:
		}
		select {
		case <-s.free:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s.bundleStore.Get(ctx, digest)
}

// A store that does not answer for one bundle (a volume that hangs, a download) holds up its Kustomization
// alone: the others of the cluster are applied and verified, their drift is put back and reported.
func TestABundleThatIsNotAnsweredHoldsUpItsKustomizationAlone(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	store := &stuck{bundleStore: r.bundleStore, asked: make(chan struct{}, 1), free: make(chan struct{})}
	r.options = func(o *PoolOptions) { o.Bundles = store }
	r.pool.Disconnect(r.key)
	r.connect(controlplane.Shared(t).RESTConfig())
	r.want("good", r.namespace()+r.configMap("fine", "1"))
	r.ready("good")
	late := r.bundle("late", r.configMap("late", "1"))
	store.digest.Store(&late)
	r.want("late", r.configMap("late", "1"))
	<-store.asked

	r.edit("fine", "drifted")
	r.until("good", "corrected", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Drift > 0 })
	r.want("good", r.namespace()+r.configMap("fine", "2"))
	r.ready("good")
	r.until("late", "waiting", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Reason == v1alpha1.ProgressingReason })
	r.change("good", func(e *v1alpha1.AssignmentEntry) { e.RequestedAt = "now" })
	r.until("good", "verified as asked for", func(s v1alpha1.AssignmentEntryStatus) bool { return s.HandledAt == "now" })
	if got := r.value("late"); got != "error: NotFound" {
		t.Errorf("late is %s", got)
	}
	close(store.free)
	r.ready("late")
}

// An engine that has entries counts as one that is about to report until it has, or has ended.
func TestEnginesThatHaveYetToReport(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	p := NewPool(PoolOptions{HubUID: "hub", Now: func() time.Time { return now }})
	reports, ends, idle := p.engineOf(Key{Name: "reports"}), p.engineOf(Key{Name: "ends"}), p.engineOf(Key{Name: "idle"})
	want := func(when string, n int) {
		t.Helper()
		if got := p.Unreported(); got != n {
			t.Errorf("%s: %d have yet to report, want %d", when, got, n)
		}
	}
	for _, e := range []*Engine{reports, ends} {
		for _, revision := range []string{"r1", "r2"} {
			e.assigned(t.Context(), []v1alpha1.AssignmentEntry{{Name: "apps", Revision: revision}}, now)
		}
	}
	idle.assigned(t.Context(), nil, now)
	want("two were assigned something", 2)
	reports.publish(now)
	want("nothing is known of the cluster", 2)
	reports.conn.state = State{Known: true, Message: "connection refused"}
	reports.publish(now)
	want("one has reported", 1)
	reports.assigned(t.Context(), []v1alpha1.AssignmentEntry{{Name: "apps", Revision: "r3"}}, now)
	want("it was assigned something else", 1)
	ended, end := context.WithCancel(t.Context())
	end()
	if err := ends.run(ended); err != nil {
		t.Fatal(err)
	}
	want("the other one has ended", 0)
}
