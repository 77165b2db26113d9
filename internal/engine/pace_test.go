package engine

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/pacing"
)

func TestPace(t *testing.T) {
	type status = v1alpha1.AssignmentEntryStatus
	one := func(change func(*status)) []status {
		s := status{Name: "apps", Ready: metav1.ConditionUnknown, Reason: v1alpha1.ProgressingReason, AppliedRevision: "r1"}
		change(&s)
		return []status{s}
	}
	before := one(func(*status) {})
	at := metav1.NewTime(time.Unix(1000, 0))
	tests := map[string]struct {
		after   []status
		alone   time.Duration // with no pass under way
		many    time.Duration // with 200
		nothing bool
	}{
		"nothing":        {after: one(func(*status) {}), nothing: true},
		"a new entry":    {after: append(one(func(*status) {}), status{Name: "more"}), many: pacing.GatherMax},
		"ready":          {after: one(func(s *status) { s.Ready = metav1.ConditionTrue }), many: pacing.GatherMax},
		"applied":        {after: one(func(s *status) { s.AppliedRevision = "r2" }), alone: pacing.ProgressDelay, many: pacing.GatherMax},
		"applied, ready": {after: one(func(s *status) { s.AppliedRevision, s.Ready = "r2", metav1.ConditionTrue }), many: pacing.GatherMax},
		"failed":         {after: one(func(s *status) { s.Ready = metav1.ConditionFalse }), many: pacing.GatherDelay},
		"another reason": {after: one(func(s *status) { s.Reason = v1alpha1.WaitingForHealthReason }), alone: pacing.ProgressDelay, many: pacing.GatherMax},
		"verified again": {after: one(func(s *status) { s.VerifiedAt = &at }), alone: pacing.SoftDelay, many: pacing.GatherMax},
		"drift":          {after: one(func(s *status) { s.Drift++ }), alone: pacing.SoftDelay, many: pacing.GatherMax},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for inFlight, want := range map[int]time.Duration{0: tt.alone, 200: tt.many} {
				got, changed := pace(before, pointers(tt.after), inFlight)
				if changed == tt.nothing || changed && got != want {
					t.Errorf("with %d passes under way: changed %v, waits %s, want %s", inFlight, changed, got, want)
				}
			}
		})
	}
	if got, _ := pace(before, pointers(one(func(s *status) { s.Ready = metav1.ConditionTrue })), 10); got != 10*pacing.GatherEach {
		t.Errorf("with ten passes under way it waits %s", got)
	}
}

func pointers(list []v1alpha1.AssignmentEntryStatus) []*v1alpha1.AssignmentEntryStatus {
	all := make([]*v1alpha1.AssignmentEntryStatus, len(list))
	for i := range list {
		all[i] = &list[i]
	}
	return all
}
