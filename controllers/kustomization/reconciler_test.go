package kustomization

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/recovery"
	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/tree"
)

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestACommitReachesEveryCluster(t *testing.T) {
	w := newWorld(t, kustomization(), cluster("edge-1"), cluster("edge-2"), cluster("hub"))
	w.push("1", "apps/web.yaml", configMap("web", "one"))
	w.reconcile()
	expect(t, "revisions", w.revisions(), "edge-1=1 edge-2=1")
	expect(t, "ready", w.ready(), "Unknown Progressing: Applying revision main@sha1:1")
	if got := w.bundle("edge-1"); !strings.Contains(got, `"labels":{"skerry.dev/owner":"`+ownerLabel()+`"}`) {
		t.Errorf("no owner label in %s", got)
	}
	if w.entry("edge-1").Digest != w.entry("edge-2").Digest || w.cache.Stats().Renders != 1 {
		t.Errorf("%d renders", w.cache.Stats().Renders)
	}
	if owner := w.assignment("edge-1").OwnerReferences; len(owner) != 1 || owner[0].UID != "uid-of-edge-1" {
		t.Errorf("owner %v", owner)
	}
	w.answer("edge-1")
	w.answer("edge-2")
	w.reconcile()
	expect(t, "ready", w.ready(), "True Succeeded: Applied revision main@sha1:1 on 2 clusters")

	w.push("2", "apps/web.yaml", configMap("web", "two"))
	w.reconcile()
	expect(t, "revisions", w.revisions(), "edge-1=2 edge-2=2")
	if got := w.bundle("edge-2"); !strings.Contains(got, `"two"`) {
		t.Errorf("bundle %s", got)
	}
	expect(t, "ready", w.ready(), "Unknown Progressing: Applying revision main@sha1:2")
}

// TestARuleThatCannotBeFollowedIsNamed: the clusters keep what they have, and their rules.
func TestARuleThatCannotBeFollowedIsNamed(t *testing.T) {
	w := newWorld(t, kustomization(func(k *v1alpha1.Kustomization) {
		k.Spec.Ignore = []v1alpha1.IgnoreRule{{Paths: []string{"/data"}}}
		k.Spec.Drift = &v1alpha1.Drift{Ignore: []v1alpha1.IgnoreRule{{Paths: []string{"/spec/replicas"}}}}
	}), cluster("edge-1"))
	w.push("1", "apps/web.yaml", configMap("web", "one"))
	w.reconcile()
	have := w.entry("edge-1")
	want := &v1alpha1.Drift{Mode: v1alpha1.DriftCorrect, Ignore: []v1alpha1.IgnoreRule{{Paths: []string{"/spec/replicas"}}, {Paths: []string{"/data"}}}}
	if diff := cmp.Diff(want, have.Drift); diff != "" {
		t.Fatal(diff)
	}
	w.edit(func(k *v1alpha1.Kustomization) { k.Spec.Ignore[0].Target = &kustomize.Selector{Kind: "(Deployment"} })
	w.push("2", "apps/web.yaml", configMap("web", "two"))
	w.reconcile()
	if diff := cmp.Diff(have, w.entry("edge-1")); diff != "" {
		t.Errorf("the cluster is changed: %s", diff)
	}
	if got := w.ready(); !strings.HasPrefix(got, "False InvalidIgnoreRule") || !strings.Contains(got, "ignore rule 2: target.kind is no regular expression") {
		t.Errorf("Ready is %s", got)
	}
}

