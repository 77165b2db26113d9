package kustomization

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

func inRegion(region string) func(*v1alpha1.Cluster) {
	return func(c *v1alpha1.Cluster) { c.Labels = map[string]string{"region": region} }
}

func selectingRegion(region string) func(*v1alpha1.Kustomization) {
	return func(ks *v1alpha1.Kustomization) {
		ks.Spec.Clusters = &v1alpha1.ClusterTargets{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"region": region}}}
	}
}

func (w *world) annotate(value string) {
	w.edit(func(ks *v1alpha1.Kustomization) {
		ks.Annotations = map[string]string{v1alpha1.AllowPruneAnnotation: value}
	})
}

func TestASelectorWithATypingErrorDeletesNothing(t *testing.T) {
	w := newWorld(t, kustomization(allAtOnce, selectingRegion("north")),
		cluster("edge-1", inRegion("north")), cluster("edge-2", inRegion("north")), cluster("edge-3", inRegion("north")), cluster("edge-4", inRegion("south")))
	w.push("1", "apps/cm.yaml", configMap("one", "x"))
	w.reconcile()
	const all = "edge-1=1 edge-2=1 edge-3=1"
	if got := w.revisions(); got != all {
		t.Fatalf("revisions %s", got)
	}

	w.edit(selectingRegion("nroth"))
	w.reconcile()
	if got := w.revisions(); got != all {
		t.Errorf("revisions %s", got)
	}
	if got := w.ready(); !strings.HasPrefix(got, "False PruneLimitExceeded: 3 of 3 clusters") || !strings.Contains(got, "skerry.dev/allow-prune=clusters-none") {
		t.Errorf("ready: %s", got)
	}

	// Another one selects others: they wait, or else the departure would look smaller.
	w.edit(selectingRegion("south"))
	w.reconcile()
	w.reconcile()
	if got := w.revisions(); got != all {
		t.Errorf("revisions %s", got)
	}
	w.annotate("clusters-none") // what was said of another selection does not count
	w.reconcile()
	if got := w.revisions(); got != all {
		t.Errorf("revisions %s", got)
	}
	_, token, _ := strings.Cut(w.ready(), v1alpha1.AllowPruneAnnotation+"=")
	w.annotate(token)
	w.reconcile()
	if got, want := w.revisions(), "edge-1=1(remove) edge-2=1(remove) edge-3=1(remove) edge-4=1"; got != want {
		t.Errorf("revisions %s", got)
	}

	// Put right, nothing is left of it.
	w.annotate("")
	w.reconcile()
	if got := w.ready(); strings.Contains(got, "PruneLimitExceeded") {
		t.Errorf("ready: %s", got)
	}
}

func TestAFewClustersLeaveAtOnce(t *testing.T) {
	w := newWorld(t, kustomization(allAtOnce, selectingRegion("north")),
		cluster("edge-1", inRegion("north")), cluster("edge-2", inRegion("north")), cluster("edge-3", inRegion("north")))
	w.push("1", "apps/cm.yaml", configMap("one", "x"))
	w.reconcile()
	relabel := func(name, region string) {
		c := cluster(name)
		if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: key.Namespace, Name: name}, c); err != nil {
			t.Fatal(err)
		}
		c.Labels = map[string]string{"region": region}
		if err := w.client.Update(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		w.reconcile()
	}
	relabel("edge-1", "south")
	if got, want := w.revisions(), "edge-1=1(remove) edge-2=1 edge-3=1"; got != want {
		t.Errorf("revisions %s", got)
	}
	relabel("edge-2", "south") // one of two
	if got, want := w.revisions(), "edge-1=1(remove) edge-2=1(remove) edge-3=1"; got != want {
		t.Errorf("revisions %s", got)
	}
	relabel("edge-1", "north") // and one comes back before it is gone
	if got, want := w.revisions(), "edge-1=1 edge-2=1(remove) edge-3=1"; got != want {
		t.Errorf("revisions %s", got)
	}
}

func TestOrphansMayLeaveTogether(t *testing.T) {
	w := newWorld(t, kustomization(allAtOnce, selectingRegion("north"), func(ks *v1alpha1.Kustomization) { ks.Spec.DeletionPolicy = v1alpha1.DeletionOrphan }),
		cluster("edge-1", inRegion("north")), cluster("edge-2", inRegion("north")))
	w.push("1", "apps/cm.yaml", configMap("one", "x"))
	w.reconcile()
	w.edit(selectingRegion("nowhere"))
	w.reconcile()
	if got, want := w.revisions(), "edge-1=1(remove) edge-2=1(remove)"; got != want {
		t.Errorf("revisions %s", got)
	}
}

func TestNamesThatNoClusterHas(t *testing.T) {
	w := newWorld(t, kustomization(allAtOnce, func(ks *v1alpha1.Kustomization) {
		ks.Spec.Clusters = &v1alpha1.ClusterTargets{Names: []string{"edge-1", "edge-9"}}
	}), cluster("edge-1"), cluster("edge-2"))
	w.push("1", "apps/cm.yaml", configMap("one", "x"))
	w.reconcile()
	w.answer("edge-1")
	w.reconcile()
	if got := w.revisions(); got != "edge-1=1" {
		t.Errorf("revisions %s", got)
	}
	if got, want := w.ready(), "False ClusterNotFound: there is no Cluster edge-9, which spec.clusters.names names"; got != want {
		t.Errorf("ready: %s", got)
	}
	if got := w.get().Status.LastAppliedRevision; got != "main@sha1:1" {
		t.Errorf("applied %q", got)
	}
	w.create(cluster("edge-9"))
	w.reconcile()
	w.answer("edge-9")
	w.reconcile()
	if got, want := w.ready(), "True Succeeded: Applied revision main@sha1:1 on 2 clusters"; got != want {
		t.Errorf("ready: %s", got)
	}
}

func TestWhatIsNotPrunedIsLeftWhereItsKustomizationGoes(t *testing.T) {
	for policy, want := range map[v1alpha1.DeletionPolicy]v1alpha1.DeletionPolicy{
		v1alpha1.DeletionMirrorPrune: v1alpha1.DeletionOrphan, v1alpha1.DeletionWaitForTermination: v1alpha1.DeletionDelete,
	} {
		inNorth := func(c *v1alpha1.Cluster) { c.Labels = map[string]string{"region": "north"} }
		unpruned := func(ks *v1alpha1.Kustomization) { ks.Spec.Prune, ks.Spec.DeletionPolicy = new(false), policy }
		w := newWorld(t, kustomization(allAtOnce, unpruned, selectingRegion("north")), cluster("edge-1", inNorth), cluster("edge-2", inNorth))
		w.push("1", "apps/web.yaml", configMap("web", "one"))
		w.reconcile()
		w.apply("edge-1", "edge-2")
		two := &v1alpha1.Cluster{}
		two.Namespace, two.Name = key.Namespace, "edge-2"
		alter(w, two, func(c *v1alpha1.Cluster) { c.Labels = nil })
		w.reconcile()
		if e := w.entry("edge-2"); !e.Remove || e.DeletionPolicy != want {
			t.Errorf("%s, deselected: %+v", policy, e)
		}
		if err := w.client.Delete(t.Context(), w.get()); err != nil {
			t.Fatal(err)
		}
		w.reconcile()
		if e := w.entry("edge-1"); !e.Remove || e.DeletionPolicy != want {
			t.Errorf("%s, deleted: %+v", policy, e)
		}
	}
}
