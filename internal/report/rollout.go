package report

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// stagedSummary is the message of the rollout, and without one that of the clusters.
func stagedSummary(f KustomizationFacts, all []clusterResult) []metav1.Condition {
	if f.Rollout == nil {
		return summary(f.Revision, all)
	}
	message := Line(f.Rollout.Message)
	switch f.Rollout.Phase {
	case v1alpha1.RolloutHalted, v1alpha1.RolloutRolledBack:
		return []metav1.Condition{
			ready(metav1.ConditionFalse, v1alpha1.RolloutHaltedReason, message),
			v1alpha1.Condition(v1alpha1.StalledCondition, metav1.ConditionTrue, v1alpha1.RolloutHaltedReason, message),
		}
	case v1alpha1.RolloutRollingBack:
		return []metav1.Condition{ready(metav1.ConditionFalse, v1alpha1.RolloutHaltedReason, message), reconciling(v1alpha1.RolloutHaltedReason, message)}
	default:
	}
	held := slices.ContainsFunc(all, func(v clusterResult) bool { return v.held && v.state != isUnreachable })
	if !held {
		return summary(f.Revision, all)
	}
	waits := reconciling(v1alpha1.RolloutWaitingReason, message)
	if failed := of(all, isFailed); len(failed) > 0 {
		return []metav1.Condition{ready(metav1.ConditionFalse, sameReason(failed, v1alpha1.FailedReason), first(failed, len(all), "failed")), waits}
	}
	return []metav1.Condition{ready(metav1.ConditionUnknown, v1alpha1.RolloutWaitingReason, message), waits}
}

// rolloutEvents reports what a rollout came to: another phase or another stage. That one has no stages,
// or has gone through all of them, shows in the conditions of the Kustomization.
func rolloutEvents(old, now *v1alpha1.RolloutStatus) []Event {
	if now == nil || len(now.Stages) == 0 {
		return nil
	}
	if old == nil {
		old = &v1alpha1.RolloutStatus{}
	}
	if old.ID == now.ID && old.Phase == now.Phase && old.Stage == now.Stage {
		return nil
	}
	reason, ok := phaseReasons[now.Phase]
	if !ok {
		return nil // it is completed, or the phase is one of a later version
	}
	return []Event{{Warning: reason == v1alpha1.RolloutHaltedReason, Reason: reason, Message: Line(now.Message)}}
}

// phaseReasons are those of the events about phases. A rollout that is completed has none: its Kustomization is ready.
var phaseReasons = map[v1alpha1.RolloutPhase]string{
	v1alpha1.RolloutHalted:           v1alpha1.RolloutHaltedReason,
	v1alpha1.RolloutRollingBack:      v1alpha1.RolloutHaltedReason,
	v1alpha1.RolloutRolledBack:       v1alpha1.RolloutHaltedReason,
	v1alpha1.RolloutProgressing:      v1alpha1.RolloutProgressingReason,
	v1alpha1.RolloutSoaking:          v1alpha1.RolloutSoakingReason,
	v1alpha1.RolloutAwaitingApproval: v1alpha1.RolloutAwaitingApprovalReason,
	v1alpha1.RolloutAwaitingWindow:   v1alpha1.RolloutAwaitingWindowReason,
	v1alpha1.RolloutPaused:           v1alpha1.RolloutPausedReason,
}
