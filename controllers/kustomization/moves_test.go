package kustomization

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// other is a second Kustomization of the same source.
func other(name string, change ...func(*v1alpha1.Kustomization)) *v1alpha1.Kustomization {
	ks := kustomization(change...)
	ks.Name, ks.UID, ks.Spec.Path = name, types.UID(name), "./"+name
	return ks
}

func after(names ...string) func(*v1alpha1.Kustomization) {
	return func(ks *v1alpha1.Kustomization) {
		for _, name := range names {
			ks.Spec.DependsOn = append(ks.Spec.DependsOn, v1alpha1.DependencyReference{Name: name})
		}
	}
}

// reconcileOf reconciles the Kustomizations of the names in turn.
func (w *world) reconcileOf(names ...string) {
	w.t.Helper()
	for _, name := range names {
		if _, err := w.reconcileKey(requestFor(name).NamespacedName); err != nil {
			w.t.Fatal(err)
		}
	}
}

func requestFor(name string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: key.Namespace, Name: name}}
}

// apply lets the engine of a cluster report all its entries as applied.
func (w *world) apply(clusters ...string) {
	w.t.Helper()
	for _, cluster := range clusters {
		a := w.assignment(cluster)
		if a.Name == "" {
			continue // a later stage
		}
		a.Status.Entries = nil
		for _, e := range a.Spec.Entries {
			a.Status.Entries = append(a.Status.Entries, v1alpha1.AssignmentEntryStatus{
				Name: e.Name, AppliedRevision: e.Revision, AppliedDigest: e.Digest, Ready: metav1.ConditionTrue, Reason: "Succeeded",
				Removed: e.Remove && len(e.KeepFor) == 0 && !e.HoldPrune,
			})
		}
		if err := w.client.Status().Update(w.t.Context(), a); err != nil {
			w.t.Fatal(err)
		}
	}
}

// fail lets the engine of a cluster report that the objects of an entry are not healthy.
func (w *world) fail(cluster, name string) {
	w.t.Helper()
	a := w.assignment(cluster)
	for i := range a.Status.Entries {
		if e := entryOf(a, a.Status.Entries[i].Name); e.Name == name {
			a.Status.Entries[i] = v1alpha1.AssignmentEntryStatus{Name: name, AppliedRevision: e.Revision, AppliedDigest: e.Digest,
				Revision: e.Revision, Digest: e.Digest,
				Ready: metav1.ConditionFalse, Reason: v1alpha1.HealthCheckFailedReason, Message: "it crashes"}
		}
	}
	if err := w.client.Status().Update(w.t.Context(), a); err != nil {
		w.t.Fatal(err)
	}
}

// keeps tells what a cluster keeps of what a Kustomization drops: "held", "for 1", or "".
func (w *world) keeps(cluster, name string) string {
	w.t.Helper()
	e := entryOf(w.assignment(cluster), name)
	switch {
	case e == nil:
		return "no entry"
	case e.HoldPrune:
		return "held"
	case len(e.KeepFor) > 0:
		return fmt.Sprintf("for %d", len(e.KeepFor))
	}
	return ""
}

func (w *world) expectKeeps(name string, want ...string) {
	w.t.Helper()
	for i, want := range want {
		if got := w.keeps(fmt.Sprintf("edge-%d", i+1), name); got != want {
			w.t.Errorf("edge-%d keeps %q of %s, and should %q", i+1, got, name, want)
		}
	}
}

// movers is a hub on which apps has settings and shared has nothing of it, on two clusters.
func movers(t *testing.T, changes ...func(*v1alpha1.Kustomization)) *world {
	w := newWorld(t, cluster("edge-1"), cluster("edge-2"), kustomization(), other("shared", changes...))
	w.push("1", "apps/a.yaml", configMap("stays", "1"), "apps/b.yaml", configMap("settings", "1"), "shared/a.yaml", configMap("base", "1"))
	w.reconcileOf("apps", "shared")
	w.apply("edge-1", "edge-2")
	w.reconcileOf("apps", "shared", "apps")
	for range 3 { // a staged one goes through
		w.apply("edge-1", "edge-2")
		w.reconcileOf("shared")
	}
	return w
}

func (w *world) move() {
	w.push("2", "apps/a.yaml", configMap("stays", "1"), "shared/a.yaml", configMap("base", "1"), "shared/b.yaml", configMap("settings", "1"))
}

func TestAMoveIsHeldUntilTheReceiverIsRendered(t *testing.T) {
	w := movers(t)
	w.move()
	w.reconcileOf("apps")
	w.expectKeeps("apps", "held", "held")
	w.reconcileOf("shared", "apps")
	w.expectKeeps("apps", "for 1", "for 1") // assigned and not applied
	w.apply("edge-1", "edge-2")
	w.reconcileOf("apps")
	w.expectKeeps("apps", "", "")
}