func TestEntryHasTheOptions(t *testing.T) {
	d := func(d time.Duration) metav1.Duration { return metav1.Duration{Duration: d} }
	retry, timeout, no := d(3*time.Second), d(4*time.Second), false
	tests := map[string]struct {
		change func(*v1alpha1.Kustomization)
		want   v1alpha1.AssignmentEntry
	}{
		"defaults": {
			func(*v1alpha1.Kustomization) {},
			v1alpha1.AssignmentEntry{Interval: d(10 * time.Minute), Timeout: d(10 * time.Minute), Prune: true, Wait: true},
		},
		"everything": {
			func(k *v1alpha1.Kustomization) {
				k.Spec.RetryInterval, k.Spec.Timeout, k.Spec.Prune, k.Spec.Wait = &retry, &timeout, &no, &no
				k.Spec.MaxPrune = new(intstr.FromString("20%"))
				k.Spec.Force, k.Spec.DeletionPolicy = true, v1alpha1.DeletionOrphan
				k.Spec.DependsOn = []v1alpha1.DependencyReference{{Name: "infra"}}
				k.Spec.HealthChecks = []v1alpha1.HealthCheckReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: "db", Namespace: "db"}}
				k.Spec.HealthCheckExprs = []v1alpha1.HealthCheckExpressions{{APIVersion: "example.com/v1", Kind: "Widget", Current: "status.up"}}
				k.Annotations = map[string]string{v1alpha1.AllowPruneAnnotation: "main@sha1:1", v1alpha1.ReconcileRequestAnnotation: "now"}
			},
			v1alpha1.AssignmentEntry{Interval: d(10 * time.Minute), RetryInterval: &retry, Timeout: timeout, Force: true, MaxPrune: new(intstr.FromString("20%")),
				HealthChecks:     []v1alpha1.HealthCheckReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: "db", Namespace: "db"}},
				HealthCheckExprs: []v1alpha1.HealthCheckExpressions{{APIVersion: "example.com/v1", Kind: "Widget", Current: "status.up"}},
				DependsOn:        []string{"infra"}, AllowPrune: true, RequestedAt: "now"},
		},
		"leave to prune another revision": {
			func(k *v1alpha1.Kustomization) {
				k.Annotations = map[string]string{v1alpha1.AllowPruneAnnotation: "main@sha1:0"}
			},
			v1alpha1.AssignmentEntry{Interval: d(10 * time.Minute), Timeout: d(10 * time.Minute), Prune: true, Wait: true},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, kustomization(tt.change), cluster("edge-1"))
			w.push("1", "apps/web.yaml", configMap("web", "one"))
			w.reconcile()
			got := w.entry("edge-1")
			tt.want.Name, tt.want.Revision, tt.want.Digest = "apps", "main@sha1:1", got.Digest
			tt.want.Change, tt.want.AssignedAt = w.get().Status.Rollout.ID, &metav1.Time{Time: w.now}
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("entry (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNothingNewWritesNothing(t *testing.T) {
	w := newWorld(t, kustomization(), cluster("edge-1"), cluster("edge-2"))
	w.push("1", "apps/web.yaml", configMap("web", "one"))
	w.reconcile()
	w.answer("edge-1")
	w.answer("edge-2")
	w.reconcile()
	reads, ks, a := w.reads, w.get().ResourceVersion, w.assignment("edge-1").ResourceVersion
	for range 3 {
		w.reconcile()
	}
	if w.reads != reads || w.get().ResourceVersion != ks || w.assignment("edge-1").ResourceVersion != a {
		t.Errorf("%d reads of the commit; Kustomization %s→%s, Assignment %s→%s",
			w.reads-reads, ks, w.get().ResourceVersion, a, w.assignment("edge-1").ResourceVersion)
	}
}

func TestARenderThatFailsLeavesTheEntries(t *testing.T) {
	w := newWorld(t, kustomization(), cluster("edge-1"), cluster("edge-2"))
	w.push("1", "apps/web.yaml", configMap("web", "one"))
	w.reconcile()
	w.answer("edge-1")
	w.answer("edge-2")
	w.reconcile()
	before := w.assignment("edge-1").ResourceVersion
	w.push("2", "apps/web.yaml", "a: [", "apps/new.yaml", configMap("new", "two"))
	w.reconcile()
	if got := w.ready(); !strings.HasPrefix(got, "False InvalidYAML: apps/web.yaml: line ") {
		t.Errorf("ready: %s", got)
	}
	expect(t, "revisions", w.revisions(), "edge-1=1 edge-2=1")
	if w.assignment("edge-1").ResourceVersion != before {
		t.Error("the Assignment was written")
	}
	if diff := cmp.Diff(map[string]string{"clusters": "2 desired, 0 updated, 2 ready, 0 progressing, 0 failed, 0 unreachable"}, w.count()); diff != "" {
		t.Error(diff)
	}
	w.push("3", "apps/web.yaml", configMap("web", "three"))
	w.reconcile()
	expect(t, "revisions", w.revisions(), "edge-1=3 edge-2=3")
}

