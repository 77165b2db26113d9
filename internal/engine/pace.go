package engine

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/pacing"
)

// pace reports whether two reports differ, and how long the report may wait while so many passes are
// under way or due.
func pace(before []v1alpha1.AssignmentEntryStatus, after []*v1alpha1.AssignmentEntryStatus, inFlight int) (time.Duration, bool) {
	delay, changed := urgency(before, after)
	if !changed {
		return 0, false
	}
	return pacing.Gather(delay, inFlight, failsMore(before, after)), true
}

// urgency reports whether two reports differ, and how long that may wait.
func urgency(before []v1alpha1.AssignmentEntryStatus, after []*v1alpha1.AssignmentEntryStatus) (time.Duration, bool) {
	if len(before) != len(after) {
		return 0, true
	}
	delay, changed := pacing.SoftDelay, false
	for i := range after {
		a, b := &before[i], after[i]
		if a.Equal(b) {
			continue
		}
		changed = true
		switch {
		case a.Name != b.Name, a.Ready != b.Ready && b.Ready != metav1.ConditionUnknown, a.Removed != b.Removed,
			a.HandledAt != b.HandledAt, a.AppliedRevision != b.AppliedRevision && b.Ready != metav1.ConditionUnknown:
			return 0, true
		// What is applied and not ready yet is mostly ready a moment later, and nothing goes on before it is.
		case a.Ready != b.Ready, a.Reason != b.Reason, a.Message != b.Message, a.Revision != b.Revision, a.AppliedRevision != b.AppliedRevision:
			delay = min(delay, pacing.ProgressDelay)
		}
	}
	return delay, changed
}

// failsMore reports whether more entries are not ready than were, and do not only wait to be.
func failsMore(before []v1alpha1.AssignmentEntryStatus, after []*v1alpha1.AssignmentEntryStatus) bool {
	more := 0
	for i := range before {
		if before[i].Ready == metav1.ConditionFalse {
			more--
		}
	}
	for _, s := range after {
		if s.Ready == metav1.ConditionFalse {
			more++
		}
	}
	return more > 0
}
