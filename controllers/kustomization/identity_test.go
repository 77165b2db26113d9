package kustomization

import (
	"context"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// countWrites counts the writes of Assignments.
func (w *world) countWrites() *int {
	n, mu := new(int), sync.Mutex{}
	w.funcs.Patch = func(_ context.Context, _ client.WithWatch, o client.Object, _ client.Patch, _ ...client.PatchOption) error {
		if _, ok := o.(*v1alpha1.Assignment); ok {
			mu.Lock() // Assignments are written side by side
			*n++
			mu.Unlock()
		}
		return nil
	}
	return n
}

// readme pushes a commit that renders what the one before it did.
func (w *world) readme(commit, value string) {
	w.t.Helper()
	w.push(commit, "apps/web.yaml", configMap("web", value), "README.md", commit)
}

func TestCommitThatRendersTheSameWritesNoAssignment(t *testing.T) {
	for name, how := range map[string]func(*v1alpha1.Kustomization){
		"staged": staged, "all at once": func(*v1alpha1.Kustomization) {},
	} {
		t.Run(name, func(t *testing.T) {
			w := verified(t, how)
			writes := w.countWrites()
			w.now = w.now.Add(time.Minute)
			w.readme("2", "one")
			w.reconcile()
			if *writes > 0 {
				t.Errorf("%d writes", *writes)
			}
			expect(t, "ready", w.ready(), "True Succeeded: Applied revision main@sha1:2 on 3 clusters")
			expect(t, "phase", w.phase(), "Completed")
			expect(t, "clusters", w.count()["clusters"], "3 desired, 3 updated, 3 ready, 0 progressing, 0 failed, 0 unreachable")
			if s := w.get().Status; s.LastAppliedRevision != "main@sha1:2" || s.Rollout.Verified.Revision != "main@sha1:2" || s.History[0].Revision != "main@sha1:2" {
				t.Errorf("status: %+v", s)
			}
			w.restart()
			w.reconcile()
			if *writes > 0 {
				t.Errorf("%d writes after a restart", *writes)
			}
		})
	}
}

// TestCommitThatRendersTheSameGoesPastAFailingCluster: that one fails by what it had, which is no fault of
// the commit, and no reason to write to all others.
func TestCommitThatRendersTheSameGoesPastAFailingCluster(t *testing.T) {
	w := verified(t)
	w.now = w.now.Add(time.Hour)
	w.answer("edge-1", sick)
	writes := w.countWrites()
	w.readme("2", "one")
	w.reconcile()
	expect(t, "phase", w.phase(), "Completed")
	if *writes > 0 {
		t.Errorf("%d writes", *writes)
	}
}

func TestUndoGoesBackPastCommitsThatRenderedTheSame(t *testing.T) {
	w := verified(t)
	before := w.entry("edge-1").Digest
	for _, commit := range []string{"2", "3", "4"} {
		w.now = w.now.Add(time.Hour)
		w.readme(commit, "one")
		w.settle()
	}
	w.restart()
	w.now = w.now.Add(time.Hour)
	w.readme("5", "two")
	w.settle()
	expect(t, "revisions", w.revisions(), "edge-1=5 edge-2=5 edge-3=5")
	w.edit(annotate(v1alpha1.RolloutUndoAnnotation, w.change()))
	w.settle()
	expect(t, "undone", w.revisions(), "edge-1=1 edge-2=1 edge-3=1")
	expect(t, "digest", w.entry("edge-1").Digest, before)
	expect(t, "phase", w.phase(), "RolledBack")
}

func TestUndoLeavesClustersThatTheCommitDidNotAlter(t *testing.T) {
	w := newWorld(t, kustomization(staged, func(k *v1alpha1.Kustomization) { k.Spec.Path = "overlays/${cluster_name}" }),
		cluster("edge-1"), cluster("edge-2"), cluster("edge-3"))
	push := func(commit, one, others string) {
		w.now = w.now.Add(time.Hour)
		w.push(commit, "overlays/edge-1/web.yaml", configMap("web", one), "overlays/edge-2/web.yaml", configMap("web", others), "overlays/edge-3/web.yaml", configMap("web", others))
		w.settle()
	}
	push("1", "a", "a")
	push("2", "b", "b")
	writes := w.countWrites()
	push("3", "c", "b")
	expect(t, "revisions", w.revisions(), "edge-1=3 edge-2=2 edge-3=2")
	if *writes != 1 {
		t.Errorf("%d writes for one cluster that is altered", *writes)
	}
	if got := len(w.get().Status.Rendered); got != 1 {
		t.Errorf("%d rendered revisions, with every cluster at the last", got)
	}
	w.edit(annotate(v1alpha1.RolloutUndoAnnotation, w.change()))
	w.settle()
	expect(t, "undone", w.revisions(), "edge-1=2 edge-2=2 edge-3=2")
}

func TestHaltOutlastsACommitThatRendersTheSame(t *testing.T) {
	w := verified(t)
	w.now = w.now.Add(time.Hour)
	w.push("2", "apps/web.yaml", configMap("web", "two"))
	w.reconcile()
	w.answer("edge-1", sick)
	w.reconcile()
	expect(t, "phase", w.phase(), "Halted")
	writes := w.countWrites()
	w.readme("3", "two")
	w.reconcile()
	expect(t, "phase", w.phase(), "Halted")
	expect(t, "revisions", w.revisions(), "edge-1=2 edge-2=1 edge-3=1")
	if *writes > 0 {
		t.Errorf("%d writes", *writes)
	}
	w.edit(annotate(v1alpha1.RolloutUndoAnnotation, w.change()))
	w.settle()
	expect(t, "undone", w.revisions(), "edge-1=1 edge-2=1 edge-3=1")
}

func TestAcknowledgementOutlastsACommitThatRendersTheSame(t *testing.T) {
	w := verified(t)
	for _, revision := range []string{"main@sha1:1", "main@sha1:2"} { // the label of the entries, and what the status shows
		w.readme("2", "one")
		w.settle()
		w.edit(annotate(v1alpha1.AllowPruneAnnotation, revision))
		w.settle()
		if !w.entry("edge-1").AllowPrune {
			t.Fatalf("%s is not taken for an acknowledgement", revision)
		}
		writes := w.countWrites()
		w.readme("3", "one")
		w.settle()
		if !w.entry("edge-1").AllowPrune || *writes > 0 {
			t.Errorf("%s: %d writes, entry %+v", revision, *writes, w.entry("edge-1"))
		}
		w.edit(annotate(v1alpha1.AllowPruneAnnotation, ""))
		w.settle()
		if w.entry("edge-1").AllowPrune {
			t.Errorf("%s: it was withdrawn", revision)
		}
	}
	w.edit(annotate(v1alpha1.AllowPruneAnnotation, "main@sha1:3"))
	w.readme("4", "two")
	w.settle()
	if w.entry("edge-1").AllowPrune {
		t.Error("other objects were not acknowledged")
	}
}
