package rollout

import (
	"slices"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// catchUp sends a verified change to every cluster that does not have it.
func (p *planner) catchUp() {
	p.status.Phase, p.status.Stage, p.status.Message = v1alpha1.RolloutCompleted, "", "the change is verified"
	for _, s := range p.stages {
		s.record.Done = true
	}
	var next []*member
	for _, m := range p.members {
		switch {
		case m.hasChange():
			m.verb = leave
		case m.Unrenderable:
			m.verb, m.reason = hold, cannotRender(m)
		case m.follows():
			m.verb, m.reason = hold, m.Waits
		case p.in.Paused:
			m.verb, m.reason = hold, isPaused
			next = append(next, m)
		default:
			m.verb = start
		}
	}
	if len(next) > 0 {
		p.status.Phase, p.status.Message = v1alpha1.RolloutPaused, "paused; next: "+names(next)
	}
}

// allAtOnce starts every cluster, reachable or not, and reports whether all reachable ones are ready.
func (p *planner) allAtOnce() bool {
	open := p.status.Promoted || p.windows.open(p.now)
	var waits, next []*member
	seen := false
	for _, m := range p.members {
		seen = seen || m.hasChange() && !m.absent()
		if !m.absent() && (!m.hasChange() || m.Health != Healthy) {
			waits = append(waits, m)
		}
		switch {
		case m.hasChange():
			m.verb = leave
		case m.Unrenderable:
			m.reason = cannotRender(m)
		case m.follows():
			m.verb, m.reason = hold, m.Waits
		case p.in.Paused:
			m.reason = isPaused
			next = append(next, m)
		case open:
			m.verb = start
		case p.isNew(m):
			m.verb = catchUp
		default:
			m.reason = p.windowMessage()
			next = append(next, m)
		}
	}
	if seen && len(waits) == 0 {
		return true
	}
	p.status.Stage = ""
	switch {
	case p.in.Paused:
		p.status.Phase, p.status.Message = v1alpha1.RolloutPaused, "paused"
		if len(next) > 0 {
			p.status.Message += "; next: " + names(next)
		}
	case len(next) > 0:
		p.status.Phase, p.status.Message = v1alpha1.RolloutAwaitingWindow, p.windowMessage()
	case len(waits) > 0:
		p.status.Phase, p.status.Message = v1alpha1.RolloutProgressing, waitsFor(waits)
	default:
		p.status.Phase, p.status.Message = v1alpha1.RolloutProgressing, noReachableCluster
	}
	return false
}

// rollBack starts nothing. Where the change is to be undone, every cluster that has it returns to what
// it had; where it is only halted, those do that are away and have not taken it up yet, so that it
// does not reach them when they are back.
func (p *planner) rollBack() {
	undo := p.in.Undo == p.status.ID || p.failure == v1alpha1.FailureRollback ||
		slices.Contains([]v1alpha1.RolloutPhase{v1alpha1.RolloutRollingBack, v1alpha1.RolloutRolledBack}, p.status.Phase)
	returns, waits := 0, 0
	for _, m := range p.members {
		m.verb = hold
		switch {
		case m.hasChange() && m.Returns && (undo || m.absent() && !m.Applied):
			m.verb = revert
			if !m.absent() {
				returns++
			}
		case m.hasChange():
			m.verb = leave
		case p.isNew(m) && !p.in.Paused:
			m.verb = catchUp
		default:
			m.reason = p.haltedReason(m, undo)
			if undo && p.isReturning(m) {
				waits++
				p.recheckAt(p.deadlineOf(m))
			}
		}
	}
	switch {
	case !undo:
		p.status.Phase = v1alpha1.RolloutHalted
	case returns > 0 || waits > 0 && p.status.Phase != v1alpha1.RolloutRolledBack:
		p.status.Phase = v1alpha1.RolloutRollingBack
	default:
		p.status.Phase = v1alpha1.RolloutRolledBack
	}
	p.status.Message = phaseMessage(p.status.Phase, p.status.Cause)
}

// isReturning reports whether the cluster was sent back to its fallback and is not healthy with it yet.
func (p *planner) isReturning(m *member) bool {
	return m.Position == Other && !m.absent() && !m.Since.Before(p.status.StartedAt.Time) &&
		(m.Health == Progressing || m.Health == Failing) && !p.deadlineExceeded(m)
}