func TestAMoveWaitsForTheStageOfTheReceiver(t *testing.T) {
	w := movers(t, staged)
	w.move()
	w.reconcileOf("shared", "apps")
	w.expectKeeps("apps", "for 1", "for 1")
	w.apply("edge-1", "edge-2")
	w.reconcileOf("apps")
	w.expectKeeps("apps", "", "for 1") // edge-1 is the canary of shared
	w.restart()                        // nothing is known
	w.reconcileOf("apps")
	w.expectKeeps("apps", "", "held")
	w.reconcileOf("shared", "apps")
	w.expectKeeps("apps", "", "for 1")
	w.apply("edge-1", "edge-2")
	w.reconcileOf("shared", "apps")
	w.apply("edge-1", "edge-2")
	w.reconcileOf("shared", "apps")
	w.expectKeeps("apps", "", "")
}

// shared takes settings over on its canary, where apps lets go of it, and is rolled back there: neither of
// the two assigned bundles has settings then.
func TestARolledBackReceiverKeepsWhatItTookOver(t *testing.T) {
	w := movers(t, rollsBack)
	w.move()
	w.reconcileOf("shared", "apps")
	w.apply("edge-1")
	w.reconcileOf("apps")
	w.expectKeeps("apps", "", "for 1")
	w.fail("edge-1", "shared")
	w.reconcileOf("shared", "shared")
	e := entryOf(w.assignment("edge-1"), "shared")
	if e.Revision != "main@sha1:1" || e.Undone == "" || e.Undone == e.Digest {
		t.Fatalf("the entry that was rolled back is %+v", e)
	}
	undone := e.Undone
	for _, what := range []string{"applied", "restarted"} {
		w.apply("edge-1")
		w.reconcileOf("shared", "apps", "shared")
		if e := entryOf(w.assignment("edge-1"), "shared"); e.Undone != undone || e.HoldPrune {
			t.Errorf("once it is %s, the entry is %+v", what, e)
		}
		w.restart()
	}
	if e := entryOf(w.assignment("edge-2"), "shared"); e.Undone != "" {
		t.Errorf("a cluster that never had the change undoes %s", e.Undone)
	}
	// A commit in which nothing wants it any more.
	w.push("3", "apps/a.yaml", configMap("stays", "1"), "shared/a.yaml", configMap("base", "2"))
	w.reconcileOf("apps", "shared")
	if e := entryOf(w.assignment("edge-1"), "shared"); e.Revision != "main@sha1:3" || e.Undone != "" {
		t.Errorf("after the next commit the entry is %+v", e)
	}
}

// What is suspended is rendered all the same, and holds only what it takes.
func TestASuspendedNeighbourHoldsWhatItTakesAndNothingElse(t *testing.T) {
	suspended := func(ks *v1alpha1.Kustomization) { ks.Spec.Suspend = true }
	for name, tt := range map[string]struct {
		shared []string
		want   string
	}{
		"it takes nothing":      {[]string{"shared/a.yaml", configMap("base", "1")}, ""},
		"it takes it":           {[]string{"shared/a.yaml", configMap("base", "1"), "shared/b.yaml", configMap("settings", "1")}, "for 1"},
		"it cannot be rendered": {[]string{"shared/a.yaml", "a: ["}, "held"},
	} {
		t.Run(name, func(t *testing.T) {
			w := movers(t)
			ks := other("shared")
			if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: key.Namespace, Name: "shared"}, ks); err != nil {
				t.Fatal(err)
			}
			suspended(ks)
			if err := w.client.Update(t.Context(), ks); err != nil {
				t.Fatal(err)
			}
			w.push("2", append([]string{"apps/a.yaml", configMap("stays", "1")}, tt.shared...)...)
			w.reconcileOf("shared", "apps")
			w.expectKeeps("apps", tt.want, tt.want)
			if e := entryOf(w.assignment("edge-1"), "shared"); e.Revision != "main@sha1:1" || !e.Suspend {
				t.Errorf("what is suspended gets %+v", e)
			}
			w.restart()
			w.reconcileOf("shared", "apps")
			w.expectKeeps("apps", tt.want, tt.want)
		})
	}
}

func TestADropThatNoNeighbourTakesIsPrunedAtOnce(t *testing.T) {
	w := movers(t)
	w.push("2", "apps/a.yaml", configMap("stays", "1"), "shared/a.yaml", configMap("base", "2"))
	w.reconcileOf("shared", "apps")
	w.expectKeeps("apps", "", "")
}

func TestACommitThatDropsNothingHoldsNothing(t *testing.T) {
	w := movers(t)
	w.push("2", "apps/a.yaml", configMap("stays", "2"), "apps/b.yaml", configMap("settings", "1"), "shared/a.yaml", configMap("base", "2"))
	w.reconcileOf("apps")
	w.expectKeeps("apps", "", "")
}