func TestOptionsHoldThoughTheRenderFails(t *testing.T) {
	w := newWorld(t, kustomization(), cluster("edge-1"))
	w.push("1", "apps/web.yaml", configMap("web", "one"))
	w.reconcile()
	w.push("2", "apps/web.yaml", "a: [")
	w.edit(func(k *v1alpha1.Kustomization) { k.Spec.Force = true })
	w.reconcile()
	if e := w.entry("edge-1"); !e.Force || e.Revision != "main@sha1:1" {
		t.Errorf("entry %+v", e)
	}
}

func TestAPathThatIsMissingForOneCluster(t *testing.T) {
	vars := func(region string) func(*v1alpha1.Cluster) {
		return func(c *v1alpha1.Cluster) {
			c.Spec.Vars = map[string]v1alpha1.VarValue{"region": v1alpha1.VarValue(region)}
		}
	}
	w := newWorld(t, kustomization(func(k *v1alpha1.Kustomization) { k.Spec.Path = "overlays/${region}" }),
		cluster("edge-1", vars("north")), cluster("edge-2", vars("south")), cluster("edge-3"))
	w.push("1", "overlays/north/web.yaml", configMap("web", "north"))
	w.reconcile()
	expect(t, "revisions", w.revisions(), "edge-1=1")
	w.answer("edge-1")
	w.reconcile()
	expect(t, "clusters", w.count()["clusters"], "3 desired, 1 updated, 1 ready, 0 progressing, 2 failed, 0 unreachable")
	var reasons []string
	for _, f := range w.get().Status.Failures {
		reasons = append(reasons, f.Cluster+" "+f.Reason)
	}
	expect(t, "failures", strings.Join(reasons, ", "), "edge-2 PathNotFound, edge-3 SubstitutionFailed")
	w.push("2", "overlays/north/web.yaml", configMap("web", "north"), "overlays/south/web.yaml", configMap("web", "south"))
	w.reconcile()
	expect(t, "revisions", w.revisions(), "edge-1=1 edge-2=2") // commit 2 renders the same for edge-1
}

func TestVariablesOfEachCluster(t *testing.T) {
	w := newWorld(t,
		kustomization(func(k *v1alpha1.Kustomization) {
			k.Spec.PostBuild = &v1alpha1.PostBuild{
				Substitute:     map[string]string{"own": "from the spec"},
				SubstituteFrom: []v1alpha1.SubstituteReference{{Kind: "ConfigMap", Name: "vars"}, {Kind: "Secret", Name: "more"}, {Kind: "Secret", Name: "maybe", Optional: true}},
			}
		}),
		cluster("edge-1"), cluster("edge-2"))
	w.push("1", "apps/web.yaml", configMap("web", "${cluster_name} ${own} ${a} ${b}"))
	w.reconcile()
	expect(t, "ready", w.ready(), "False SubstitutionFailed: there is no ConfigMap vars, which substituteFrom names")
	expect(t, "revisions", w.revisions(), "")

	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "vars"}, Data: map[string]string{"a": "A", "b": "overridden"}}
	w.create(config, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "more"}, Data: map[string][]byte{"b": []byte("B")}})
	w.reconcile()
	for _, name := range []string{"edge-1", "edge-2"} {
		if got := w.bundle(name); !strings.Contains(got, `"`+name+` from the spec A B"`) {
			t.Errorf("bundle of %s: %s", name, got)
		}
	}
	if renders := w.cache.Stats().Renders; renders != 1 {
		t.Errorf("%d renders of one directory", renders)
	}
	config.Data["a"] = "new"
	if err := w.client.Update(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if got := w.bundle("edge-1"); !strings.Contains(got, `"edge-1 from the spec new B"`) {
		t.Errorf("bundle %s", got)
	}
}

