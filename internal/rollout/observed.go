package rollout

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/report"
)

// Observation is what is known of one cluster of a rollout.
type Observation struct {
	Now     time.Time
	Cluster *v1alpha1.Cluster
	// Entry is what the cluster is assigned, and Reported what it reports of that; nil when there is none.
	Entry    *v1alpha1.AssignmentEntry
	Reported *v1alpha1.AssignmentEntryStatus
	// Err is why the hub cannot render the change for the cluster; nil when it can.
	Err error
	// Status is that of the rollout, and Change the id of its change.
	Status *v1alpha1.RolloutStatus
	Change string
}

// Observe takes in what is known of the cluster: how it is towards what it is assigned, and since when it has that.
func (m *Member) Observe(o Observation) {
	m.Health, m.Message = o.health()
	e := o.Entry
	if e == nil || e.Remove {
		return
	}
	m.Applied = o.Reported != nil && o.Reported.AppliedDigest == e.Digest
	m.Returns = Returns(e, o.Status, o.Change)
	switch {
	case o.Reported != nil && o.Reported.Reason == v1alpha1.DependencyNotReadyReason:
		m.Since = o.Now // it has not been able to begin
	case e.AssignedAt != nil:
		m.Since, m.Back = e.AssignedAt.Time, reachableSince(o.Cluster)
	}
}

// health is how the cluster is towards what it is assigned. One that was never heard from is on its way: whether it
// answers shows within seconds, and until then it is neither there nor gone.
func (o Observation) health() (Health, string) {
	can := report.AvailabilityOf(o.Cluster)
	switch {
	case can.Suspended:
		return Suspended, "the cluster is suspended"
	case o.Err != nil:
		return Failed, report.Line(o.Err.Error())
	case can.Unreachable:
		return Unreachable, report.Line(can.Message)
	case o.Entry == nil || o.Reported == nil || !o.attempted():
		return Progressing, ""
	case o.Reported.Ready == metav1.ConditionTrue && o.Reported.AppliedDigest == o.Entry.Digest:
		return Healthy, ""
	case o.Reported.Ready == metav1.ConditionFalse && o.Reported.Reason == v1alpha1.HealthCheckFailedReason:
		return Failed, report.Line(o.Reported.Message)
	case o.Reported.Ready == metav1.ConditionFalse:
		return Failing, report.Line(o.Reported.Message)
	}
	return Progressing, report.Line(o.Reported.Message)
}

// attempted reports whether what is reported is about what is assigned.
func (o Observation) attempted() bool {
	_, digest := o.Reported.Attempted()
	return digest == o.Entry.Digest
}

func reachableSince(c *v1alpha1.Cluster) time.Time {
	if at := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ReachableCondition); at != nil && at.Status == metav1.ConditionTrue {
		return at.LastTransitionTime.Time
	}
	return time.Time{}
}

// NotHereYet describes a dependency, by the status of its rollout, that has not brought its change to a cluster:
// "whose change has not come to this cluster yet".
func NotHereYet(s *v1alpha1.RolloutStatus) string {
	if s != nil && s.Phase != v1alpha1.RolloutProgressing && s.Message != "" {
		return "whose rollout is held: " + report.Line(s.Message)
	}
	return "whose change has not come to this cluster yet"
}
