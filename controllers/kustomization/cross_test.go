package kustomization

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
)

// in moves an object into another namespace.
func in[T client.Object](namespace string, o T) T {
	o.SetNamespace(namespace)
	o.SetUID(types.UID(namespace + "-" + string(o.GetUID())))
	return o
}

func space(name string, labels map[string]string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
}

func fromNamespaces(names ...string) func(*v1alpha1.Kustomization) {
	return func(ks *v1alpha1.Kustomization) {
		ks.Spec.Clusters.Namespaces = &v1alpha1.ClusterNamespaces{Names: names}
	}
}

func web(tier string) *v1alpha1.AccessFrom {
	return &v1alpha1.AccessFrom{NamespaceSelectors: []v1alpha1.NamespaceSelector{{MatchLabels: map[string]string{"tier": tier}}}}
}

// at returns the entry of a name in the Assignment of a cluster of any namespace.
func (w *world) at(namespace, cluster, name string) *v1alpha1.AssignmentEntry {
	w.t.Helper()
	a := &v1alpha1.Assignment{}
	if err := w.client.Get(w.t.Context(), types.NamespacedName{Namespace: namespace, Name: cluster}, a); client.IgnoreNotFound(err) != nil {
		w.t.Fatal(err)
	}
	return entryOf(a, name)
}

// alter edits an object that is there.
func alter[T client.Object](w *world, o T, edit func(T)) {
	w.t.Helper()
	if err := w.client.Get(w.t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		w.t.Fatal(err)
	}
	edit(o)
	if err := w.client.Update(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
}

// share moves the source into the namespace "shared", with its last commit.
func (w *world) share() *v1alpha1.GitRepository {
	w.t.Helper()
	source := &v1alpha1.GitRepository{}
	if err := w.client.Get(w.t.Context(), types.NamespacedName{Namespace: key.Namespace, Name: "config"}, source); err != nil {
		w.t.Fatal(err)
	}
	moved := &v1alpha1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "shared", Name: "config"}}
	if err := w.client.Get(w.t.Context(), client.ObjectKeyFromObject(moved), moved); err != nil {
		w.create(moved)
	}
	moved.Status = source.Status
	if err := w.client.Status().Update(w.t.Context(), moved); err != nil {
		w.t.Fatal(err)
	}
	return moved
}

func TestASourceOfAnotherNamespaceIsRendered(t *testing.T) {
	shared := func(ks *v1alpha1.Kustomization) { ks.Spec.SourceRef.Namespace = "shared" }
	w := newWorld(t, space("fleet", map[string]string{"tier": "web"}), kustomization(allAtOnce, shared), cluster("edge-1"))
	w.push("1", "apps/cm.yaml", configMap("one", "x"))
	source := w.share()
	if err := w.client.Delete(t.Context(), &v1alpha1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "config"}}); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	expect(t, "revisions", w.revisions(), "edge-1=1")

	w.r.NoCrossNamespaceRefs = true
	w.push("2", "apps/cm.yaml", configMap("one", "y"))
	w.share()
	w.reconcile()
	expect(t, "a hub that is locked down keeps what is there", w.revisions(), "edge-1=1")
	expect(t, "ready", w.ready(), "False AccessDenied: the GitRepository shared/config admits no Kustomization of namespace fleet: its spec.accessFrom would have to match that namespace")

	alter(w, source, func(r *v1alpha1.GitRepository) { r.Spec.AccessFrom = web("web") })
	w.reconcile()
	expect(t, "accessFrom admits it", w.revisions(), "edge-1=2")

	w.r.NoCrossNamespaceRefs = false
	alter(w, source, func(r *v1alpha1.GitRepository) { r.Spec.AccessFrom = web("db") })
	w.push("3", "apps/cm.yaml", configMap("one", "z"))
	w.share()
	w.reconcile()
	expect(t, "an accessFrom that does not match holds in an open hub too", w.revisions(), "edge-1=2")
}

func TestALockedDownHubDoesNotTellWhetherASourceIsThere(t *testing.T) {
	w := newWorld(t, kustomization(allAtOnce, func(ks *v1alpha1.Kustomization) { ks.Spec.SourceRef.Namespace = "shared" }), cluster("edge-1"))
	w.r.NoCrossNamespaceRefs = true
	w.reconcile()
	if got := w.ready(); !strings.HasPrefix(got, "False AccessDenied: the GitRepository shared/config admits no") {
		t.Errorf("ready: %s", got)
	}
}

