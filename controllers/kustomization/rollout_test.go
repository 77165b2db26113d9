package kustomization

import (
	"context"
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// staged is the default: nothing is said of a rollout.
func staged(k *v1alpha1.Kustomization) { k.Spec.Rollout = nil }

func rollsBack(k *v1alpha1.Kustomization) {
	k.Spec.Rollout = &v1alpha1.Rollout{OnFailure: v1alpha1.FailureRollback}
}

func annotate(name, value string) func(*v1alpha1.Kustomization) {
	return func(k *v1alpha1.Kustomization) {
		if k.Annotations == nil {
			k.Annotations = map[string]string{}
		}
		k.Annotations[name] = value
	}
}

func sick(s *v1alpha1.AssignmentEntryStatus) {
	s.Ready, s.Reason, s.Message = "False", v1alpha1.HealthCheckFailedReason, "Deployment.apps apps/web: failed"
}

// verified is a world of three clusters on which commit 1 went through all its stages.
func verified(t *testing.T, change ...func(*v1alpha1.Kustomization)) *world {
	t.Helper()
	w := newWorld(t, kustomization(append([]func(*v1alpha1.Kustomization){staged}, change...)...), cluster("edge-1"), cluster("edge-2"), cluster("edge-3"))
	w.push("1", "apps/web.yaml", configMap("web", "one"))
	w.settle()
	expect(t, "revisions", w.revisions(), "edge-1=1 edge-2=1 edge-3=1")
	expect(t, "phase", w.phase(), "Completed")
	return w
}

// settle lets every cluster do what it is told until nothing moves.
func (w *world) settle() {
	w.t.Helper()
	for range 10 {
		w.reconcile()
		for _, name := range []string{"edge-1", "edge-2", "edge-3"} {
			if w.entry(name) != nil {
				w.answer(name)
			}
		}
	}
	w.reconcile()
}

func (w *world) phase() string {
	w.t.Helper()
	if r := w.get().Status.Rollout; r != nil {
		return string(r.Phase)
	}
	return ""
}

func (w *world) change() string { return w.get().Status.Rollout.ID }

func TestAChangeGoesFromStageToStage(t *testing.T) {
	w := verified(t)
	w.push("2", "apps/web.yaml", configMap("web", "two"))
	w.reconcile()
	expect(t, "canary", w.revisions(), "edge-1=2 edge-2=1 edge-3=1")
	w.reconcile()
	expect(t, "nothing new", w.revisions(), "edge-1=2 edge-2=1 edge-3=1")
	w.answer("edge-1")
	w.reconcile()
	expect(t, "a tenth", w.revisions(), "edge-1=2 edge-2=2 edge-3=1")
	w.answer("edge-2")
	w.reconcile()
	expect(t, "the rest", w.revisions(), "edge-1=2 edge-2=2 edge-3=2")
	w.answer("edge-3")
	w.reconcile()
	expect(t, "ready", w.ready(), "True Succeeded: Applied revision main@sha1:2 on 3 clusters")
	if e := w.entry("edge-3"); e.Fallback == nil || e.Fallback.Revision != "main@sha1:1" || e.Change != w.change() {
		t.Errorf("entry: %+v", e)
	}
}

func TestAFailureHaltsTheChangeAcrossRestarts(t *testing.T) {
	w := verified(t)
	w.push("2", "apps/web.yaml", configMap("web", "two"))
	w.reconcile()
	w.answer("edge-1", sick)
	w.reconcile()
	expect(t, "phase", w.phase(), "Halted")
	w.restart()
	w.settle() // the canary heals: that alone lets nothing go on
	expect(t, "revisions", w.revisions(), "edge-1=2 edge-2=1 edge-3=1")
	if got := w.get().Status.Conditions; len(got) != 2 || got[1].Type != v1alpha1.StalledCondition {
		t.Errorf("conditions: %+v", got)
	}
	w.push("3", "apps/web.yaml", configMap("web", "three"))
	w.settle()
	expect(t, "a newer commit", w.revisions(), "edge-1=3 edge-2=3 edge-3=3")
}

func TestPromoteLetsAHaltedChangeGoOn(t *testing.T) {
	w := verified(t)
	w.push("2", "apps/web.yaml", configMap("web", "two"))
	w.reconcile()
	w.answer("edge-1", sick)
	w.reconcile()
	w.edit(annotate(v1alpha1.RolloutPromoteAnnotation, w.change()+"/*"))
	w.settle()
	expect(t, "revisions", w.revisions(), "edge-1=2 edge-2=2 edge-3=2")
}

func TestRollbackNeedsNoGit(t *testing.T) {
	w := verified(t, rollsBack)
	before := w.entry("edge-1").Digest
	w.push("2", "apps/web.yaml", configMap("web", "two"))
	w.reconcile()
	delete(w.commits, "1")
	w.answer("edge-1", sick)
	w.reconcile()
	w.settle()
	expect(t, "revisions", w.revisions(), "edge-1=1 edge-2=1 edge-3=1")
	expect(t, "digest", w.entry("edge-1").Digest, before)
	expect(t, "phase", w.phase(), "RolledBack")
}

func TestUndoGoesBackToWhatWasVerifiedBefore(t *testing.T) {
	w := verified(t)
	w.push("2", "apps/web.yaml", configMap("web", "two"))
	w.settle()
	expect(t, "revisions", w.revisions(), "edge-1=2 edge-2=2 edge-3=2")
	w.edit(annotate(v1alpha1.RolloutUndoAnnotation, w.change()))
	w.settle()
	expect(t, "undone", w.revisions(), "edge-1=1 edge-2=1 edge-3=1")
	expect(t, "phase", w.phase(), "RolledBack")
}

// TestWhatAChangeDoesNotAlterIsNotUndone: commit 3 renders to what commit 2 did, and so there is nothing
// to go back from; least of all to commit 1.
func TestWhatAChangeDoesNotAlterIsNotUndone(t *testing.T) {
	w := verified(t)
	w.push("2", "apps/web.yaml", configMap("web", "two"))
	w.settle()
	has := w.entry("edge-1").Digest
	w.push("3", "apps/web.yaml", configMap("web", "two"))
	w.reconcile()
	expect(t, "nothing is sent", w.revisions(), "edge-1=2 edge-2=2 edge-3=2")
	w.settle()
	w.edit(annotate(v1alpha1.RolloutUndoAnnotation, w.change()))
	w.settle()
	expect(t, "phase", w.phase(), "RolledBack")
	expect(t, "digest", w.entry("edge-1").Digest, has)
}

func TestWhoWentBackCanGoBackAgain(t *testing.T) {
	w := verified(t, rollsBack)
	before := w.entry("edge-1").Digest
	for _, commit := range []string{"2", "3"} {
		w.push(commit, "apps/web.yaml", configMap("web", commit))
		w.reconcile()
		w.answer("edge-1", sick)
		w.reconcile()
		w.settle()
		expect(t, "revisions", w.revisions(), "edge-1=1 edge-2=1 edge-3=1")
		expect(t, "digest", w.entry("edge-1").Digest, before)
	}
}

// TestAHaltIsRecordedBeforeAnybodyReturns: a hub that stops after clusters went back, and before it
// said why, would send them the change again.
func TestAHaltIsRecordedBeforeAnybodyReturns(t *testing.T) {
	w := verified(t, rollsBack)
	w.push("2", "apps/web.yaml", configMap("web", "two"))
	w.reconcile()
	w.answer("edge-1", sick)
	result, err := w.try()
	if err != nil || result.RequeueAfter <= 0 || result.RequeueAfter > time.Second {
		t.Errorf("again in %v, %v", result.RequeueAfter, err)
	}
	expect(t, "phase", w.phase(), "RollingBack")
	expect(t, "recorded", w.revisions(), "edge-1=2 edge-2=1 edge-3=1")
	w.reconcile()
	expect(t, "returned", w.revisions(), "edge-1=1 edge-2=1 edge-3=1")
}

func TestPausedStartsNothing(t *testing.T) {
	w := verified(t)
	w.edit(annotate(v1alpha1.RolloutPausedAnnotation, "true"))
	w.push("2", "apps/web.yaml", configMap("web", "two"))
	w.settle()
	expect(t, "revisions", w.revisions(), "edge-1=1 edge-2=1 edge-3=1")
	w.edit(annotate(v1alpha1.RolloutPausedAnnotation, ""))
	w.settle()
	expect(t, "resumed", w.revisions(), "edge-1=2 edge-2=2 edge-3=2")
}

func TestANewClusterGetsWhatIsVerified(t *testing.T) {
	w := verified(t)
	w.push("2", "apps/web.yaml", configMap("web", "two"))
	w.reconcile()
	w.create(cluster("edge-4"))
	w.reconcile()
	expect(t, "revisions", w.revisions(), "edge-1=2 edge-2=1 edge-3=1 edge-4=1")
	if got, want := w.bundle("edge-4"), w.bundle("edge-2"); got != want {
		t.Errorf("edge-4 has\n%s\nwant\n%s", got, want)
	}
	w.answer("edge-4")
	w.answer("edge-1", sick)
	w.reconcile()
	w.create(cluster("edge-5"))
	w.reconcile()
	expect(t, "while halted", w.revisions(), "edge-1=2 edge-2=1 edge-3=1 edge-4=1 edge-5=1")
}

// TestAStopBetweenAnyTwoWritesLosesNothing kills the hub after each write of a rollout in turn.
func TestAStopBetweenAnyTwoWritesLosesNothing(t *testing.T) {
	for stop := range 12 {
		w := verified(t)
		w.push("2", "apps/web.yaml", configMap("web", "two"))
		left := stop
		died := errors.New("the hub died")
		w.funcs.Patch = func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
			if left--; left < 0 {
				return died
			}
			return nil
		}
		for range 6 {
			_, _ = w.try()
			for _, name := range []string{"edge-1", "edge-2", "edge-3"} {
				w.answer(name)
			}
		}
		w.funcs.Patch = nil
		w.restart()
		w.settle()
		expect(t, "revisions", w.revisions(), "edge-1=2 edge-2=2 edge-3=2")
		expect(t, "phase", w.phase(), "Completed")
		for _, name := range []string{"edge-1", "edge-2", "edge-3"} {
			if e := w.entry(name); e.Fallback == nil || e.Fallback.Revision != "main@sha1:1" {
				t.Errorf("after %d writes, %s goes back to %+v", stop, name, e.Fallback)
			}
		}
	}
}