func TestSources(t *testing.T) {
	w := newWorld(t, kustomization(), cluster("edge-1"))
	w.reconcile()
	expect(t, "ready", w.ready(), "False SourceNotFound: there is no GitRepository config")
	w.create(&v1alpha1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "config"}})
	w.reconcile()
	expect(t, "ready", w.ready(), "False SourceNotReady: the GitRepository config has fetched nothing yet")
	w.push("1", "apps/web.yaml", configMap("web", "one"))
	w.reconcile()
	expect(t, "revisions", w.revisions(), "edge-1=1")
}

func TestLostStorageIsNoNewsWhileItIsFetchedAgain(t *testing.T) {
	w := newWorld(t, kustomization(), cluster("edge-1"))
	w.push("1", "apps/web.yaml", configMap("web", "one"))
	w.reconcile()
	w.answer("edge-1")
	w.reconcile()
	tree, digest, before := w.commits["1"], w.entry("edge-1").Digest, w.get().ResourceVersion

	w.loseStorage()
	delete(w.commits, "1")
	w.restart()
	w.reconcile()
	if w.get().ResourceVersion != before || w.entry("edge-1").Digest != digest {
		t.Errorf("news: %s", w.ready())
	}
	// The source cannot fetch it: that is news.
	source := &v1alpha1.GitRepository{}
	if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: "fleet", Name: "config"}, source); err != nil {
		t.Fatal(err)
	}
	source.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "False", Reason: "Unreachable"}}
	if err := w.client.Status().Update(t.Context(), source); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	expect(t, "ready", w.ready(), "False SourceNotReady: the GitRepository config has to fetch main@sha1:1 again and cannot")
	expect(t, "revisions", w.revisions(), "edge-1=1")

	w.commits["1"] = tree
	w.reconcile()
	w.bundle("edge-1") // is there again
	expect(t, "ready", w.ready(), "True Succeeded: Applied revision main@sha1:1")
}

func TestABundleThatWasLostIsRenderedAgain(t *testing.T) {
	w := newWorld(t, kustomization(), cluster("edge-1"))
	w.push("1", "apps/web.yaml", configMap("web", "one"))
	w.reconcile()
	w.loseStorage()
	w.restart()
	w.reconcile()
	w.bundle("edge-1")
}

func TestTheHubsOwnClusterIsCreated(t *testing.T) {
	w := newWorld(t, kustomization(func(k *v1alpha1.Kustomization) { k.Spec.Clusters = nil }), cluster("edge-1"))
	w.push("1", "apps/web.yaml", configMap("web", "one"))
	w.reconcile()
	if w.ready() != "" {
		t.Errorf("reported before the Cluster was seen: %s", w.ready())
	}
	hub := &v1alpha1.Cluster{}
	if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: "fleet", Name: "hub"}, hub); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	expect(t, "revisions", w.revisions(), "hub=1")
}

func TestInvalidSelector(t *testing.T) {
	w := newWorld(t, kustomization(), cluster("edge-1"))
	w.push("1", "apps/web.yaml", configMap("web", "one"))
	w.reconcile()
	w.edit(func(k *v1alpha1.Kustomization) {
		k.Spec.Clusters.Selector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}
	})
	w.reconcile()
	expect(t, "ready", w.ready(), `False InvalidSelector: cannot read spec.clusters.selector: "Near" is not a valid label selector operator`)
	expect(t, "revisions", w.revisions(), "edge-1=1")
}

func TestACircleOfDependencies(t *testing.T) {
	depends := func(on string) func(*v1alpha1.Kustomization) {
		return func(k *v1alpha1.Kustomization) { k.Spec.DependsOn = []v1alpha1.DependencyReference{{Name: on}} }
	}
	other := kustomization(depends("apps"))
	other.Name = "infra"
	w := newWorld(t, kustomization(), other, cluster("edge-1"))
	w.push("1", "apps/web.yaml", configMap("web", "one"))
	w.reconcile()
	w.edit(depends("infra"))
	w.push("2", "apps/web.yaml", configMap("web", "two"))
	w.reconcile()
	expect(t, "ready", w.ready(), "False DependencyCycle: dependsOn leads in a circle: apps → infra → apps")
	if e := w.entry("edge-1"); e.Revision != "main@sha1:1" || e.DependsOn != nil {
		t.Errorf("entry %+v", e)
	}
	w.edit(depends("somebody"))
	w.reconcile()
	if e := w.entry("edge-1"); e.Revision != "main@sha1:2" || len(e.DependsOn) != 1 {
		t.Errorf("entry %+v", e)
	}
}