func TestTwoKustomizationsOfOneNameShareACluster(t *testing.T) {
	w := newWorld(t, space("fleet", nil), space("north", nil), kustomization(allAtOnce, fromNamespaces("north")), in("north", cluster("edge-9")),
		in("north", &v1alpha1.Assignment{
			ObjectMeta: metav1.ObjectMeta{Name: "edge-9", Generation: 1, OwnerReferences: []metav1.OwnerReference{{Kind: "Cluster", Name: "edge-9", UID: "north-uid-of-edge-9", Controller: new(true)}}},
			Spec:       v1alpha1.AssignmentSpec{Entries: []v1alpha1.AssignmentEntry{{Name: "apps", Digest: "sha256:theirs", Revision: "r"}}},
		}))
	w.push("1", "apps/cm.yaml", configMap("one", "${cluster_namespace}"))
	w.reconcile()
	theirs, ours := w.at("north", "edge-9", "apps"), w.at("north", "edge-9", "fleet/apps")
	if theirs == nil || theirs.Digest != "sha256:theirs" || theirs.Remove {
		t.Errorf("the entry of north/apps: %+v", theirs)
	}
	if ours == nil || ours.Revision != "main@sha1:1" {
		t.Fatalf("the entry of fleet/apps: %+v", ours)
	}
	b, err := w.store.Get(t.Context(), ours.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(b.Encode()); !strings.Contains(text, object.Owner{Hub: "hub-1", Namespace: "fleet", Name: "apps"}.Label()) {
		t.Errorf("the owner label is not that of fleet/apps: %s", text)
	}
	expect(t, "status", w.count()["clusters"], "1 desired, 0 updated, 0 ready, 1 progressing, 0 failed, 0 unreachable")

	w.edit(fromNamespaces("fleet")) // it leaves that namespace
	w.reconcile()
	if ours = w.at("north", "edge-9", "fleet/apps"); ours == nil || !ours.Remove {
		t.Errorf("the entry of one that has left: %+v", ours)
	}
	if theirs = w.at("north", "edge-9", "apps"); theirs == nil || theirs.Remove {
		t.Errorf("the entry of north/apps: %+v", theirs)
	}
}

func TestADeletedKustomizationLeavesTheClustersOfOtherNamespaces(t *testing.T) {
	w := newWorld(t, space("fleet", nil), kustomization(allAtOnce, fromNamespaces("north")), in("north", cluster("edge-9")))
	w.push("1", "apps/cm.yaml", configMap("one", "x"))
	w.reconcile()
	if err := w.client.Delete(t.Context(), w.get()); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	e := w.at("north", "edge-9", "fleet/apps")
	if e == nil || !e.Remove || len(w.get().Finalizers) == 0 {
		t.Fatalf("entry %+v", e)
	}
	a := &v1alpha1.Assignment{}
	if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: "north", Name: "edge-9"}, a); err != nil {
		t.Fatal(err)
	}
	a.Status.Entries = []v1alpha1.AssignmentEntryStatus{{Name: "fleet/apps", Ready: "True", Reason: "Succeeded", Removed: true}}
	if err := w.client.Status().Update(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	w.reconcile()
	if e := w.at("north", "edge-9", "fleet/apps"); e != nil {
		t.Errorf("entry %+v", e)
	}
	if err := w.client.Get(t.Context(), key, &v1alpha1.Kustomization{}); err == nil {
		t.Error("the finalizer is still there")
	}
}

func TestWithdrawnAccessDeletesNothing(t *testing.T) {
	edge := in("north", cluster("edge-9"))
	w := newWorld(t, space("fleet", map[string]string{"tier": "web"}), kustomization(allAtOnce, fromNamespaces("north", "fleet")), cluster("edge-1"), edge)
	w.push("1", "apps/cm.yaml", configMap("one", "x"))
	w.reconcile()
	w.r.NoCrossNamespaceRefs = true
	w.push("2", "apps/cm.yaml", configMap("one", "y"))
	w.reconcile()
	if e := w.at("north", "edge-9", "fleet/apps"); e == nil || e.Remove || e.Revision != "main@sha1:1" {
		t.Errorf("entry where access was withdrawn: %+v", e)
	}
	if e := w.entry("edge-1"); e == nil || e.Revision != "main@sha1:2" {
		t.Errorf("entry on a cluster of its own: %+v", e)
	}
	failures := w.get().Status.Failures
	if len(failures) != 1 || failures[0].Cluster != "north/edge-9" || failures[0].Reason != v1alpha1.AccessDeniedReason {
		t.Errorf("failures %+v", failures)
	}
	if got := w.ready(); !strings.Contains(got, "AccessDenied") || !strings.HasPrefix(got, "False") {
		t.Errorf("ready: %s", got)
	}
	alter(w, edge, func(c *v1alpha1.Cluster) { c.Spec.AccessFrom = web("web") })
	w.reconcile()
	if e := w.at("north", "edge-9", "fleet/apps"); e == nil || e.Revision != "main@sha1:2" {
		t.Errorf("entry where accessFrom admits it: %+v", e)
	}
}

