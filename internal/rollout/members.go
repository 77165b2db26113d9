package rollout

import (
	"slices"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// absent reports whether nothing can move on the cluster now. No stage waits for an absent cluster, and it
// never counts as failed.
func (m *member) absent() bool { return m.Health == Unreachable || m.Health == Suspended }

// hasChange reports whether the cluster is assigned what the change renders for it.
func (m *member) hasChange() bool { return m.Position == AtTarget && !m.Unrenderable }

// isNew reports whether the cluster has nothing yet and gets the verified revision instead of taking part
// in the rollout.
func (p *planner) isNew(m *member) bool { return m.Position == None && p.status.Verified != nil }

// wouldChange reports whether the change alters the cluster, so that it has to be started in its stage.
func (p *planner) wouldChange(m *member) bool {
	return !m.Unrenderable && !m.follows() && (m.Position == Other || m.Position == None && !p.isNew(m))
}

// follows means that the cluster waits for a dependency to be sent there first. What alters nothing there
// waits for nothing.
func (m *member) follows() bool { return m.Waits != "" && (m.Position == Other || m.Position == None) }

// isUnverified reports whether the cluster has content that was never verified there. Where the content is
// the same as before this change (there is no other one to fall back to), the change cannot have caused
// what is wrong with the cluster now, and it does not count as failed.
func (p *planner) isUnverified(m *member) bool {
	return m.hasChange() && (m.Returns || p.status.Verified == nil || !m.Since.Before(p.status.StartedAt.Time))
}

// deadlineOf returns when the cluster has to be healthy: progressDeadline after it was assigned the change,
// or after it could be reached again, whichever is later.
func (p *planner) deadlineOf(m *member) time.Time {
	from := m.Since
	if from.IsZero() {
		from = p.status.StartedAt.Time
	}
	if m.Back.After(from) {
		from = m.Back
	}
	return from.Add(p.deadline)
}

func (p *planner) deadlineExceeded(m *member) bool { return !p.now.Before(p.deadlineOf(m)) }

// markFailed marks the clusters that the change has failed on. With progressDeadline 10m, a cluster that
// was assigned the change at 12:00 and reports HealthCheckFailed at 12:03 has failed at 12:03; one whose
// apply is refused, which may heal, or that is still progressing, has failed at 12:10.
func (p *planner) markFailed() {
	for _, m := range p.members {
		m.failed = !m.absent() && (m.Unrenderable || p.isUnverified(m) && (m.Health == Failed || m.Health == Failing && p.deadlineExceeded(m)))
	}
	for _, s := range p.stages {
		spared := p.wasHealthyBefore(s)
		for _, m := range s.members {
			m.failed = m.failed || p.isOverdue(m) && !spared
		}
	}
}

// isOverdue reports whether the cluster is still progressing after its deadline.
func (p *planner) isOverdue(m *member) bool {
	return m.Health == Progressing && p.isUnverified(m) && p.deadlineExceeded(m)
}

// wasHealthyBefore reports whether the overdue clusters of the stage had been healthy with the change. A
// cluster that got the change before the whole stage was healthy, and is progressing again (Pods move
// and come back), has not failed to become healthy. Once a cluster of the stage has failed, HealthySince
// does not cover the others any more, and they count as overdue.
func (p *planner) wasHealthyBefore(s *stage) bool {
	since := s.record.HealthySince
	if since == nil || s.hadFailed {
		return false
	}
	return !slices.ContainsFunc(s.members, func(m *member) bool {
		return m.failed || p.isOverdue(m) && p.deadlineOf(m).Add(-p.deadline).After(since.Time)
	})
}

// settled reports whether no stage has to wait for the cluster any more.
func (p *planner) settled(m *member) bool {
	return m.failed || m.hasChange() && (m.Health == Healthy || !p.isUnverified(m))
}

// participates reports whether stages wait for the cluster.
func (p *planner) participates(m *member) bool { return !m.absent() && !p.isNew(m) }

// inFlight reports whether the cluster was started and is neither healthy nor failed yet.
func (p *planner) inFlight(m *member) bool {
	return p.participates(m) && p.isUnverified(m) && !p.settled(m)
}

// ignoresFailures reports whether failures stop nothing: the change was promoted in full, or onFailure is
// Continue.
func (p *planner) ignoresFailures() bool {
	return p.status.Promoted || p.failure == v1alpha1.FailureContinue
}

// firstFailing returns the first cluster that is failing and may still heal. Until it has healed or failed,
// no further cluster is started.
func (p *planner) firstFailing() *member {
	for _, m := range p.members {
		if m.Health == Failing && p.inFlight(m) && !p.ignoresFailures() {
			return m
		}
	}
	return nil
}
