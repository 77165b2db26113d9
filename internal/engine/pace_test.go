package engine

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
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
		alone   time.Duration // with no pass afoot
		many    time.Duration // with 200
		nothing bool
	}{
		"nothing":        {after: one(func(*status) {}), nothing: true},
		"a new entry":    {after: append(one(func(*status) {}), status{Name: "more"}), many: gatherMax},
		"ready":          {after: one(func(s *status) { s.Ready = metav1.ConditionTrue }), many: gatherMax},
		"applied":        {after: one(func(s *status) { s.AppliedRevision = "r2" }), many: gatherMax},
		"failed":         {after: one(func(s *status) { s.Ready = metav1.ConditionFalse }), many: gatherDelay},
		"another reason": {after: one(func(s *status) { s.Reason = v1alpha1.WaitingForHealthReason }), alone: progressDelay, many: gatherMax},
		"verified again": {after: one(func(s *status) { s.VerifiedAt = &at }), alone: softDelay, many: gatherMax},
		"drift":          {after: one(func(s *status) { s.Drift++ }), alone: softDelay, many: gatherMax},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for afoot, want := range map[int]time.Duration{0: tt.alone, 200: tt.many} {
				got, changed := pace(before, tt.after, afoot)
				if changed == tt.nothing || changed && got != want {
					t.Errorf("with %d passes afoot: changed %v, waits %s, want %s", afoot, changed, got, want)
				}
			}
		})
	}
	if got, _ := pace(before, one(func(s *status) { s.Ready = metav1.ConditionTrue }), 10); got != 10*gatherEach {
		t.Errorf("with ten passes afoot it waits %s", got)
	}
}
