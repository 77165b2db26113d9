package kustomization

import (
	"context"
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/hubapi"
)

// tearDown lets what w deletes go with something larger; no reason: with nothing.
func (w *world) tearDown(why string, err error) {
	w.r.TearDown = func(context.Context, hubapi.Subject) (string, error) { return why, err }
}

// assignedOnce is a world in which one cluster has what commit 1 says.
func assignedOnce(t *testing.T, change ...func(*v1alpha1.Kustomization)) *world {
	t.Helper()
	w := newWorld(t, kustomization(append(change, allAtOnce)...), cluster("edge-1"))
	w.push("1", "apps/cm.yaml", configMap("one", "${greeting:=hello}"))
	w.reconcile()
	w.answer("edge-1")
	return w
}

func (w *world) deleteIt() {
	w.t.Helper()
	if err := w.client.Delete(w.t.Context(), w.get()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) gone() bool {
	w.t.Helper()
	return apierrors.IsNotFound(w.client.Get(w.t.Context(), key, &v1alpha1.Kustomization{}))
}

func (w *world) told() string {
	var all []string
	for {
		select {
		case text := <-w.events.Events:
			all = append(all, text)
		default:
			return strings.Join(all, "\n")
		}
	}
}

func TestAKustomizationThatGoesWithItsNamespaceLeavesItsEntries(t *testing.T) {
	w := assignedOnce(t)
	w.tearDown("the namespace fleet is being deleted", nil)
	w.deleteIt()
	w.reconcile()
	if !w.gone() {
		t.Error("its finalizer holds up the namespace")
	}
	if got := w.told(); !strings.Contains(got, "TornDown Let go without a change on any cluster, because the namespace fleet is being deleted") {
		t.Errorf("events:\n%s", got)
	}
	w.reconcile() // woken by what happened to the entry: there is nothing to sweep
	w.reconcile()
	if got := w.revisions(); got != "edge-1=1" {
		t.Errorf("revisions %s", got)
	}
	if got := w.told(); strings.Count(got, "TornDown") != 1 {
		t.Errorf("told more or less than once:\n%s", got)
	}
}

func TestADeletionByAPersonStillPrunes(t *testing.T) {
	w := assignedOnce(t)
	w.tearDown("", nil)
	w.deleteIt()
	w.reconcile()
	if got := w.entry("edge-1"); got == nil || !got.Remove || got.DeletionPolicy != v1alpha1.DeletionDelete {
		t.Errorf("entry %+v", got)
	}
}

func TestNothingIsRemovedWhileItIsNotKnownWhatIsDeleted(t *testing.T) {
	w := assignedOnce(t)
	w.tearDown("", errors.New("cannot tell: forbidden"))
	w.deleteIt()
	if _, err := w.try(); err == nil {
		t.Error("it is not tried again")
	}
	if got := w.revisions(); got != "edge-1=1" || w.gone() {
		t.Errorf("revisions %s", got)
	}
	if got := w.told(); !strings.Contains(got, "cannot tell: forbidden") {
		t.Errorf("events:\n%s", got)
	}
}

// A namespace that goes takes Secrets and ConfigMaps first. Those that are optional are then missing
// without an error, and the render without them would be another one.
func TestOptionalVariablesThatGoWithTheirNamespaceChangeNothing(t *testing.T) {
	w := newWorld(t, kustomization(allAtOnce, func(ks *v1alpha1.Kustomization) {
		ks.Spec.PostBuild = &v1alpha1.PostBuild{SubstituteFrom: []v1alpha1.SubstituteReference{{Kind: "ConfigMap", Name: "settings", Optional: true}}}
	}), settings(map[string]string{"greeting": "hi"}), cluster("edge-1"))
	w.push("1", "apps/cm.yaml", configMap("one", "${greeting:=hello}"))
	w.reconcile()
	w.answer("edge-1")
	before := w.bundle("edge-1")
	w.tearDown("the namespace fleet is being deleted", nil)
	if err := w.client.Delete(t.Context(), settings(nil)); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if got := w.bundle("edge-1"); got != before {
		t.Errorf("assigned anew:\n%s", got)
	}
	w.tearDown("", nil)
	w.reconcile()
	if got := w.bundle("edge-1"); !strings.Contains(got, "hello") {
		t.Errorf("a person's deletion counts for nothing:\n%s", got)
	}
}

func TestEntriesOlderThanTheirDefinitionAreNotSwept(t *testing.T) {
	w := assignedOnce(t)
	var asked []hubapi.Subject
	w.r.TearDown = func(_ context.Context, s hubapi.Subject) (string, error) {
		asked = append(asked, s)
		return "", nil
	}
	w.edit(func(k *v1alpha1.Kustomization) { k.Finalizers = nil })
	w.deleteIt()
	w.reconcile()
	if got := w.entry("edge-1"); got == nil || !got.Remove || got.DeletionPolicy != v1alpha1.DeletionOrphan {
		t.Errorf("entry %+v", got)
	}
	if len(asked) != 1 || !asked[0].Created.Equal(w.now) || asked[0].Plural != "kustomizations" {
		t.Errorf("asked about %+v, assigned at %s", asked, w.now)
	}
}
