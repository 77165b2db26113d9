package report

import (
	"cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// Availability reports whether a Cluster can be worked on. The roll-up of a Kustomization, the rollout
// planner and its simulator all ask it, so that what holds no rollout holds no lastAppliedRevision either.
type Availability struct {
	// Unreachable means that nothing can be done on it and nothing is known of it now: it does not
	// answer, it answers and must not be worked on (Unauthorized, DuplicateCluster, …), its kubeconfig
	// cannot be used, no agent has connected, or there is no such Cluster. Reason and Message name which.
	Unreachable bool
	// Suspended means that nothing may change on it.
	Suspended bool
	Reason    string
	Message   string
}

// Absent reports whether nothing can move on the cluster now.
func (a Availability) Absent() bool { return a.Unreachable || a.Suspended }

// AvailabilityOf returns the availability of a Cluster, which may be nil. One that was not tried yet is
// available: whether it answers shows within seconds.
func AvailabilityOf(c *v1alpha1.Cluster) Availability {
	if c == nil {
		return Availability{Unreachable: true, Reason: v1alpha1.UnreachableReason, Message: "There is no such Cluster"}
	}
	return availability(c.Spec.Suspend, c.Status.Conditions)
}

func availability(suspended bool, conditions []metav1.Condition) Availability {
	a := Availability{Suspended: suspended}
	reachable, usable := condition(conditions, v1alpha1.ReachableCondition), condition(conditions, v1alpha1.ReadyCondition)
	noAgent := usable.Reason == v1alpha1.AgentNotConnectedReason || usable.Reason == v1alpha1.AgentNotApprovedReason
	if reachable.Status != metav1.ConditionFalse && usable.Status != metav1.ConditionFalse && !noAgent {
		return a
	}
	a.Unreachable = true
	a.Reason, a.Message = usable.Reason, usable.Message
	if a.Reason == "" { // of a Cluster that reports no more than that
		a.Reason, a.Message = cmp.Or(reachable.Reason, v1alpha1.UnreachableReason), reachable.Message
	}
	return a
}
