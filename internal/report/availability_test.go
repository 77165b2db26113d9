package report

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

func TestAvailability(t *testing.T) {
	of := func(suspend bool, ready, reachable, reason string) *v1alpha1.Cluster {
		c := &v1alpha1.Cluster{Spec: v1alpha1.ClusterSpec{Suspend: suspend}}
		if ready != "" {
			c.Status.Conditions = append(c.Status.Conditions, metav1.Condition{Type: v1alpha1.ReadyCondition, Status: metav1.ConditionStatus(ready), Reason: reason})
		}
		if reachable != "" {
			c.Status.Conditions = append(c.Status.Conditions, metav1.Condition{Type: v1alpha1.ReachableCondition, Status: metav1.ConditionStatus(reachable), Reason: reason})
		}
		return c
	}
	for name, tt := range map[string]struct {
		cluster                *v1alpha1.Cluster
		unreachable, suspended bool
		reason                 string
	}{
		"no Cluster":                       {nil, true, false, v1alpha1.UnreachableReason},
		"not tried":                        {of(false, "", "", ""), false, false, ""},
		"tried for the first time":         {of(false, "Unknown", "Unknown", v1alpha1.ProgressingReason), false, false, ""},
		"connected":                        {of(false, "True", "True", v1alpha1.SucceededReason), false, false, ""},
		"it does not answer":               {of(false, "False", "False", v1alpha1.UnreachableReason), true, false, v1alpha1.UnreachableReason},
		"it does not answer, without more": {of(false, "", "False", ""), true, false, v1alpha1.UnreachableReason},
		"it refuses the credentials":       {of(false, "False", "True", v1alpha1.UnauthorizedReason), true, false, v1alpha1.UnauthorizedReason},
		"its kubeconfig cannot be used":    {of(false, "False", "Unknown", v1alpha1.InvalidKubeConfigReason), true, false, v1alpha1.InvalidKubeConfigReason},
		"no agent":                         {of(false, "Unknown", "Unknown", v1alpha1.AgentNotConnectedReason), true, false, v1alpha1.AgentNotConnectedReason},
		"suspended":                        {of(true, "Unknown", "True", v1alpha1.SuspendedReason), false, true, ""},
		"suspended, and does not answer":   {of(true, "False", "False", v1alpha1.UnreachableReason), true, true, v1alpha1.UnreachableReason},
	} {
		got := AvailabilityOf(tt.cluster)
		if got.Unreachable != tt.unreachable || got.Suspended != tt.suspended || got.Reason != tt.reason || got.Absent() != (tt.unreachable || tt.suspended) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
