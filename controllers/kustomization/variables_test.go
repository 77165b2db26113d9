package kustomization

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/kustomize"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

func allAtOnce(ks *v1alpha1.Kustomization) {
	ks.Spec.Rollout = &v1alpha1.Rollout{Strategy: v1alpha1.RolloutAllAtOnce}
}

func substituting(ks *v1alpha1.Kustomization) {
	ks.Spec.PostBuild = &v1alpha1.PostBuild{Substitute: map[string]string{"fleet": "shops"}}
}

func varsFrom(refs ...string) func(*v1alpha1.Cluster) {
	return func(c *v1alpha1.Cluster) {
		for _, ref := range refs {
			kind, name, _ := strings.Cut(ref, "/")
			name, optional := strings.CutSuffix(name, "?")
			c.Spec.VarsFrom = append(c.Spec.VarsFrom, v1alpha1.SubstituteReference{Kind: kind, Name: name, Optional: optional})
		}
	}
}

func settings(data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: "settings"}, Data: data}
}

func TestVarsFromOfTheCluster(t *testing.T) {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: "keys"},
		Data:       map[string][]byte{"token": []byte("swordfish"), "tls.crt": []byte("x")},
	}
	w := newWorld(t, kustomization(allAtOnce, substituting), settings(map[string]string{"region": "north"}), secret,
		cluster("edge-1", varsFrom("ConfigMap/settings", "Secret/keys")),
		cluster("edge-2", varsFrom("ConfigMap/nobody?")),
		cluster("edge-3", varsFrom("ConfigMap/missing")))
	w.push("1", "apps/cm.yaml", configMap("one", "${region:=none} ${token:=none} ${cluster_name}"))
	w.reconcile()
	if got := w.revisions(); got != "edge-1=1 edge-2=1" {
		t.Errorf("revisions %s", got)
	}
	if got := w.bundle("edge-1"); !strings.Contains(got, "north swordfish edge-1") {
		t.Errorf("edge-1 gets %s", got)
	}
	if got := w.bundle("edge-2"); !strings.Contains(got, "none none edge-2") {
		t.Errorf("edge-2 gets %s", got)
	}
	failures := fmt.Sprint(w.get().Status.Failures)
	if want := "[{edge-3 SubstitutionFailed there is no ConfigMap missing, which varsFrom of the Cluster names}]"; failures != want {
		t.Errorf("failures %s", failures)
	}

	// A new version renders again, without a new commit.
	config := settings(nil)
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(config), config); err != nil {
		t.Fatal(err)
	}
	config.Data["region"] = "south"
	if err := w.client.Update(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if got := w.bundle("edge-1"); !strings.Contains(got, "south swordfish edge-1") {
		t.Errorf("edge-1 gets %s after the change", got)
	}
}

func TestNoSecretOfAClusterIsPartOfAPath(t *testing.T) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: "keys"}, Data: map[string][]byte{"token": []byte("swordfish")}}
	w := newWorld(t, kustomization(allAtOnce, func(ks *v1alpha1.Kustomization) { ks.Spec.Path = "./${token}" }), secret,
		cluster("edge-1", varsFrom("Secret/keys")))
	w.push("1", "swordfish/cm.yaml", configMap("one", "x"))
	w.reconcile()
	if got, want := w.ready(), `False SubstitutionFailed: path "./${token}": variable "token" comes from a Secret and cannot be part of a path`; got != want {
		t.Errorf("ready: %s", got)
	}
}

func TestAThousandClustersReadAnObjectOnce(t *testing.T) {
	objects := []client.Object{kustomization(allAtOnce, substituting), settings(map[string]string{"region": "north"})}
	for i := range 1000 {
		objects = append(objects, cluster(fmt.Sprintf("edge-%03d", i), varsFrom("ConfigMap/settings")))
	}
	w := newWorld(t, objects...)
	reads := 0
	w.funcs.Get = func(ctx context.Context, c client.WithWatch, k client.ObjectKey, o client.Object, opts ...client.GetOption) error {
		if _, whole := o.(*corev1.ConfigMap); whole {
			reads++
		}
		return c.Get(ctx, k, o, opts...)
	}
	w.push("1", "apps/cm.yaml", configMap("one", "${region}"))
	w.reconcile()
	w.reconcile()
	if reads != 1 {
		t.Errorf("%d reads", reads)
	}
	if got := strings.Count(w.revisions(), "=1"); got != 1000 {
		t.Errorf("%d clusters have it", got)
	}
	if stats := w.cache.Stats(); stats.Renders != 1 || stats.Substitutions != 1 {
		t.Errorf("%d renders, %d substitutions", stats.Renders, stats.Substitutions)
	}
}

