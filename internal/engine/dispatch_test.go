package engine

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/inventory"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// Two entries that are always due, first by their names, and three that are due once.
func TestWhoIsAlwaysDueStarvesNobody(t *testing.T) {
	now := time.Unix(1000, 0)
	e := newEngine(Key{Namespace: "n", Name: "edge"}, PoolOptions{Hub: testHub}, newLimits(), nil, siblings{})
	s := &session{inventories: map[string]*inventory.Inventory{}}
	var specs []v1alpha1.AssignmentEntry
	for _, name := range []string{"always-1", "always-2", "once-1", "once-2", "once-3"} {
		specs = append(specs, v1alpha1.AssignmentEntry{Name: name, Digest: "sha256:" + name})
	}
	e.conn.session = s
	e.assigned(specs, now)
	ran := map[string]int{}
	for round := range 6 {
		for _, en := range e.due(now)[:passesAtOnce] {
			ran[en.spec.Name]++
			e.passCount++
			en.lastPass = e.passCount
			en.due = time.Time{}
			if strings.HasPrefix(en.spec.Name, "always") {
				en.due = now
			}
		}
		if round == 2 && (ran["once-1"] != 1 || ran["once-2"] != 1 || ran["once-3"] != 1) {
			t.Fatalf("after three rounds of two: %v", ran)
		}
		if round >= 2 {
			for _, name := range []string{"once-1", "once-2"} { // and again
				e.entries[name].due = now
			}
		}
	}
	for name, n := range ran {
		if n == 0 || n > 4 {
			t.Errorf("%s ran %d times: %v", name, n, ran)
		}
	}
}

// What a new session looks through is not urgent, and what somebody has changed since is.
func TestWhatIsUrgent(t *testing.T) {
	now := time.Unix(1000, 0)
	e := newEngine(Key{Namespace: "n", Name: "edge"}, PoolOptions{Hub: testHub}, newLimits(), nil, siblings{})
	spec := v1alpha1.AssignmentEntry{Name: "apps", Digest: "sha256:1"}
	e.assigned([]v1alpha1.AssignmentEntry{spec}, now)
	en := e.entries["apps"]
	stands := inventory.New(en.owner)
	stands.Bundle = "sha256:1"
	e.conn.session = &session{inventories: map[string]*inventory.Inventory{en.owner: stands}}
	en.startSession(e.conn.session)
	if en.urgent {
		t.Error("a new session is urgent")
	}
	e.assigned([]v1alpha1.AssignmentEntry{spec}, now)
	if en.urgent {
		t.Error("what stands already is urgent")
	}
	spec.Digest = "sha256:2"
	e.assigned([]v1alpha1.AssignmentEntry{spec}, now)
	if !en.urgent {
		t.Error("a new commit is not urgent")
	}
	// A hub that starts hears first of the cluster and then of what is assigned to it.
	for digest, urgent := range map[string]bool{"sha256:1": false, "sha256:2": true} {
		delete(e.entries, "apps")
		spec.Digest = digest
		e.assigned([]v1alpha1.AssignmentEntry{spec}, now)
		if got := e.entries["apps"].urgent; got != urgent {
			t.Errorf("%s assigned in a session that found sha256:1: urgent is %v", digest, got)
		}
	}
}

// A cluster that takes its time with every request does not hold a pass for ever; what was done
// counts, and the next pass goes on from there.
func TestAPassThatTakesTooLong(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.pool.Disconnect(r.key)
	r.options = func(o *PoolOptions) { o.PassTimeout = time.Second }
	r.connect(controlplane.Shared(t).RESTConfig())
	r.mu.Lock()
	r.before = func(req *http.Request) error {
		if req.Method == http.MethodPatch {
			slow := time.NewTimer(300 * time.Millisecond)
			defer slow.Stop()
			<-slow.C
		}
		return nil
	}
	r.mu.Unlock()
	r.want("apps", many(r, 60, "one"))
	st := r.until("apps", "said to be slow", func(s v1alpha1.AssignmentEntryStatus) bool {
		return strings.Contains(s.Message, "answers slowly")
	})
	if st.Ready != metav1.ConditionUnknown || st.Objects.Applied == 0 || st.Objects.Applied == 61 {
		t.Errorf("%+v", st)
	}
	confirmed := 0
	for _, record := range r.inventory("apps").Objects {
		if record.Digest != "" {
			confirmed++
		}
	}
	if confirmed == 0 {
		t.Error("nothing of what was done is recorded")
	}
	r.ready("apps")
	seen := map[string]int{}
	for _, w := range r.writes() {
		seen[w]++
		if strings.HasPrefix(w, "PATCH") && seen[w] > 1 {
			t.Errorf("sent twice: %s", w)
		}
	}
}

// More clusters than there are places: all get their turn.
func TestFewPlacesForManyClusters(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.pool.limits = &limits{probes: newPrioritisedSemaphore(1, 0), openings: newPrioritisedSemaphore(1, 0), passes: newPrioritisedSemaphore(1, 0)}
	r.pool.Disconnect(r.key)
	r.pool.Connect(r.key, Connection{Config: controlplane.Shared(t).RESTConfig(), Fingerprint: "1"})
	r.want("apps", r.namespace())
	r.ready("apps")
	for i := range 6 {
		r.want(fmt.Sprintf("app-%d", i), r.configMap(fmt.Sprintf("cm-%d", i), "one"))
	}
	for i := range 6 {
		r.ready(fmt.Sprintf("app-%d", i))
	}
	// The last pass reports before it leaves its place.
	free := func() int {
		g := r.pool.limits.passes
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.free
	}
	r.eventually("all places are free in the end", func() bool { return free() == 1 })
}
