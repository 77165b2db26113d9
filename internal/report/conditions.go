package report

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// settle makes the wanted conditions those of a status: sorted by type, of this generation, with the
// time of the old one where the state is the same.
func settle(old, want []metav1.Condition, generation int64, now time.Time) []metav1.Condition {
	for i := range want {
		c := &want[i]
		c.ObservedGeneration = generation
		c.LastTransitionTime = seconds(now)
		if before := meta.FindStatusCondition(old, c.Type); before != nil && before.Status == c.Status {
			c.LastTransitionTime = before.LastTransitionTime
		}
	}
	slices.SortFunc(want, func(a, b metav1.Condition) int { return cmp.Compare(a.Type, b.Type) })
	return want
}

// seconds is a time as the API keeps it.
func seconds(t time.Time) metav1.Time { return metav1.NewTime(t.Truncate(time.Second)) }

// about returns the conditions that speak of a problem.
func about(p *problem) []metav1.Condition {
	ready := v1alpha1.Condition(v1alpha1.ReadyCondition, metav1.ConditionFalse, p.reason, p.message)
	if p.stalled {
		return []metav1.Condition{ready, v1alpha1.Condition(v1alpha1.StalledCondition, metav1.ConditionTrue, p.reason, p.message)}
	}
	return []metav1.Condition{ready, reconciling(p.reason, p.message)}
}

func reconciling(reason, message string) metav1.Condition {
	return v1alpha1.Condition(v1alpha1.ReconcilingCondition, metav1.ConditionTrue, reason, message)
}

func ready(status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return v1alpha1.Condition(v1alpha1.ReadyCondition, status, reason, message)
}

// condition returns the condition of a type, or one of status Unknown and no reason.
func condition(list []metav1.Condition, kind string) metav1.Condition {
	if c := meta.FindStatusCondition(list, kind); c != nil {
		return *c
	}
	return metav1.Condition{Type: kind, Status: metav1.ConditionUnknown}
}

// changed reports whether Ready has changed in a way that is worth an event: another state or reason.
func changed(old, now []metav1.Condition) bool {
	a, b := condition(old, v1alpha1.ReadyCondition), condition(now, v1alpha1.ReadyCondition)
	return a.Status != b.Status || a.Reason != b.Reason
}