func TestPatchesAndImagesOfSomeClusters(t *testing.T) {
	arm := &metav1.LabelSelector{MatchLabels: map[string]string{"arch": "arm64"}}
	w := newWorld(t, kustomization(allAtOnce, func(ks *v1alpha1.Kustomization) {
		ks.Spec.Patches = []v1alpha1.Patch{{ClusterSelector: arm, Patch: kustomize.Patch{Patch: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one, namespace: apps}\ndata: {value: patched}"}}}
	}), cluster("edge-1"), cluster("edge-2", func(c *v1alpha1.Cluster) { c.Labels = map[string]string{"arch": "arm64"} }))
	w.push("1", "apps/cm.yaml", configMap("one", "plain"))
	w.reconcile()
	if one, two := w.bundle("edge-1"), w.bundle("edge-2"); !strings.Contains(one, "plain") || !strings.Contains(two, "patched") {
		t.Errorf("edge-1 gets %sedge-2 gets %s", one, two)
	}
	before := w.revisions()
	digest := w.entry("edge-2").Digest

	// A selector that cannot be read changes nothing anywhere.
	w.push("2", "apps/cm.yaml", configMap("one", "newer"))
	w.edit(func(ks *v1alpha1.Kustomization) {
		ks.Spec.Patches[0].ClusterSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "arch", Operator: "Near"}}}
	})
	w.reconcile()
	if got, want := w.ready(), `False InvalidSelector: cannot read spec.patches[0].clusterSelector: "Near" is not a valid label selector operator`; got != want {
		t.Errorf("ready: %s", got)
	}
	if w.revisions() != before || w.entry("edge-2").Digest != digest {
		t.Errorf("revisions %s", w.revisions())
	}

	// A label that changes changes what the cluster gets.
	w.edit(func(ks *v1alpha1.Kustomization) { ks.Spec.Patches[0].ClusterSelector = arm })
	c := cluster("edge-2")
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(c), c); err != nil {
		t.Fatal(err)
	}
	c.Labels = nil
	if err := w.client.Update(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if got := w.bundle("edge-2"); !strings.Contains(got, "newer") {
		t.Errorf("edge-2 gets %s", got)
	}
}

func TestVariablesWakeWhoTakesThem(t *testing.T) {
	substitutes := func(ks *v1alpha1.Kustomization) {
		ks.Spec.PostBuild = &v1alpha1.PostBuild{SubstituteFrom: []v1alpha1.SubstituteReference{{Kind: "ConfigMap", Name: "settings"}}}
	}
	onNorth := selectingRegion("north")
	w := newWorld(t, named("direct", selectingRegion("none"), substitutes), named("by-cluster", onNorth), named("by-another", selectingRegion("south")),
		named("by-name", func(ks *v1alpha1.Kustomization) {
			ks.Spec.Clusters = &v1alpha1.ClusterTargets{Names: []string{"edge-1"}}
		}),
		cluster("edge-1", inRegion("north"), varsFrom("ConfigMap/settings", "Secret/keys")), cluster("edge-2", inRegion("south"), varsFrom("Secret/settings")))
	h := w.r.variableHandler("ConfigMap")
	before, after := settings(nil), settings(map[string]string{"a": "b"})
	expect(t, "woken by the ConfigMap", woken(t, update(h, t, before, after)), "by-cluster by-name direct")
	expect(t, "woken by a Secret of its name", woken(t, update(w.r.variableHandler("Secret"), t, before, after)), "by-another")
}