func TestAWaitEndsByTime(t *testing.T) {
	w := verified(t)
	w.edit(func(k *v1alpha1.Kustomization) {
		k.Spec.Rollout = &v1alpha1.Rollout{Stages: []v1alpha1.RolloutStage{stage("first", 1, time.Minute), stage("others", 0, 0)}}
	})
	w.push("2", "apps/web.yaml", configMap("web", "two"))
	w.settle()
	expect(t, "soaking", w.revisions(), "edge-1=2 edge-2=1 edge-3=1")
	result, err := w.try()
	if err != nil || result.RequeueAfter <= 0 || result.RequeueAfter > time.Minute {
		t.Errorf("again in %v, %v", result.RequeueAfter, err)
	}
	w.now = w.now.Add(time.Minute + time.Second)
	w.settle()
	expect(t, "soaked", w.revisions(), "edge-1=2 edge-2=2 edge-3=2")
}

func stage(name string, size int, soak time.Duration) v1alpha1.RolloutStage {
	s := v1alpha1.RolloutStage{Name: name}
	if size > 0 {
		n := intstr.FromInt32(int32(size))
		s.Size = &n
	}
	if soak > 0 {
		s.Soak = &metav1.Duration{Duration: soak}
	}
	return s
}

// TestHowDriftAndPruneAreHandledIsNotStaged: it reaches all clusters at once, as it changes no object that Git
// describes, and a person who stops corrections in an emergency means all of them.
func TestHowDriftAndPruneAreHandledIsNotStaged(t *testing.T) {
	w := verified(t)
	w.edit(func(k *v1alpha1.Kustomization) {
		k.Spec.Drift = &v1alpha1.Drift{Mode: v1alpha1.DriftReport}
		k.Spec.Ignore = []v1alpha1.IgnoreRule{{Paths: []string{"/data"}}}
		k.Spec.MaxPrune = new(intstr.FromInt32(1))
	})
	w.reconcile()
	for _, name := range []string{"edge-1", "edge-2", "edge-3"} {
		e := w.entry(name)
		if e.Drift.GetMode() != v1alpha1.DriftReport || len(e.Drift.Rules()) != 1 || e.MaxPrune == nil || e.MaxPrune.IntValue() != 1 {
			t.Errorf("%s: drift %+v, maxPrune %v", name, e.Drift, e.MaxPrune)
		}
	}
	expect(t, "phase", w.phase(), "Completed")
}
