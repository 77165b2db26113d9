package engine

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

func (r *rig) state(what string, is func(State) bool) State {
	r.t.Helper()
	var s State
	r.eventually("the cluster is "+what, func() bool { s, _ = r.pool.State(r.key); return is(s) })
	return s
}

func TestAClusterThatStopsAndComesBack(t *testing.T) {
	c := controlplane.New(t, "stops", controlplane.Options{})
	r := newRig(t, testHub, c.RESTConfig())
	r.want("apps", many(r, 3, "one"))
	r.ready("apps")
	c.StopServer()
	// The connection is lost first, and then refused.
	s := r.state("unreachable", func(s State) bool { return s.Known && !s.Reachable && s.Message != "connection lost" })
	if s.Message != "connection refused" || s.LastSeen.IsZero() {
		t.Errorf("%+v", s)
	}
	st := r.until("apps", "unreachable", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Reason == v1alpha1.UnreachableReason })
	if st.Ready != metav1.ConditionUnknown || st.AppliedDigest == "" {
		t.Errorf("%+v", st)
	}
	r.want("apps", many(r, 3, "two"))
	if err := c.StartServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.ready("apps")
	if v := r.value("cm-1"); v != "two" {
		t.Errorf("cm-1 is %q after the cluster came back", v)
	}
}

// A cluster behind a link that swallows everything is noticed by its own silence, and its engine can
// be stopped meanwhile without waiting for it.
func TestAClusterThatFallsSilent(t *testing.T) {
	c := controlplane.New(t, "silent", controlplane.Options{})
	r := newRig(t, testHub, c.RESTConfig())
	r.want("apps", many(r, 3, "one"))
	r.ready("apps")
	if err := c.Pause(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Resume() }()
	r.pool.Verify(r.key)
	r.state("unreachable", func(s State) bool { return s.Known && !s.Reachable })
	released := make(chan struct{})
	go func() {
		r.pool.Disconnect(r.key)
		close(released)
	}()
	select {
	case <-released:
	case <-time.After(15 * time.Second): // when a request that was under way has to have ended
		t.Error("to let go of a silent cluster waits for its answer")
	}
}

func TestStopEndsAtAnObjectBoundary(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.want("apps", many(r, 200, "one"))
	r.eventually("the first objects are applied", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return count(r.sent, "PATCH") > 5
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if r.pool.Stop(ctx); ctx.Err() != nil {
		t.Error("it did not stop at an object, but when its time was over")
	}
	applied := count(r.writes(), "PATCH")
	confirmed := 0
	for _, record := range r.inventory("apps").Objects {
		if record.Digest != "" {
			confirmed++
		}
	}
	if confirmed != applied {
		t.Errorf("%d objects were applied and %d are recorded as such", applied, confirmed)
	}
}

func TestHealthIsContinuous(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	deployment := fmt.Sprintf(`
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: %s}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web}]}
`, r.key.Namespace)
	r.want("apps", r.namespace()+deployment, func(e *v1alpha1.AssignmentEntry) { e.Timeout.Duration = time.Second })
	waiting := func(s v1alpha1.AssignmentEntryStatus) bool { return s.Reason == v1alpha1.WaitingForHealthReason }
	st := r.until("apps", "waiting for health", waiting)
	if st.Objects.Applied != 2 || st.Objects.Ready != 1 || !strings.Contains(st.Message, "Deployment.apps/"+r.key.Namespace+"/web") {
		t.Errorf("%+v", st)
	}
	r.failed("apps", v1alpha1.HealthCheckFailedReason) // it took longer than its timeout
	status := func(ready int) {
		t.Helper()
		patch := fmt.Sprintf(`{"status":{"observedGeneration":1,"replicas":1,"updatedReplicas":1,"readyReplicas":%d,"availableReplicas":%d,"conditions":[{"type":"Available","status":%q},{"type":"Progressing","status":"True","reason":"NewReplicaSetAvailable"}]}}`,
			ready, ready, map[int]string{0: "False", 1: "True"}[ready])
		if _, err := r.kube.AppsV1().Deployments(r.key.Namespace).Patch(t.Context(), "web", types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
	}
	r.writes()
	status(1)
	r.ready("apps")
	status(0) // an hour later, without a commit
	r.until("apps", "not healthy any more", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Ready != metav1.ConditionTrue })
	r.failed("apps", v1alpha1.HealthCheckFailedReason)
	status(1)
	r.ready("apps")
	if w := r.writes(); len(w) != 0 {
		t.Errorf("watching health made writes: %v", w)
	}
}

// A hub that starts may reach a cluster before it has read what is assigned to it: it must not report
// that nothing is, for what was reported last still holds.
func TestAnEngineThatWasHandedNothingReportsNothing(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.state("reachable", func(s State) bool { return s.Reachable })
	if list, told := r.pool.Report(r.key); told {
		t.Errorf("it reports %v", list)
	}
	r.pool.Assign(r.key, nil)
	r.eventually("it reports that nothing is assigned", func() bool {
		list, told := r.pool.Report(r.key)
		return told && len(list) == 0
	})
}
