package kustomization

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

const intoTheHub = "apiVersion: v1\nkind: Secret\nmetadata: {name: edge-1, namespace: the-hubs}\nstringData: {value: x}\n"

func TestABundleThatWouldChangeTheHubIsNotAssignedToIt(t *testing.T) {
	pushed := func(c *v1alpha1.Cluster) {
		c.Spec.KubeConfig = &v1alpha1.KubeConfig{SecretRef: meta.SecretKeyReference{Name: "edge-1"}}
	}
	w := newWorld(t, kustomization(allAtOnce), cluster("own"), cluster("edge-1", pushed))
	w.r.HubNamespace = "the-hubs"
	w.push("1", "apps/cm.yaml", configMap("one", "x"))
	w.reconcile()
	if got := w.revisions(); got != "edge-1=1 own=1" {
		t.Fatalf("revisions %s", got)
	}
	w.push("2", "apps/cm.yaml", configMap("one", "y"), "apps/secret.yaml", intoTheHub)
	w.reconcile()
	if got := w.revisions(); got != "edge-1=2 own=1" {
		t.Errorf("revisions %s", got)
	}
	failures := w.get().Status.Failures
	if len(failures) != 1 || failures[0].Cluster != "own" || failures[0].Reason != v1alpha1.NotPermittedReason || !strings.Contains(failures[0].Message, "the-hubs/edge-1 is in the hub's namespace") {
		t.Errorf("failures %+v", failures)
	}
}

func TestWhoseAccountAKustomizationHas(t *testing.T) {
	w := newWorld(t, kustomization(allAtOnce), cluster("own"))
	w.r.HubNamespace, w.r.DefaultServiceAccount = "the-hubs", "default-one"
	w.push("1", "apps/cm.yaml", configMap("one", "x"))
	w.reconcile()
	if got := w.entry("own").ServiceAccountName; got != "default-one" {
		t.Errorf("without one: %q", got)
	}
	w.edit(func(ks *v1alpha1.Kustomization) { ks.Spec.ServiceAccountName = "its-own" })
	w.reconcile()
	if got := w.entry("own"); got.ServiceAccountName != "its-own" {
		t.Errorf("with one: %+v", got)
	}
	w.edit(func(ks *v1alpha1.Kustomization) { ks.Spec.ServiceAccountName = "" })
	w.r.HubNamespace = key.Namespace
	w.reconcile()
	if got := w.entry("own").ServiceAccountName; got != "" {
		t.Errorf("the hub's administrator: %q", got)
	}
}

// What a hub that is locked down has assigned in the name of an account never gets the rights of the credentials, for
// which an agent would take an entry without an account: not while it stays, not when it leaves, and not when the
// Kustomization is gone.
func TestAnEntryKeepsItsAccountWhereNoRightsAreLent(t *testing.T) {
	for what, change := range map[string]func(w *world){
		"another commit": func(w *world) { w.push("2", "apps/cm.yaml", configMap("one", "y")) },
		"it leaves": func(w *world) {
			w.edit(func(ks *v1alpha1.Kustomization) {
				ks.Spec.Clusters = &v1alpha1.ClusterTargets{Names: []string{"other"}}
			})
		},
		"it is deleted": func(w *world) {
			if err := w.client.Delete(t.Context(), w.get()); err != nil {
				t.Fatal(err)
			}
		},
		"it is gone": func(w *world) {
			w.edit(func(ks *v1alpha1.Kustomization) { ks.Finalizers = nil })
			if err := w.client.Delete(t.Context(), w.get()); err != nil {
				t.Fatal(err)
			}
		},
	} {
		w := newWorld(t, kustomization(allAtOnce, func(ks *v1alpha1.Kustomization) { ks.Spec.ServiceAccountName = "its-own" }), cluster("own"), cluster("other"))
		w.r.HubNamespace, w.r.RequireServiceAccount = "the-hubs", true
		w.push("1", "apps/cm.yaml", configMap("one", "x"))
		w.reconcile()
		w.edit(func(ks *v1alpha1.Kustomization) { ks.Spec.ServiceAccountName = "" })
		change(w)
		w.reconcile()
		if got := w.entry("own"); got == nil || got.ServiceAccountName != "its-own" {
			t.Errorf("%s: entry %+v", what, got)
		}
	}
}