func TestAReceiverThatCannotBeRenderedHoldsAndIsNamed(t *testing.T) {
	w := movers(t)
	w.push("2", "apps/a.yaml", configMap("stays", "1"), "shared/a.yaml", "a: [")
	w.reconcileOf("shared", "apps")
	w.expectKeeps("apps", "held", "held")
	w.apply("edge-1", "edge-2")
	w.reconcileOf("apps")
	var told string
	for _, c := range w.get().Status.Conditions {
		if c.Type == v1alpha1.ReconcilingCondition && c.Reason == v1alpha1.PruneHeldReason {
			told = c.Message
		}
	}
	for _, want := range []string{"Kustomization shared cannot be rendered", v1alpha1.AllowPruneAnnotation + "=main@sha1:2"} {
		if !strings.Contains(told, want) {
			t.Errorf("the message %q lacks %q", told, want)
		}
	}
	w.edit(func(ks *v1alpha1.Kustomization) {
		ks.Annotations = map[string]string{v1alpha1.AllowPruneAnnotation: "main@sha1:2"}
	})
	w.reconcileOf("apps")
	w.expectKeeps("apps", "", "")
}

func TestAKustomizationThatIsRenamedWaitsForTheNewOne(t *testing.T) {
	w := movers(t, staged)
	w.create(other("renamed", staged))
	w.push("2", "apps/a.yaml", configMap("stays", "1"), "shared/a.yaml", configMap("base", "1"),
		"renamed/a.yaml", configMap("stays", "1"), "renamed/b.yaml", configMap("settings", "1"))
	if err := w.client.Delete(t.Context(), w.get()); err != nil {
		t.Fatal(err)
	}
	w.reconcileOf("shared", "apps")
	w.expectKeeps("apps", "held", "held")
	w.reconcileOf("renamed", "apps")
	w.expectKeeps("apps", "for 1", "for 1")
	if got := w.ready(); !strings.Contains(got, "for Kustomization renamed, which has not arrived there") {
		t.Errorf("it says %q", got)
	}
	for range 3 {
		w.apply("edge-1", "edge-2")
		w.reconcileOf("renamed", "shared")
	}
	w.apply("edge-1", "edge-2")
	w.reconcileOf("apps")
	w.expectKeeps("apps", "", "")
}

func TestADependentWaitsForTheDigestOfItsDependency(t *testing.T) {
	w := newWorld(t, cluster("edge-1"), cluster("edge-2"), kustomization(after("shared")), other("shared", staged))
	w.push("1", "apps/a.yaml", configMap("a", "1"), "shared/a.yaml", configMap("base", "1"))
	for range 4 {
		w.reconcileOf("shared", "apps")
		w.apply("edge-1", "edge-2")
	}
	w.reconcileOf("shared", "apps")
	if got := w.revisions(); got != "edge-1=1 edge-2=1" {
		t.Fatal(got)
	}
	w.push("2", "apps/a.yaml", configMap("a", "2"), "shared/a.yaml", configMap("base", "2"))
	w.reconcileOf("apps")
	if got := w.revisions(); got != "edge-1=1 edge-2=1" {
		t.Errorf("before its dependency is rendered: %s", got)
	}
	w.reconcileOf("shared", "apps")
	if got := w.revisions(); got != "edge-1=2 edge-2=1" {
		t.Errorf("while its dependency is in its first stage: %s", got)
	}
	if got := w.ready(); !strings.Contains(got, "waits for Kustomization shared") {
		t.Errorf("it says %q", got)
	}
	w.apply("edge-1", "edge-2")
	w.reconcileOf("shared", "apps")
	if got := w.revisions(); got != "edge-1=2 edge-2=2" {
		t.Errorf("after its dependency: %s", got)
	}
}

func TestADependencyThatTheCommitDidNotChangeHoldsNoCluster(t *testing.T) {
	w := newWorld(t, cluster("edge-1"), kustomization(after("shared")), other("shared"))
	w.push("1", "apps/a.yaml", configMap("a", "1"), "shared/a.yaml", configMap("base", "1"))
	w.reconcileOf("shared", "apps")
	w.apply("edge-1")
	w.reconcileOf("shared", "apps")
	w.push("2", "apps/a.yaml", configMap("a", "2"), "shared/a.yaml", configMap("base", "1"))
	w.reconcileOf("shared", "apps")
	if got := w.revisions(); got != "edge-1=2" {
		t.Error(got)
	}
}

