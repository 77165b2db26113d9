package engine

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

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

// More clusters than there are slots: all get their turn.
func TestFewPlacesForManyClusters(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.pool.limits = &limits{probes: newPrioritisedSemaphore(1, 0), openings: newPrioritisedSemaphore(1, 0), passes: newPrioritisedSemaphore(1, 0), bundles: newSharedBundles()}
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