func TestSuspend(t *testing.T) {
	w := newWorld(t, kustomization(), cluster("edge-1"), cluster("edge-2"))
	w.push("1", "apps/web.yaml", configMap("web", "one"))
	w.reconcile()
	w.edit(func(k *v1alpha1.Kustomization) { k.Spec.Suspend = true })
	w.push("2", "apps/web.yaml", configMap("web", "two"))
	if err := w.client.Delete(t.Context(), cluster("edge-2")); err != nil {
		t.Fatal(err)
	}
	w.create(cluster("edge-3"))
	w.reconcile()
	expect(t, "revisions", w.revisions(), "edge-1=1 edge-2=1")
	if !w.entry("edge-1").Suspend {
		t.Error("the entry is not suspended")
	}
	if got := w.ready(); !strings.HasPrefix(got, "Unknown Suspended: ") {
		t.Errorf("ready: %s", got)
	}
	w.edit(func(k *v1alpha1.Kustomization) { k.Spec.Suspend = false })
	w.reconcile()
	if e := w.entry("edge-1"); e.Suspend || e.Revision != "main@sha1:2" {
		t.Errorf("entry %+v", e)
	}
}

// TestSuspendedIsReconciledOnce: a request lets a suspended Kustomization go on until it has nothing more to do, and
// no further.
func TestSuspendedIsReconciledOnce(t *testing.T) {
	w := newWorld(t, kustomization(), cluster("edge-1"), cluster("edge-2"))
	w.push("1", "apps/web.yaml", configMap("web", "one"))
	w.reconcile()
	w.edit(func(k *v1alpha1.Kustomization) { k.Spec.Suspend = true })
	w.push("2", "apps/web.yaml", configMap("web", "two"))
	w.reconcile()
	expect(t, "while suspended", w.revisions(), "edge-1=1 edge-2=1")

	w.edit(func(k *v1alpha1.Kustomization) {
		k.Annotations = map[string]string{v1alpha1.ReconcileRequestAnnotation: "now", v1alpha1.ReconcileOnceAnnotation: "earlier"}
	})
	w.reconcile()
	expect(t, "a request that is not for once", w.revisions(), "edge-1=1 edge-2=1")
	w.edit(func(k *v1alpha1.Kustomization) { k.Annotations[v1alpha1.ReconcileOnceAnnotation] = "now" })
	w.reconcile()
	expect(t, "once", w.revisions(), "edge-1=2 edge-2=2")
	w.answer("edge-1")
	w.reconcile()
	if e := w.entry("edge-2"); e.Suspend || e.RequestedAt != "now" || w.get().Status.LastHandledReconcileAt == "now" {
		t.Errorf("before all clusters have done it: entry %+v", e)
	}
	w.answer("edge-2")
	result, err := w.try()
	if err != nil || result.RequeueAfter == 0 {
		t.Errorf("nothing follows: %v %v", result, err)
	}
	if got := w.get().Status; got.LastHandledReconcileAt != "now" || got.LastAppliedRevision != "main@sha1:2" {
		t.Errorf("status %+v", got)
	}
	w.push("3", "apps/web.yaml", configMap("web", "three"))
	w.reconcile()
	expect(t, "suspended again", w.revisions(), "edge-1=2 edge-2=2")
	if got := w.ready(); !w.entry("edge-1").Suspend || !strings.HasPrefix(got, "Unknown Suspended: ") {
		t.Errorf("ready: %s, entry %+v", got, w.entry("edge-1"))
	}
}