func TestDependenciesOfAnotherNamespace(t *testing.T) {
	ahead := func(ks *v1alpha1.Kustomization) {
		ks.Spec.DependsOn = []v1alpha1.DependencyReference{{Name: "infra", Namespace: "north"}, {Name: "base"}}
	}
	w := newWorld(t, space("fleet", nil), kustomization(allAtOnce, ahead, fromNamespaces("north", "fleet")), cluster("edge-1"), in("north", cluster("edge-9")))
	w.push("1", "apps/cm.yaml", configMap("one", "x"))
	w.reconcile()
	expect(t, "in fleet", strings.Join(w.entry("edge-1").DependsOn, " "), "base north/infra")
	expect(t, "in north", strings.Join(w.at("north", "edge-9", "fleet/apps").DependsOn, " "), "fleet/base infra")

	w.r.NoCrossNamespaceRefs = true
	w.push("2", "apps/cm.yaml", configMap("one", "y"))
	w.reconcile()
	expect(t, "locked down", w.ready(), "False AccessDenied: dependsOn names Kustomization north/infra of another namespace, which this hub does not admit (--no-cross-namespace-refs)")
	expect(t, "revisions", w.revisions(), "edge-1=1")
}

func TestAnObjectThatMovesToAKustomizationOfAnotherNamespaceIsKept(t *testing.T) {
	north := in("north", other("web"))
	north.Spec.SourceRef.Namespace = "fleet"
	north.Spec.Clusters.Namespaces = &v1alpha1.ClusterNamespaces{Names: []string{"fleet"}}
	w := newWorld(t, space("fleet", nil), space("north", nil), kustomization(allAtOnce), north, cluster("edge-1"))
	reconcileNorth := func() {
		if _, err := w.reconcileKey(client.ObjectKeyFromObject(north)); err != nil {
			t.Fatal(err)
		}
	}
	w.push("1", "apps/cm.yaml", configMap("one", "x"), "apps/two.yaml", configMap("two", "x"), "web/cm.yaml", configMap("three", "x"))
	w.reconcile()
	reconcileNorth()
	w.apply("edge-1")
	w.reconcile()
	reconcileNorth()
	w.push("2", "apps/cm.yaml", configMap("one", "x"), "web/cm.yaml", configMap("three", "x"), "web/two.yaml", configMap("two", "x"))
	w.reconcile()
	if e := w.entry("edge-1"); !e.HoldPrune {
		t.Errorf("before the other namespace is rendered: %+v", e)
	}
	reconcileNorth()
	w.reconcile()
	taker := w.at("fleet", "edge-1", "north/web")
	if e := w.entry("edge-1"); e.HoldPrune || len(e.KeepFor) != 1 || e.KeepFor[0] != taker.Digest {
		t.Errorf("after: %+v, taken by %s", e, taker.Digest)
	}
}

func TestATenantKeepsOffTheHubFromAnotherNamespace(t *testing.T) {
	w := newWorld(t, space("fleet", nil), kustomization(allAtOnce, fromNamespaces("skerry-system")), in("skerry-system", cluster("own")))
	w.r.HubNamespace = "the-hubs"
	w.push("1", "apps/secret.yaml", intoTheHub)
	w.reconcile()
	if got := w.ready(); !strings.Contains(got, v1alpha1.NotPermittedReason) {
		t.Errorf("ready: %s", got)
	}
}

func TestChangesOfOtherNamespacesWakeWhoRefersThere(t *testing.T) {
	selecting := func(ks *v1alpha1.Kustomization) {
		ks.Spec.Clusters.Namespaces = &v1alpha1.ClusterNamespaces{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"x": "y"}}}
	}
	shared := func(ks *v1alpha1.Kustomization) { ks.Spec.SourceRef.Namespace = "north" }
	w := newWorld(t, named("selects"), named("names", fromNamespaces("north")), named("labels", selecting), named("source", shared), in("north", named("theirs")))
	expect(t, "the labels of the referring namespace", woken(t, func(q work) {
		for _, r := range w.r.requestsForNamespace(t.Context(), space("fleet", nil)) {
			q.Add(r)
		}
	}), "labels names source")
	expect(t, "the labels of the other namespace", woken(t, func(q work) {
		for _, r := range w.r.requestsForNamespace(t.Context(), space("north", nil)) {
			q.Add(r)
		}
	}), "labels")
	expect(t, "a source of the other namespace", woken(t, func(q work) {
		for _, r := range w.r.requestsForSource(t.Context(), in("north", &v1alpha1.GitRepository{ObjectMeta: metav1.ObjectMeta{Name: "config"}})) {
			q.Add(r)
		}
	}), "source theirs")
	edge := in("north", cluster("edge-9"))
	expect(t, "a Cluster of the other namespace", woken(t, func(q work) { w.r.clusterHandler().Create(t.Context(), event.CreateEvent{Object: edge}, q) }), "labels names theirs")
	open, closed := &v1alpha1.GitRepository{}, &v1alpha1.GitRepository{}
	closed.Spec.AccessFrom = web("db")
	if !sourceChanged().Update(event.UpdateEvent{ObjectOld: open, ObjectNew: closed}) {
		t.Error("a change of accessFrom of a source wakes nobody")
	}
	a := edge1(says("north/web", "X"))
	expect(t, "a report on an entry of another namespace", woken(t, update(w.r.assignmentHandler(), t, a, edge1(says("north/web", "Y")))), "web")
}
