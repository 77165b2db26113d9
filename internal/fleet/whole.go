package fleet

import (
	"slices"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// catchUp sends a change that is verified to every cluster that does not have it.
func (t *turn) catchUp() {
	t.status.Phase, t.status.Stage, t.status.Message = v1alpha1.RolloutCompleted, "", "the change is verified"
	for _, s := range t.stages {
		s.record.Done = true
	}
	var next []*member
	for _, m := range t.members {
		switch {
		case m.has():
			m.verb = leave
		case m.Unrenderable:
			m.verb, m.reason = hold, cannotRender(m)
		case m.follows():
			m.verb, m.reason = hold, m.Waits
		case t.in.Paused:
			m.verb, m.reason = hold, isPaused
			next = append(next, m)
		default:
			m.verb = start
		}
	}
	if len(next) > 0 {
		t.status.Phase, t.status.Message = v1alpha1.RolloutPaused, "paused; next: "+names(next)
	}
}

// allAtOnce starts every cluster, whether it can be reached or not, and says whether all that can be
// are ready.
func (t *turn) allAtOnce() bool {
	open := t.status.Promoted || t.windows.open(t.now)
	var waits, next []*member
	seen := false
	for _, m := range t.members {
		seen = seen || m.has() && !m.absent()
		if !m.absent() && (!m.has() || m.Health != Healthy) {
			waits = append(waits, m)
		}
		switch {
		case m.has():
			m.verb = leave
		case m.Unrenderable:
			m.reason = cannotRender(m)
		case m.follows():
			m.verb, m.reason = hold, m.Waits
		case t.in.Paused:
			m.reason = isPaused
			next = append(next, m)
		case open || m.Position == Unchanged:
			m.verb = start
		case t.newcomer(m):
			m.verb = catchUp
		default:
			m.reason = t.outside()
			next = append(next, m)
		}
	}
	if seen && len(waits) == 0 {
		return true
	}
	t.status.Stage = ""
	switch {
	case t.in.Paused:
		t.status.Phase, t.status.Message = v1alpha1.RolloutPaused, "paused"
		if len(next) > 0 {
			t.status.Message += "; next: " + names(next)
		}
	case len(next) > 0:
		t.status.Phase, t.status.Message = v1alpha1.RolloutAwaitingWindow, t.outside()
	case len(waits) > 0:
		t.status.Phase, t.status.Message = v1alpha1.RolloutProgressing, waitsFor(waits)
	default:
		t.status.Phase, t.status.Message = v1alpha1.RolloutProgressing, nobody
	}
	return false
}

// goBack starts nothing. Where the change is to be undone, every cluster that has it returns to what
// it had; where it is only halted, those do that are away and have not taken it up yet, so that it
// does not reach them when they are back.
func (t *turn) goBack() {
	undo := t.in.Undo == t.status.ID || t.failure == v1alpha1.FailureRollback ||
		slices.Contains([]v1alpha1.RolloutPhase{v1alpha1.RolloutRollingBack, v1alpha1.RolloutRolledBack}, t.status.Phase)
	returns, waits := 0, 0
	for _, m := range t.members {
		m.verb = hold
		switch {
		case m.has() && m.Returns && (undo || m.absent() && !m.Applied):
			m.verb = giveBack
			if !m.absent() {
				returns++
			}
		case m.has():
			m.verb = leave
		case t.newcomer(m) && !t.in.Paused:
			m.verb = catchUp
		default:
			m.reason = t.stays(m, undo)
			if undo && t.isReturning(m) {
				waits++
				t.lookAgain(t.due(m))
			}
		}
	}
	cause := causeOf(t.status.Message)
	switch {
	case !undo:
		t.status.Phase = v1alpha1.RolloutHalted
	case returns > 0 || waits > 0 && t.status.Phase != v1alpha1.RolloutRolledBack:
		t.status.Phase = v1alpha1.RolloutRollingBack
	default:
		t.status.Phase = v1alpha1.RolloutRolledBack
	}
	t.status.Message = sentence(t.status.Phase, cause)
}

// isReturning says that the cluster was sent back, and is on its way still.
func (t *turn) isReturning(m *member) bool {
	return m.Position == Other && !m.absent() && !m.Since.Before(t.status.StartedAt.Time) &&
		(m.Health == Progressing || m.Health == Failing) && !t.late(m)
}