func TestDeselectedClusters(t *testing.T) {
	w := newWorld(t, kustomization(), cluster("edge-1"), cluster("edge-2"))
	w.push("1", "apps/web.yaml", configMap("web", "one"))
	w.reconcile()
	w.answer("edge-1")
	w.answer("edge-2")
	w.edit(func(k *v1alpha1.Kustomization) {
		k.Spec.Clusters.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "x", Operator: "Exists"}}}
		k.Spec.DeletionPolicy = v1alpha1.DeletionOrphan
	})
	one := &v1alpha1.Cluster{}
	if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: "fleet", Name: "edge-1"}, one); err != nil {
		t.Fatal(err)
	}
	one.Labels = map[string]string{"x": "y"}
	if err := w.client.Update(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	expect(t, "revisions", w.revisions(), "edge-1=1 edge-2=1(remove)")
	if w.entry("edge-2").DeletionPolicy != v1alpha1.DeletionOrphan {
		t.Error("the policy is not passed on")
	}
	w.answer("edge-2", func(s *v1alpha1.AssignmentEntryStatus) { s.Removed = false })
	w.reconcile()
	expect(t, "not removed yet", w.revisions(), "edge-1=1 edge-2=1(remove)")
	w.answer("edge-2")
	w.reconcile()
	expect(t, "removed", w.revisions(), "edge-1=1")

	// Selected again while the engine still says "removed" of the entry that went.
	w.edit(func(k *v1alpha1.Kustomization) { k.Spec.Clusters.Selector = &metav1.LabelSelector{} })
	w.reconcile()
	expect(t, "while the old one is remembered", w.revisions(), "edge-1=1")
	w.answer("edge-2") // forgotten
	w.reconcile()
	expect(t, "afterwards", w.revisions(), "edge-1=1 edge-2=1")
}

func TestReselectedBeforeItWasRemoved(t *testing.T) {
	none := &v1alpha1.ClusterTargets{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"no": "body"}}}
	w := newWorld(t, kustomization(), cluster("edge-1"))
	w.push("1", "apps/web.yaml", configMap("web", "one"))
	w.reconcile()
	w.edit(func(k *v1alpha1.Kustomization) { k.Spec.Clusters = none })
	w.reconcile()
	expect(t, "revisions", w.revisions(), "edge-1=1(remove)")
	w.edit(func(k *v1alpha1.Kustomization) {
		k.Spec.Clusters = &v1alpha1.ClusterTargets{Selector: &metav1.LabelSelector{}}
	})
	w.reconcile()
	expect(t, "revisions", w.revisions(), "edge-1=1")
}

func TestDeletion(t *testing.T) {
	w := newWorld(t, kustomization(), cluster("edge-1"), cluster("edge-2", unreachable), cluster("edge-3"))
	w.push("1", "apps/web.yaml", configMap("web", "one"))
	w.reconcile()
	if err := w.client.Delete(t.Context(), w.get()); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	expect(t, "revisions", w.revisions(), "edge-1=1(remove) edge-2=1(remove) edge-3=1(remove)")
	w.answer("edge-1")
	w.answer("edge-3")
	w.reconcile()
	expect(t, "revisions", w.revisions(), "edge-2=1(remove)")
	expect(t, "ready", w.ready(), "Unknown ClustersUnreachable: 1 of 1 cluster cannot be cleaned up while unreachable: edge-2: connection refused")
	if err := w.client.Delete(t.Context(), cluster("edge-2")); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if err := w.client.Get(t.Context(), key, &v1alpha1.Kustomization{}); !apierrors.IsNotFound(err) {
		t.Errorf("still there: %v", err)
	}
	w.reconcile() // and once more when it is gone
}

func TestDeletionWhileSuspendedLeavesTheObjects(t *testing.T) {
	w := newWorld(t, kustomization(), cluster("edge-1"))
	w.push("1", "apps/web.yaml", configMap("web", "one"))
	w.reconcile()
	w.edit(func(k *v1alpha1.Kustomization) { k.Spec.Suspend = true })
	w.reconcile()
	if err := w.client.Delete(t.Context(), w.get()); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if e := w.entry("edge-1"); !e.Remove || e.Suspend || e.DeletionPolicy != v1alpha1.DeletionOrphan {
		t.Errorf("entry %+v", e)
	}
}

func TestAFinalizerRemovedByHandLeavesTheObjects(t *testing.T) {
	w := newWorld(t, kustomization(), cluster("edge-1"))
	w.push("1", "apps/web.yaml", configMap("web", "one"))
	w.reconcile()
	w.edit(func(k *v1alpha1.Kustomization) { k.Finalizers = nil })
	if err := w.client.Delete(t.Context(), w.get()); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if e := w.entry("edge-1"); !e.Remove || e.DeletionPolicy != v1alpha1.DeletionOrphan {
		t.Errorf("entry %+v", e)
	}
	w.answer("edge-1")
	w.reconcile()
	expect(t, "revisions", w.revisions(), "")
}

