package kustomization

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/pacing"
	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/tree"
)

func TestOnlyCountsWaitToBeWritten(t *testing.T) {
	status := func() *v1alpha1.Kustomization {
		return &v1alpha1.Kustomization{Status: v1alpha1.KustomizationStatus{
			Clusters:   v1alpha1.ClusterCounts{Desired: 24, Ready: 3, Progressing: 21},
			Conditions: []metav1.Condition{{Type: v1alpha1.ReadyCondition, Status: metav1.ConditionUnknown, Reason: v1alpha1.ProgressingReason, Message: "3 of 24"}},
			Rollout:    &v1alpha1.RolloutStatus{Stage: "rest", Message: "3/24", Stages: []v1alpha1.RolloutStageStatus{{Name: "rest", Clusters: 24, Ready: 3}}},
		}}
	}
	const cooldown = 20 * 40 * time.Millisecond // 24 clusters, of which 4 are free
	tests := map[string]struct {
		clusters int
		since    time.Duration // the last write
		change   func(*v1alpha1.KustomizationStatus)
		want     time.Duration
	}{
		"counts": {24, cooldown / 4, func(s *v1alpha1.KustomizationStatus) {
			s.Clusters.Ready, s.Objects.Ready, s.Conditions[0].Message, s.Rollout.Message, s.Rollout.Stages[0].Ready = 4, 9, "4 of 24", "4/24", 4
		}, cooldown * 3 / 4},
		"counts, after cooldown": {24, cooldown, func(s *v1alpha1.KustomizationStatus) { s.Clusters.Ready = 4 }, 0},
		"counts of a few":        {4, 0, func(s *v1alpha1.KustomizationStatus) { s.Clusters.Ready = 4 }, 0},
		"counts of very many":    {5000, time.Second, func(s *v1alpha1.KustomizationStatus) { s.Clusters.Ready = 4 }, 2*time.Second - time.Second},
		"never written":          {24, 1000 * time.Hour, func(s *v1alpha1.KustomizationStatus) { s.Clusters.Ready = 4 }, 0},
		"a clock set back":       {24, -time.Hour, func(s *v1alpha1.KustomizationStatus) { s.Clusters.Ready = 4 }, 0},
		"a failure":              {24, 0, func(s *v1alpha1.KustomizationStatus) { s.Clusters.Failed = 1 }, 0},
		"ready":                  {24, 0, func(s *v1alpha1.KustomizationStatus) { s.Conditions[0].Status = metav1.ConditionTrue }, 0},
		"another reason":         {24, 0, func(s *v1alpha1.KustomizationStatus) { s.Conditions[0].Reason = v1alpha1.RolloutHaltedReason }, 0},
		"another stage":          {24, 0, func(s *v1alpha1.KustomizationStatus) { s.Rollout.Stage = "more" }, 0},
		"a stage that is done":   {24, 0, func(s *v1alpha1.KustomizationStatus) { s.Rollout.Stages[0].Done = true }, 0},
		"a revision":             {24, 0, func(s *v1alpha1.KustomizationStatus) { s.LastAppliedRevision = "r" }, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before, after := status(), status()
			tt.change(&after.Status)
			now := time.Unix(10_000_000, 0)
			last := pacing.Last{Ended: now.Add(-tt.since)}
			if got := pacing.KustomizationStatus.Wait(last, tt.clusters, urgency(before, after), now); got != tt.want {
				t.Errorf("waits %s, want %s", got, tt.want)
			}
		})
	}
}

// TestARenderDoesNotDelayTheRollUp: what the clusters report after a commit is rolled up at once, however
// long the commit took to render and to assign.
func TestARenderDoesNotDelayTheRollUp(t *testing.T) {
	w := newWorld(t, kustomization(), cluster("edge-1"))
	w.push("1", "apps/a.yaml", configMap("a", "1"))
	build := w.r.Build
	w.r.Build = func(ctx context.Context, files *tree.Tree, o render.Options) (*render.Result, error) {
		w.now = w.now.Add(5 * time.Second)
		return build(ctx, files, o)
	}
	w.funcs.Patch = func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
		w.now = w.now.Add(2 * time.Second)
		return nil
	}
	w.reconcile()
	w.push("2", "apps/a.yaml", configMap("a", "2"))
	w.reconcile()
	if cooldown := w.r.cooldown(key); cooldown != 0 {
		t.Errorf("the roll-up waits %s after a commit that was slow to render and to assign", cooldown)
	}
	w.funcs.Get = func(ctx context.Context, c client.WithWatch, k client.ObjectKey, o client.Object, opts ...client.GetOption) error {
		if _, ok := o.(*v1alpha1.GitRepository); ok {
			w.now = w.now.Add(100 * time.Millisecond)
		}
		return c.Get(ctx, k, o, opts...)
	}
	w.reconcile()
	if cooldown, want := w.r.cooldown(key), pacing.RollUp.Cooldown(100*time.Millisecond, 1, pacing.Count); cooldown != want || want == 0 {
		t.Errorf("after a roll-up of 100 ms over a cluster the next waits %s, want %s", cooldown, want)
	}
	w.now = w.now.Add(time.Second)
	if cooldown := w.r.cooldown(key); cooldown != 0 {
		t.Errorf("a roll-up whose cooldown is over waits %s", cooldown)
	}
}

// TestReportsOfManyClustersAreRolledUpTogether: most of them only count further.
func TestReportsOfManyClustersAreRolledUpTogether(t *testing.T) {
	for clusters, want := range map[int]time.Duration{20: 0, 50: 150 * time.Millisecond, 70: 200 * time.Millisecond} {
		objects := []client.Object{kustomization()}
		for i := range clusters {
			objects = append(objects, cluster(fmt.Sprintf("edge-%d", i)))
		}
		w := newWorld(t, objects...)
		w.push("1", "apps/a.yaml", configMap("a", "1"))
		w.reconcile()
		w.now = w.now.Add(time.Minute)
		if cooldown := w.r.cooldown(key); cooldown != 0 {
			t.Errorf("%d clusters: the first report waits %s", clusters, cooldown)
		}
		w.reconcile()
		if cooldown := w.r.cooldown(key); cooldown != want {
			t.Errorf("%d clusters: after a roll-up the next report waits %s, want %s", clusters, cooldown, want)
		}
	}
}
