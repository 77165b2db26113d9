package fleet

import (
	"slices"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// absent says that nothing can move on the cluster now: no stage waits for it, and it fails nothing.
func (m *member) absent() bool { return m.Health == Unreachable || m.Health == Suspended }

// has says that the cluster was sent the change.
func (m *member) has() bool { return m.Position == AtTarget && !m.Unrenderable }

// newcomer says that the cluster has nothing yet, and may have what is verified instead of taking part.
func (t *turn) newcomer(m *member) bool { return m.Position == None && t.status.Verified != nil }

// starts says that the change would alter the cluster, and does so when its turn comes.
func (t *turn) starts(m *member) bool {
	return !m.Unrenderable && !m.follows() && (m.Position == Other || m.Position == None && !t.newcomer(m))
}

// follows says that the cluster waits for a dependency to be sent there first. What alters nothing there
// waits for nothing.
func (m *member) follows() bool { return m.Waits != "" && (m.Position == Other || m.Position == None) }

// touched says that what the cluster has is not verified there. If it is (it had the same before this
// change, and has nothing to go back to), then what is wrong with it now is not the change's doing.
func (t *turn) touched(m *member) bool {
	return m.has() && (m.Returns || t.status.Verified == nil || !m.Since.Before(t.status.StartedAt.Time))
}

// due is when the cluster has to be healthy.
func (t *turn) due(m *member) time.Time {
	from := m.Since
	if from.IsZero() {
		from = t.status.StartedAt.Time
	}
	if m.Back.After(from) {
		from = m.Back
	}
	return from.Add(t.deadline)
}

func (t *turn) late(m *member) bool { return !t.now.Before(t.due(m)) }

// judge says which clusters the change has failed on.
func (t *turn) judge() {
	for _, m := range t.members {
		m.failed = !m.absent() && (m.Unrenderable || t.touched(m) && (m.Health == Failed || m.Health == Failing && t.late(m)))
	}
	for _, s := range t.stages {
		spared := t.spares(s)
		for _, m := range s.members {
			m.failed = m.failed || t.lags(m) && !spared
		}
	}
}

// lags says that the cluster is on its way for longer than it may.
func (t *turn) lags(m *member) bool { return m.Health == Progressing && t.touched(m) && t.late(m) }

// spares says that those of the stage that lag were healthy before. What was sent before all of the
// stage was healthy and is on its way again (Pods move, and come back) has not failed to become
// healthy. Where some have failed, nobody knows of the others.
func (t *turn) spares(s *stage) bool {
	since := s.record.HealthySince
	if since == nil || s.hadFailed {
		return false
	}
	return !slices.ContainsFunc(s.members, func(m *member) bool {
		return m.failed || t.lags(m) && t.due(m).Add(-t.deadline).After(since.Time)
	})
}

// settled says that the stages need not wait for the cluster any more.
func (t *turn) settled(m *member) bool {
	return m.failed || m.has() && (m.Health == Healthy || !t.touched(m))
}

// counts says that stages wait for the cluster.
func (t *turn) counts(m *member) bool { return !m.absent() && !t.newcomer(m) }

// inFlight says that the cluster was started, and is neither healthy nor failed yet.
func (t *turn) inFlight(m *member) bool { return t.counts(m) && t.touched(m) && !t.settled(m) }

// heedless says that nobody looks at failures.
func (t *turn) heedless() bool { return t.status.Promoted || t.failure == v1alpha1.FailureContinue }

// trouble is the first cluster that fails and may heal still; until that is certain, nobody else is
// started.
func (t *turn) trouble() *member {
	for _, m := range t.members {
		if m.Health == Failing && t.inFlight(m) && !t.heedless() {
			return m
		}
	}
	return nil
}