func TestAnAssignmentThatCannotBeWrittenDoesNotKeepTheOthers(t *testing.T) {
	w := newWorld(t, kustomization(), cluster("edge-1"), cluster("edge-2"))
	w.push("1", "apps/web.yaml", configMap("web", "one"))
	w.reconcile()
	w.funcs.Patch = func(_ context.Context, _ client.WithWatch, o client.Object, _ client.Patch, _ ...client.PatchOption) error {
		if _, ok := o.(*v1alpha1.Assignment); ok && o.GetName() == "edge-1" {
			return errors.New("no")
		}
		return nil
	}
	w.push("2", "apps/web.yaml", configMap("web", "two"))
	if _, err := w.try(); err == nil {
		t.Error("no error")
	}
	expect(t, "revisions", w.revisions(), "edge-1=1 edge-2=2")
	w.funcs.Patch = nil
	w.reconcile()
	expect(t, "revisions", w.revisions(), "edge-1=2 edge-2=2")
}

func TestManyWriteOneAssignment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, aWrite = 40, 20 * time.Millisecond
		w := newWorld(t, cluster("edge-1"))
		w.r.assignments = newAssignments(w.r.Hub, w.r.Direct, time.Now) // of the bubble
		var mu sync.Mutex
		patches := 0
		w.funcs.Patch = func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
			mu.Lock()
			patches++
			mu.Unlock()
			time.Sleep(aWrite)
			return nil
		}
		edge := cluster("edge-1")
		write := func(name, revision string) {
			err := w.writeEntry(change{cluster: edge, name: name, entry: &v1alpha1.AssignmentEntry{Name: name, Revision: revision}})
			if err != nil {
				t.Error(err)
			}
		}
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { write(fmt.Sprintf("ks-%02d", i), "r") })
		}
		wg.Wait()
		a := w.assignment("edge-1")
		if len(a.Spec.Entries) != n {
			t.Errorf("%d entries", len(a.Spec.Entries))
		}
		for i, e := range a.Spec.Entries {
			if e.Name != fmt.Sprintf("ks-%02d", i) {
				t.Fatalf("entry %d is %s", i, e.Name)
			}
		}
		if patches >= n {
			t.Errorf("%d writes for %d entries", patches, n)
		}

		time.Sleep(4 * aWrite)
		start := time.Now()
		write("ks-00", "r2")
		if took := time.Since(start); took != aWrite {
			t.Errorf("one that is alone is written after %s", took)
		}
		write("ks-01", "r2")
		if took := time.Since(start); took != (1+4+1)*aWrite {
			t.Errorf("the next is written after %s", took)
		}
		time.Sleep(4 * aWrite)
	})
}

