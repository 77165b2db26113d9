package cli

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/apply"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// TestWhatIsGivenBackIsAnothersAlone: what goes from the manifests of the one that has it again goes from the object.
func TestWhatIsGivenBackIsAnothersAlone(t *testing.T) {
	c := clientOf(t, controlplane.Shared(t))
	key := client.ObjectKey{Namespace: "default", Name: "given-back"}
	applyAs := func(manager string, data map[string]any, labels map[string]any) {
		t.Helper()
		o := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": key.Name, "namespace": key.Namespace, "labels": labels}, "data": data,
		}}
		if err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o), client.FieldOwner(manager), client.ForceOwnership); err != nil {
			t.Fatal(err)
		}
	}
	giveBack := func() *corev1.ConfigMap {
		t.Helper()
		live := &metav1.PartialObjectMetadata{}
		live.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
		if err := c.Get(t.Context(), key, live); err != nil {
			t.Fatal(err)
		}
		if err := apply.GiveBack(t.Context(), c, live, "kustomize-controller"); err != nil {
			t.Fatal(err)
		}
		after := &corev1.ConfigMap{}
		if err := c.Get(t.Context(), key, after); err != nil {
			t.Fatal(err)
		}
		return after
	}
	both := map[string]any{"stays": "1", "goes": "1"}
	applyAs("skerry.apps.x", both, map[string]any{v1alpha1.OwnerLabel: "apps.x"})
	if kept := giveBack(); kept.ManagedFields[0].Manager != "skerry.apps.x" {
		t.Errorf("it is given back while the hub keeps it: %+v", kept.ManagedFields)
	}
	applyAs("skerry.apps.x", both, nil)
	given := giveBack()
	if len(given.Data) != 2 || len(given.ManagedFields) != 1 || given.ManagedFields[0].Manager != "kustomize-controller" {
		t.Errorf("%v %+v", given.Data, given.ManagedFields)
	}
	if again := giveBack(); again.ResourceVersion != given.ResourceVersion {
		t.Error("it was written again")
	}
	applyAs("kustomize-controller", map[string]any{"stays": "1"}, nil)
	if after := giveBack(); len(after.Data) != 1 {
		t.Errorf("what goes from the manifests stays: %v", after.Data)
	}
}
