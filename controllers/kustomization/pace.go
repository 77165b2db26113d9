package kustomization

import (
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/pacing"
)

// cooldown is how long reports wait before they wake a Kustomization: after a roll-up, of which the next mostly counts
// further, and for as long as its status could not be written anyway.
func (r *Reconciler) cooldown(key types.NamespacedName) time.Duration {
	return max(r.rollUps.RepeatDelay(key, pacing.Count), r.writes.RepeatDelay(key, pacing.Decisive))
}

// urgency is that of a status: whether something has come true or false in it, or it only counts further.
func urgency(before, after *v1alpha1.Kustomization) pacing.Urgency {
	if !equality.Semantic.DeepEqual(uncounted(before), uncounted(after)) {
		return pacing.Decisive
	}
	return pacing.Count
}

// uncounted is a status without its progress.
func uncounted(ks *v1alpha1.Kustomization) v1alpha1.KustomizationStatus {
	s := *ks.Status.DeepCopy()
	s.Clusters, s.Objects = v1alpha1.ClusterCounts{Failed: s.Clusters.Failed}, v1alpha1.ObjectCounts{}
	for i := range s.Conditions {
		s.Conditions[i].Message = ""
	}
	if s.Rollout == nil {
		return s
	}
	s.Rollout.Message = ""
	for i := range s.Rollout.Stages {
		stage := &s.Rollout.Stages[i]
		stage.Updated, stage.Ready = 0, 0
	}
	return s
}