// A hub that is locked down lends its rights to nobody on its own cluster. What is there stays; the edges of the
// namespace are its own.
func TestWithoutAnAccountNothingIsAssignedToTheHubsOwnCluster(t *testing.T) {
	pushed := func(c *v1alpha1.Cluster) {
		c.Spec.KubeConfig = &v1alpha1.KubeConfig{SecretRef: meta.SecretKeyReference{Name: "edge-1"}}
	}
	w := newWorld(t, kustomization(allAtOnce), cluster("own"), cluster("edge-1", pushed))
	w.r.HubNamespace = "the-hubs"
	w.push("1", "apps/cm.yaml", configMap("one", "x"))
	w.reconcile()
	w.r.RequireServiceAccount = true
	w.push("2", "apps/cm.yaml", configMap("one", "y"))
	w.reconcile()
	if got := w.revisions(); got != "edge-1=2 own=1" {
		t.Errorf("revisions %s", got)
	}
	failures := w.get().Status.Failures
	if len(failures) != 1 || failures[0].Cluster != "own" || failures[0].Reason != v1alpha1.ServiceAccountRequiredReason {
		t.Errorf("failures %+v", failures)
	}
	w.edit(func(ks *v1alpha1.Kustomization) { ks.Spec.ServiceAccountName = "its-own" })
	w.reconcile()
	if got := w.revisions(); got != "edge-1=2 own=2" {
		t.Errorf("with an account: revisions %s", got)
	}
}

// An entry without an account is assigned as one that is refused, so that an agent, which knows nothing of the hub's
// flags, does not go on with rights of its own.
func TestAnEntryThatNeedsAnAccountIsReported(t *testing.T) {
	w := newWorld(t, kustomization(allAtOnce), cluster("own"))
	w.r.HubNamespace = "the-hubs"
	w.push("1", "apps/cm.yaml", configMap("one", "x"))
	w.reconcile()
	if w.entry("own").RequireServiceAccount {
		t.Error("it is refused on a hub that is not locked down")
	}
	w.r.RequireServiceAccount = true
	w.reconcile()
	if got := w.entry("own"); !got.RequireServiceAccount || got.Revision != "main@sha1:1" {
		t.Errorf("locked down: %+v", got)
	}
	w.edit(func(ks *v1alpha1.Kustomization) { ks.Spec.ServiceAccountName = "its-own" })
	w.reconcile()
	if got := w.entry("own"); got.RequireServiceAccount || got.ServiceAccountName != "its-own" {
		t.Errorf("with an account: %+v", got)
	}
}

