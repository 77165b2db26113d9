package kustomization

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// woken returns the names that a handler asks to be reconciled, sorted.
func woken(t *testing.T, tell func(work)) string {
	t.Helper()
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	tell(queue)
	var names []string
	for queue.Len() > 0 {
		item, _ := queue.Get()
		queue.Done(item)
		names = append(names, item.Name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func update(h handler.EventHandler, t *testing.T, before, after client.Object) func(work) {
	return func(queue work) { h.Update(t.Context(), event.UpdateEvent{ObjectOld: before, ObjectNew: after}, queue) }
}

func named(name string, change ...func(*v1alpha1.Kustomization)) *v1alpha1.Kustomization {
	k := kustomization(change...)
	k.Name = name
	return k
}

func edge1(entries ...v1alpha1.AssignmentEntryStatus) *v1alpha1.Assignment {
	a := &v1alpha1.Assignment{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "edge-1", Generation: 1}}
	for _, s := range entries {
		a.Spec.Entries = append(a.Spec.Entries, v1alpha1.AssignmentEntry{Name: s.Name})
	}
	a.Status.Entries = entries
	return a
}

func says(name, reason string, change ...func(*v1alpha1.AssignmentEntryStatus)) v1alpha1.AssignmentEntryStatus {
	s := v1alpha1.AssignmentEntryStatus{Name: name, Ready: "True", Reason: reason}
	for _, f := range change {
		f(&s)
	}
	return s
}

func TestReportsWakeOnlyWhoTheyConcern(t *testing.T) {
	w := newWorld(t)
	h := w.r.assignmentHandler()
	at := metav1.NewTime(time.Unix(5, 0))
	verified := func(s *v1alpha1.AssignmentEntryStatus) { s.VerifiedAt, s.Drift = &at, 7 }
	for name, tt := range map[string]struct {
		before, after *v1alpha1.Assignment
		want          string
	}{
		"nothing":                     {edge1(says("a", "X"), says("b", "X")), edge1(says("a", "X"), says("b", "X")), ""},
		"a verification":              {edge1(says("a", "X")), edge1(says("a", "X", verified)), ""},
		"one of two":                  {edge1(says("a", "X"), says("b", "X")), edge1(says("a", "X"), says("b", "Y")), "b"},
		"a new one":                   {edge1(says("a", "X")), edge1(says("a", "X"), says("b", "X")), "b"},
		"one is forgotten":            {edge1(says("a", "X"), says("b", "X")), edge1(says("b", "X")), "a"},
		"news and a verification too": {edge1(says("a", "X")), edge1(says("a", "Y", verified)), "a"},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, "woken", woken(t, update(h, t, tt.before, tt.after)), tt.want)
		})
	}
}

// TestReportsDuringAReconcileWakeNobody: what the queue has is reconciled right after the one under way, without a cooldown.
func TestReportsDuringAReconcileWakeNobody(t *testing.T) {
	w := newWorld(t, named("web"), edge1(says("web", "X")))
	busy := client.ObjectKeyFromObject(named("web"))
	end := w.r.after.Begin(t.Context(), busy, 1, func(context.Context, error) (reconcile.Result, error) { return reconcile.Result{}, nil })
	report := update(w.r.assignmentHandler(), t, edge1(says("web", "X")), edge1(says("web", "Y")))
	expect(t, "a report", woken(t, report), "")
	expect(t, "a Cluster", woken(t, update(w.r.clusterHandler(), t, cluster("edge-1", unreachable), cluster("edge-1"))), "")
	end(nil)
	expect(t, "a report after its end", woken(t, report), "web")
}

func TestASpecThatOthersWroteWakesAll(t *testing.T) {
	w := newWorld(t, cluster("edge-1"))
	h := w.r.assignmentHandler()
	before, after := edge1(says("a", "X"), says("b", "X")), edge1(says("b", "X"))
	after.Generation = 2
	after.Status = before.Status
	expect(t, "by somebody else", woken(t, update(h, t, before, after)), "a b")
	w.r.assignments.recordGeneration(client.ObjectKeyFromObject(after), 2)
	expect(t, "by ourselves", woken(t, update(h, t, before, after)), "")
	expect(t, "deleted", woken(t, func(queue work) { h.Delete(t.Context(), event.DeleteEvent{Object: before}, queue) }), "a b")
}

