package report_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/report"
)

// A removal that is denied to an account waits for a person, and not for ever.
func TestHowLongARemovalWaitsForAnAccount(t *testing.T) {
	const gracePeriod = 5 * time.Minute
	deleted := time.Unix(10000, 0)
	reached := func(status metav1.ConditionStatus, after time.Duration) *v1alpha1.Cluster {
		c := &v1alpha1.Cluster{}
		c.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ReachableCondition, Status: status, LastTransitionTime: metav1.NewTime(deleted.Add(after))}}
		return c
	}
	reports := func(reason string) *v1alpha1.AssignmentEntryStatus {
		return &v1alpha1.AssignmentEntryStatus{Ready: metav1.ConditionFalse, Reason: reason}
	}
	for name, tt := range map[string]struct {
		policy   v1alpha1.DeletionPolicy
		stays    bool
		reported *v1alpha1.AssignmentEntryStatus
		cluster  *v1alpha1.Cluster
		after    time.Duration
		since    time.Duration // when the process began with it
		want     report.Denial
	}{
		"it waits":                          {reported: reports(v1alpha1.ServiceAccountNotFoundReason), after: time.Minute, want: report.Denial{Until: deleted.Add(gracePeriod)}},
		"a right is missing":                {reported: reports(v1alpha1.ForbiddenReason), after: time.Minute, want: report.Denial{Until: deleted.Add(gracePeriod)}},
		"the wait is over":                  {reported: reports(v1alpha1.ServiceAccountNotFoundReason), after: gracePeriod, want: report.Denial{GivenUp: true}},
		"the account came back":             {reported: reports(v1alpha1.DeletionPendingReason), after: gracePeriod},
		"the cluster was away":              {reported: reports(v1alpha1.ForbiddenReason), cluster: reached(metav1.ConditionTrue, 4*time.Minute), after: 8 * time.Minute, want: report.Denial{Until: deleted.Add(9 * time.Minute)}},
		"no hub was running":                {reported: reports(v1alpha1.ForbiddenReason), since: 6 * time.Minute, after: 6 * time.Minute, want: report.Denial{Until: deleted.Add(11 * time.Minute)}},
		"given up, and started anew":        {policy: v1alpha1.DeletionOrphan, reported: reports(v1alpha1.ForbiddenReason), since: 6 * time.Minute, after: 6 * time.Minute, want: report.Denial{GivenUp: true}},
		"the cluster is away":               {reported: reports(v1alpha1.ForbiddenReason), cluster: reached(metav1.ConditionFalse, 0), after: time.Hour},
		"given up, and away since":          {policy: v1alpha1.DeletionOrphan, cluster: reached(metav1.ConditionFalse, 0), after: time.Hour, want: report.Denial{GivenUp: true}},
		"given up, and nothing reported":    {policy: v1alpha1.DeletionOrphan, after: time.Hour, want: report.Denial{GivenUp: true}},
		"a policy that was changed in time": {policy: v1alpha1.DeletionOrphan, after: time.Minute},
		"it is removed":                     {reported: &v1alpha1.AssignmentEntryStatus{Removed: true, Reason: v1alpha1.ForbiddenReason}, after: time.Hour},
		"it is not to be removed":           {stays: true, reported: reports(v1alpha1.ForbiddenReason), after: time.Hour},
	} {
		e := &v1alpha1.AssignmentEntry{Remove: !tt.stays, DeletionPolicy: tt.policy}
		if tt.cluster == nil {
			tt.cluster = reached(metav1.ConditionTrue, -time.Hour)
		}
		r := report.Deletion{Deleted: deleted, Since: deleted.Add(tt.since), Now: deleted.Add(tt.after), GracePeriod: gracePeriod}
		if got := report.DenialOf(e, tt.reported, tt.cluster, r); got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}