// A chain that is created at once is waited for on the cluster: no link waits for a reconcile of the one
// before it. With a later commit the cluster has an older digest of the dependency, and the hub holds.
func TestADependencyThatTheClusterHasNothingOfIsWaitedForThere(t *testing.T) {
	w := newWorld(t, cluster("edge-1"), kustomization(after("shared")), other("shared"))
	w.push("1", "apps/a.yaml", configMap("a", "1"), "shared/a.yaml", configMap("base", "1"))
	w.reconcileOf("apps")
	if got := w.revisions(); got != "edge-1=1" {
		t.Errorf("at first: %s", got)
	}
	w.reconcileOf("shared", "apps")
	w.apply("edge-1")
	w.push("2", "apps/a.yaml", configMap("a", "2"), "shared/a.yaml", configMap("base", "2"))
	w.reconcileOf("apps")
	if got := w.revisions(); got != "edge-1=1" {
		t.Errorf("before its dependency: %s", got)
	}
}

func TestAHaltedDependencyHoldsAndIsNamed(t *testing.T) {
	w := newWorld(t, cluster("edge-1"), cluster("edge-2"), kustomization(after("shared")), other("shared", staged))
	w.push("1", "apps/a.yaml", configMap("a", "1"), "shared/a.yaml", configMap("base", "1"))
	for range 4 {
		w.reconcileOf("shared", "apps")
		w.apply("edge-1", "edge-2")
	}
	w.push("2", "apps/a.yaml", configMap("a", "2"), "shared/a.yaml", configMap("base", "2"))
	w.reconcileOf("shared")
	w.fail("edge-1", "shared")
	w.reconcileOf("shared", "shared", "apps")
	if got := entryOf(w.assignment("edge-2"), "apps"); got.Revision != "main@sha1:1" {
		t.Errorf("apps is at %s on edge-2", got.Revision)
	}
	if got := w.ready(); !strings.Contains(got, "whose rollout is held: halted") {
		t.Errorf("it says %q", got)
	}
}

// Those that wait are woken by what they wait for, and by nothing else.
func TestWaitersAreWokenOnceForEachChange(t *testing.T) {
	w := movers(t)
	w.move()
	w.reconcileOf("apps")
	if _, waits := w.r.outcomes.waiting[key]; !waits {
		t.Fatal("apps does not wait")
	}
	digest := w.r.outcomes.published[types.NamespacedName{Namespace: key.Namespace, Name: "shared"}]
	w.reconcileOf("shared")
	changed := w.r.outcomes.published[types.NamespacedName{Namespace: key.Namespace, Name: "shared"}]
	if changed == digest {
		t.Error("a new render changed nothing that others see")
	}
	w.reconcileOf("shared")
	if again := w.r.outcomes.published[types.NamespacedName{Namespace: key.Namespace, Name: "shared"}]; again != changed {
		t.Error("a reconcile without news changed what others see")
	}
}

// A Kustomization that is renamed on five clusters under the default rollout leaves each of them only when
// the new one has arrived there, in whatever stage: no cluster is told to delete, at any step.
func TestARenameUnderTheDefaultRolloutLeavesNoClusterBefore(t *testing.T) {
	const clusters = 5
	names := make([]string, clusters)
	w := newWorld(t, kustomization(), other("renamed", staged))
	for i := range clusters {
		names[i] = fmt.Sprintf("edge-%d", i+1)
		w.create(cluster(names[i]))
		c := cluster(names[i])
		if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: key.Namespace, Name: names[i]}, c); err != nil {
			t.Fatal(err)
		}
		c.Status = cluster(names[i]).Status
		if err := w.client.Status().Update(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	w.push("1", "apps/a.yaml", configMap("stays", "1"), "renamed/a.yaml", configMap("base", "1"))
	for range 4 {
		w.reconcileOf("apps", "renamed")
		w.apply(names...)
	}
	w.push("2", "apps/a.yaml", configMap("other", "1"), "renamed/a.yaml", configMap("base", "1"), "renamed/b.yaml", configMap("stays", "1"))
	if err := w.client.Delete(t.Context(), w.get()); err != nil {
		t.Fatal(err)
	}
	arrived := map[string]bool{}
	for range 10 {
		w.reconcileOf("apps", "renamed", "apps")
		for _, name := range names {
			a := w.assignment(name)
			e := entryOf(a, key.Name)
			if e != nil && e.Remove && len(e.KeepFor) == 0 && !e.HoldPrune && !arrived[name] {
				t.Errorf("%s deletes before the new Kustomization has arrived", name)
			}
			if r := entryOf(a, "renamed"); r != nil && r.Revision == "main@sha1:2" {
				arrived[name] = true // the engine reports it next
			}
		}
		w.apply(names...)
	}
	if len(arrived) != clusters {
		t.Errorf("the new one has arrived on %d of %d", len(arrived), clusters)
	}
	for _, name := range names {
		if got := w.keeps(name, key.Name); got != "" && got != "no entry" {
			t.Errorf("%s keeps %q in the end", name, got)
		}
	}
}
