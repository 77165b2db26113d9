package engine

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/pacing"
)

// pace reports whether two reports differ, and how long the report may wait while so many passes are
// under way or due.
func pace(before, after []v1alpha1.AssignmentEntryStatus, inFlight int) (time.Duration, bool) {
	delay, changed := urgency(before, after)
	if !changed {
		return 0, false
	}
	return pacing.Gather(delay, inFlight, failing(after) > failing(before)), true
}

// urgency reports whether two reports differ, and how long that may wait.
func urgency(before, after []v1alpha1.AssignmentEntryStatus) (time.Duration, bool) {
	if len(before) != len(after) {
		return 0, true
	}
	delay, changed := pacing.SoftDelay, false
	for i := range after {
		a, b := &before[i], &after[i]
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

// failing counts the entries that are not ready, and do not only wait to be.
func failing(report []v1alpha1.AssignmentEntryStatus) int {
	n := 0
	for i := range report {
		if report[i].Ready == metav1.ConditionFalse {
			n++
		}
	}
	return n
}
