package rollout

import (
	"slices"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// staged starts what the stages allow now, and reports whether all of them are done and the change is
// verified.
func (p *planner) staged() bool {
	if s, cause := p.exceededFailureBudget(); s != nil {
		p.status.Stage = s.Name
		p.halt(cause)
		p.rollBack()
		return false
	}
	wait := p.firstFailing()
	over := true // every stage before is done
	for _, s := range p.stages {
		s.begun = p.status.Promoted || s.record.Approved || over && !p.needsApproval(s)
		if s.begun {
			p.startClusters(s, wait == nil)
			p.completeStage(s)
		}
		over = over && s.begun && s.record.Done
	}
	if over && p.canBeVerified() {
		return true
	}
	p.decideRest()
	p.explainHolds(wait)
	return false
}

// decideRest decides about the clusters that the stages do not start now. A pause holds those that they
// would.
func (p *planner) decideRest() {
	for _, m := range p.members {
		m.paused = m.verb == start && p.in.Paused
		switch {
		case m.verb == start && !p.in.Paused:
		case m.hasChange():
			m.verb = leave
		case p.isNew(m) && !m.Unrenderable && !p.in.Paused && (!m.follows() || m.absent()):
			m.verb = catchUp
		default:
			m.verb = hold
		}
	}
}

// exceededFailureBudget returns the first stage in which more clusters failed than its budget allows, and
// the message for it. With maxFailures 2 % of a stage of 150 clusters the budget is 3, so the fourth
// failure halts. Without stages of its own a rollout has one budget for all stages together: it halts at
// the second failure, or at 5 %, whichever is less.
func (p *planner) exceededFailureBudget() (*stage, string) {
	if p.ignoresFailures() {
		return nil, ""
	}
	var all []*member
	for _, s := range p.stages {
		all = append(all, failures(s.members)...)
	}
	for _, s := range p.stages {
		failed, where := failures(s.members), "stage "+s.Name
		if len(failed) == 0 {
			continue
		}
		if s.Overall {
			failed, where = all, "all stages together"
		}
		if len(failed) > s.MaxFailures.Clusters {
			return s, p.budgetMessage(failed, where, s.MaxFailures.Clusters)
		}
	}
	return nil, ""
}

func failures(members []*member) []*member {
	var failed []*member
	for _, m := range members {
		if m.failed {
			failed = append(failed, m)
		}
	}
	return failed
}

// needsApproval reports whether the stage waits for a person. A stage in which no cluster would change needs
// no approval.
func (p *planner) needsApproval(s *stage) bool {
	return s.Spec.Approval == v1alpha1.ApprovalManual && slices.ContainsFunc(s.members, p.wouldChange)
}

// startClusters starts clusters of a stage until maxConcurrent of them are in flight: with maxConcurrent 5
// and 3 in flight, two more. mayStart is false while a cluster is failing.
func (p *planner) startClusters(s *stage, mayStart bool) {
	room := s.MaxConcurrent.Clusters
	for _, m := range s.members {
		if p.inFlight(m) {
			room--
		}
	}
	unbound := p.status.Promoted || s.record.Approved || p.windows.open(p.now)
	for _, m := range s.members {
		if m.absent() || !p.wouldChange(m) || !mayStart || room <= 0 {
			continue
		}
		if !unbound {
			s.closed = true
			continue
		}
		m.verb = start
		room--
	}
}

// completeStage marks a stage as done when every cluster that participates is settled and the soak is
// over. A stage that was seen healthy stays done. A stage without a reachable cluster is done only for
// as long as it has none.
func (p *planner) completeStage(s *stage) {
	r := s.record
	if r.Done {
		return
	}
	present, settled, failing := 0, true, false
	for _, m := range s.members {
		if p.participates(m) {
			present++
			settled = settled && p.settled(m)
			failing = failing || m.Health == Failing && p.inFlight(m)
		}
	}
	switch {
	case present == 0 && r.HealthySince == nil:
		r.Done = true
	case !settled && failing:
		r.HealthySince = nil // the soak begins anew
	case !settled:
	default:
		if r.HealthySince == nil {
			r.HealthySince = p.seconds(p.now)
		}
		until := p.soaksUntil(s)
		r.Done = !p.now.Before(until)
		p.recheckAt(until)
	}
}

// soaksUntil returns when a healthy stage is done. A stage in which nothing has changed does not soak.
func (p *planner) soaksUntil(s *stage) time.Time {
	since := s.record.HealthySince.Time
	if s.Spec.Soak == nil || p.status.Promoted || p.isPassed(s) || !slices.ContainsFunc(s.members, p.isUnverified) {
		return since
	}
	return since.Add(s.Spec.Soak.Duration)
}

// isPassed reports whether a person has approved a later stage, which ends the soak of this one.
func (p *planner) isPassed(s *stage) bool {
	later := false
	for _, other := range p.stages {
		if later && other.record.Approved {
			return true
		}
		later = later || other == s
	}
	return false
}

// canBeVerified reports whether every cluster that participates is settled and at least one of them has the
// change. Without the second condition a moment in which no cluster can be reached would verify the
// change, because every stage is done then.
func (p *planner) canBeVerified() bool {
	seen := false
	for _, m := range p.members {
		if !p.participates(m) {
			continue
		}
		if !p.settled(m) {
			return false
		}
		seen = seen || m.hasChange()
	}
	return seen
}