func TestAStaleReadDoesNotLoseWhatOthersWrote(t *testing.T) {
	w := newWorld(t, cluster("edge-1"))
	edge := cluster("edge-1")
	set := func(name string) error {
		return w.writeEntry(change{cluster: edge, name: name, entry: &v1alpha1.AssignmentEntry{Name: name}})
	}
	if err := set("a"); err != nil {
		t.Fatal(err)
	}
	stale := w.assignment("edge-1")
	// Another hub, as it may be for a moment when the leader changes.
	theirs := w.assignment("edge-1")
	theirs.Generation++ // as a real API server does
	theirs.Spec.Entries = append(theirs.Spec.Entries, v1alpha1.AssignmentEntry{Name: "b"})
	if err := w.client.Update(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	reads := 0
	w.funcs.Get = func(ctx context.Context, c client.WithWatch, k client.ObjectKey, o client.Object, opts ...client.GetOption) error {
		if a, ok := o.(*v1alpha1.Assignment); ok {
			if reads++; reads == 1 {
				stale.DeepCopyInto(a)
				return nil
			}
		}
		return c.Get(ctx, k, o, opts...)
	}
	if err := set("c"); err != nil {
		t.Fatal(err)
	}
	w.funcs.Get = nil
	var names []string
	for _, e := range w.assignment("edge-1").Spec.Entries {
		names = append(names, e.Name)
	}
	expect(t, "entries", strings.Join(names, " "), "a b c")
}

func TestAnAssignmentOfAnEarlierClusterIsNotTouched(t *testing.T) {
	w := newWorld(t, kustomization(), cluster("edge-1"))
	w.push("1", "apps/web.yaml", configMap("web", "one"))
	w.reconcile()
	if err := w.client.Delete(t.Context(), cluster("edge-1")); err != nil {
		t.Fatal(err)
	}
	w.create(cluster("edge-1", func(c *v1alpha1.Cluster) { c.UID = "another" }))
	w.push("2", "apps/web.yaml", configMap("web", "two"))
	if _, err := w.try(); err == nil {
		t.Error("no error")
	}
	expect(t, "revisions", w.revisions(), "edge-1=1")
}

func TestARenderThatPanicsIsNamedAndHoldsUpNoOther(t *testing.T) {
	w := newWorld(t, kustomization(allAtOnce, func(ks *v1alpha1.Kustomization) { ks.Spec.Path = "./${cluster_name}" }), cluster("edge-1"), cluster("edge-2"))
	w.push("1", "edge-1/cm.yaml", configMap("one", "x"), "edge-2/cm.yaml", configMap("two", "x"))
	whole := w.r.Build
	w.r.Build = func(ctx context.Context, t *tree.Tree, o render.Options) (*render.Result, error) {
		if o.Vars["cluster_name"] == "edge-1" {
			panic("swordfish")
		}
		return whole(ctx, t, o)
	}
	for range 4 { // more often than there are places for renders
		if _, err := w.try(); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.revisions(); got != "edge-2=1" {
		t.Errorf("revisions %s", got)
	}
	if got := fmt.Sprint(w.get().Status.Failures); !strings.Contains(got, "edge-1 InternalError an error of the hub itself, in kustomization.") || strings.Contains(got, "swordfish") {
		t.Errorf("failures %s", got)
	}
}

// TestAPanicOfASharedRenderIsAnErrorOfTheHub has two clusters with one input, whose render panics in the cache.
func TestAPanicOfASharedRenderIsAnErrorOfTheHub(t *testing.T) {
	w := newWorld(t, kustomization(allAtOnce), cluster("edge-1"), cluster("edge-2"))
	w.push("1", "apps/cm.yaml", configMap("one", "x"))
	whole, broken := w.r.Build, true
	w.r.Build = func(ctx context.Context, t *tree.Tree, o render.Options) (*render.Result, error) {
		if broken {
			return nil, &render.Error{Reason: render.InternalError, Message: "an error of the hub itself", Cause: recovery.FromElsewhere("swordfish", "stack", "render.assemble")}
		}
		return whole(ctx, t, o)
	}
	if _, err := w.try(); err == nil { // which is tried again with growing pauses
		t.Error("no error")
	}
	if got := w.ready() + fmt.Sprint(w.get().Status.Failures); !strings.Contains(got, "InternalError: an error of the hub itself, in render.assemble") || strings.Contains(got, "swordfish") {
		t.Errorf("failures %s", got)
	}
	broken = false
	if _, err := w.try(); err != nil {
		t.Fatal(err)
	}
	expect(t, "revisions", w.revisions(), "edge-1=1 edge-2=1")
}

func TestAHealthCheckThatCannotBeReadChangesNothing(t *testing.T) {
	w := newWorld(t, kustomization(), cluster("edge-1"))
	w.push("1", "apps/web.yaml", configMap("web", "one"))
	w.reconcile()
	w.edit(func(k *v1alpha1.Kustomization) {
		k.Spec.HealthCheckExprs = []v1alpha1.HealthCheckExpressions{{APIVersion: "example.com/v1", Kind: "Widget", Current: "status."}}
	})
	w.push("2", "apps/web.yaml", configMap("web", "two"))
	w.reconcile()
	expect(t, "revisions", w.revisions(), "edge-1=1")
	if ready := w.ready(); !strings.HasPrefix(ready, "False InvalidHealthCheck: spec.healthCheckExprs[0] of Widget.example.com: current: ") {
		t.Errorf("ready: %s", ready)
	}
}