// The removal of a Kustomization waits for an account that cannot delete its objects, says what would help, and leaves
// them in the end: nothing deletes them with other rights, and it does not wait for ever.
func TestARemovalThatAnAccountCannotCarryOut(t *testing.T) {
	denied := func(s *v1alpha1.AssignmentEntryStatus) {
		s.Removed, s.Ready, s.Reason, s.Message = false, metav1.ConditionFalse, v1alpha1.ServiceAccountNotFoundReason, "there is no ServiceAccount"
	}
	begin := func() *world {
		w := newWorld(t, kustomization(allAtOnce, func(ks *v1alpha1.Kustomization) { ks.Spec.ServiceAccountName = "its-own" }), cluster("own"))
		w.push("1", "apps/cm.yaml", configMap("one", "x"))
		w.reconcile()
		w.answer("own")
		if err := w.client.Delete(t.Context(), w.get()); err != nil {
			t.Fatal(err)
		}
		w.now = w.get().DeletionTimestamp.Time
		w.reconcile()
		w.answer("own", denied)
		return w
	}
	w := begin()
	w.now = w.now.Add(time.Minute)
	if result, err := w.try(); err != nil || result.RequeueAfter != 4*time.Minute {
		t.Errorf("looks again after %s, %v", result.RequeueAfter, err)
	}
	w.reconcile()
	if got := w.ready(); !strings.HasPrefix(got, "False ServiceAccountNotFound: ") || !strings.Contains(got, "there is no ServiceAccount") || !strings.Contains(got, "set spec.deletionPolicy to Orphan") {
		t.Errorf("ready %s", got)
	}
	if got := w.entry("own").DeletionPolicy; got != v1alpha1.DeletionDelete {
		t.Errorf("policy %s", got)
	}
	for len(w.events.Events) > 0 {
		<-w.events.Events
	}
	w.now = w.now.Add(4 * time.Minute)
	w.funcs.Patch = func(_ context.Context, _ client.WithWatch, _ client.Object, _ client.Patch, _ ...client.PatchOption) error {
		return errors.New("the API server is away")
	}
	for range 2 {
		if _, err := w.try(); err == nil {
			t.Error("the write did not fail")
		}
	}
	if len(w.events.Events) > 0 {
		t.Errorf("told before it is written: %s", <-w.events.Events)
	}
	w.funcs.Patch = nil
	w.reconcile()
	if got := w.entry("own").DeletionPolicy; got != v1alpha1.DeletionOrphan {
		t.Errorf("policy %s when the time is over", got)
	}
	if got := <-w.events.Events; !strings.Contains(got, "Warning Released") || !strings.Contains(got, "stays there, unmanaged") || !strings.Contains(got, "there is no ServiceAccount") {
		t.Errorf("event %s", got)
	}
	w.answer("own", func(s *v1alpha1.AssignmentEntryStatus) { s.Removed, s.Reason = false, v1alpha1.ProgressingReason })
	w.reconcile()
	if got := w.entry("own").DeletionPolicy; got != v1alpha1.DeletionOrphan {
		t.Errorf("policy %s on the way", got)
	}

	w = begin()
	w.edit(func(ks *v1alpha1.Kustomization) { ks.Spec.DeletionPolicy = v1alpha1.DeletionOrphan })
	w.reconcile()
	if got := w.entry("own").DeletionPolicy; got != v1alpha1.DeletionOrphan {
		t.Errorf("policy %s, as asked for", got)
	}
}

// What was reported before a hub was there to remove the Kustomization is no answer to the removal, however long ago the
// Kustomization was deleted.
func TestARemovalThatBeginsLateGivesNothingUpAtOnce(t *testing.T) {
	w := newWorld(t, kustomization(allAtOnce, func(ks *v1alpha1.Kustomization) { ks.Spec.ServiceAccountName = "its-own" }), cluster("own"))
	w.push("1", "apps/cm.yaml", configMap("one", "x"))
	w.reconcile()
	w.answer("own", func(s *v1alpha1.AssignmentEntryStatus) {
		s.Ready, s.Reason = metav1.ConditionFalse, v1alpha1.ForbiddenReason
	})
	if err := w.client.Delete(t.Context(), w.get()); err != nil {
		t.Fatal(err)
	}
	w.now = w.get().DeletionTimestamp.Add(6 * time.Minute)
	for range 3 {
		w.reconcile()
	}
	if got := w.entry("own"); !got.Remove || got.DeletionPolicy != v1alpha1.DeletionDelete {
		t.Errorf("%+v", got)
	}
	w.now = w.now.Add(5 * time.Minute)
	w.reconcile()
	if got := w.entry("own").DeletionPolicy; got != v1alpha1.DeletionOrphan {
		t.Errorf("policy %s when the time is over", got)
	}
}
