package kustomization

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// TestEditOfIgnoreRendersAnew: it is a change like a commit, although the revision is the same.
func TestEditOfIgnoreRendersAnew(t *testing.T) {
	w := newWorld(t, kustomization(), cluster("edge-1"))
	w.push("1", "apps/web.yaml", configMap("web", "one"), "apps/notes.yaml", configMap("notes", "two"))
	w.reconcile()
	if got := w.bundle("edge-1"); !strings.Contains(got, `"notes"`) {
		t.Fatalf("bundle %s", got)
	}
	w.answer("edge-1")
	w.reconcile()

	source := &v1alpha1.GitRepository{}
	if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: "fleet", Name: "config"}, source); err != nil {
		t.Fatal(err)
	}
	before, ignore := source.DeepCopy(), "notes.yaml"
	source.Spec.Ignore = &ignore
	if err := w.client.Update(t.Context(), source); err != nil {
		t.Fatal(err)
	}
	if !sourceChanged().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: source}) {
		t.Error("the edit wakes no Kustomization")
	}
	w.reconcile()
	if got := w.bundle("edge-1"); strings.Contains(got, `"notes"`) || !strings.Contains(got, `"web"`) {
		t.Errorf("bundle %s", got)
	}
}

// TestSourceNewsIsNotEveryEdit: another interval is no reason to reconcile.
func TestSourceNewsIsNotEveryEdit(t *testing.T) {
	before := &v1alpha1.GitRepository{ObjectMeta: metav1.ObjectMeta{Name: "config"}}
	after := before.DeepCopy()
	after.Spec.Suspend = true
	if sourceChanged().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after}) {
		t.Error("an edit that changes no render wakes the Kustomizations")
	}
}