func TestClustersWakeWhoSelectsThemOrDid(t *testing.T) {
	north := func(k *v1alpha1.Kustomization) {
		k.Spec.Clusters.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"region": "north"}}
	}
	own := func(k *v1alpha1.Kustomization) { k.Spec.Clusters = nil }
	w := newWorld(t, named("all"), named("north", north), named("own", own), edge1(says("assigned", "X")))
	h := w.r.clusterHandler()
	labelled := func(c *v1alpha1.Cluster) { c.Labels = map[string]string{"region": "north"} }
	seen := cluster("edge-1")
	now := metav1.NewTime(time.Unix(9, 0))
	seen.Status.LastSeen = &now
	for name, tt := range map[string]struct {
		before, after *v1alpha1.Cluster
		want          string
	}{
		"it was heard from":    {cluster("edge-1"), seen, ""},
		"it became reachable":  {cluster("edge-1", unreachable), cluster("edge-1"), "all assigned"},
		"it got a label":       {cluster("edge-1"), cluster("edge-1", labelled), "all assigned north"},
		"it lost a label":      {cluster("edge-1", labelled), cluster("edge-1"), "all assigned north"},
		"another spec":         {cluster("edge-2"), cluster("edge-2", func(c *v1alpha1.Cluster) { c.Generation = 2 }), "all"},
		"the hub's own is new": {cluster("hub", unreachable), cluster("hub"), "own"},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, "woken", woken(t, update(h, t, tt.before, tt.after)), tt.want)
		})
	}
	expect(t, "deleted", woken(t, func(queue work) { h.Delete(t.Context(), event.DeleteEvent{Object: cluster("edge-1")}, queue) }), "all assigned")
	expect(t, "listed at the start", woken(t, func(queue work) {
		h.Create(t.Context(), event.CreateEvent{Object: cluster("edge-1"), IsInInitialList: true}, queue)
	}), "")
}

func TestACircleWakesAllOnIt(t *testing.T) {
	depends := func(on string) func(*v1alpha1.Kustomization) {
		return func(k *v1alpha1.Kustomization) { k.Spec.DependsOn = []v1alpha1.DependencyReference{{Name: on}} }
	}
	stuck := func(k *v1alpha1.Kustomization) {
		k.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "False", Reason: v1alpha1.DependencyCycleReason}}
	}
	w := newWorld(t, named("a", depends("b")), named("b", depends("c")), named("c", depends("a")), named("bystander", depends("a")), named("d", stuck))
	h := w.r.dependencyHandler()
	expect(t, "closed by c", woken(t, update(h, t, named("c"), named("c", depends("a")))), "a b c d")
	expect(t, "status only", woken(t, update(h, t, named("c", depends("a")), named("c", depends("a"), stuck))), "")
	expect(t, "created", woken(t, func(queue work) { h.Create(t.Context(), event.CreateEvent{Object: named("c", depends("a"))}, queue) }), "a b c d")
	expect(t, "at the start", woken(t, func(queue work) {
		h.Create(t.Context(), event.CreateEvent{Object: named("c", depends("a")), IsInInitialList: true}, queue)
	}), "")
}

func TestSourcesWakeWhenTheyHaveSomethingNew(t *testing.T) {
	source := func(revision, ready string, at int64) *v1alpha1.GitRepository {
		r := &v1alpha1.GitRepository{}
		r.Status.Artifact = &v1alpha1.Artifact{Revision: revision, LastUpdateTime: metav1.NewTime(time.Unix(at, 0))}
		r.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: metav1.ConditionStatus(ready), Message: "any " + revision}}
		return r
	}
	for name, tt := range map[string]struct {
		before, after *v1alpha1.GitRepository
		want          bool
	}{
		"nothing":                {source("r1", "True", 1), source("r1", "True", 1), false},
		"a commit":               {source("r1", "True", 1), source("r2", "True", 2), true},
		"fetched a second time":  {source("r1", "True", 1), source("r1", "True", 2), true},
		"it cannot fetch":        {source("r1", "True", 1), source("r1", "False", 1), true},
		"the first one":          {&v1alpha1.GitRepository{}, source("r1", "True", 1), true},
		"suspended, nothing new": {source("r1", "True", 1), source("r1", "Unknown", 1), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := sourceChanged().Update(event.UpdateEvent{ObjectOld: tt.before, ObjectNew: tt.after}); got != tt.want {
				t.Errorf("passes: %v", got)
			}
		})
	}
}
