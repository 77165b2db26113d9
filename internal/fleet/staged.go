package fleet

import (
	"slices"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// staged goes as far through the stages as may be gone now, and says whether that is through all.
func (t *turn) staged() bool {
	if s, cause := t.harm(); s != nil {
		t.status.Stage = s.Name
		t.halt(cause)
		t.goBack()
		return false
	}
	wait := t.trouble()
	over := true // every stage before is done
	for _, s := range t.stages {
		s.begun = t.status.Promoted || s.record.Approved || over && !t.asks(s)
		if s.begun {
			t.launch(s, wait == nil)
			t.finish(s)
		}
		over = over && s.begun && s.record.Done
	}
	if over && t.proven() {
		return true
	}
	t.explain(wait)
	return false
}

// harm returns the first stage in which more clusters failed than may, and says so.
func (t *turn) harm() (*stage, string) {
	if t.heedless() {
		return nil, ""
	}
	var all []*member
	for _, s := range t.stages {
		all = append(all, failures(s.members)...)
	}
	for _, s := range t.stages {
		failed, where := failures(s.members), "stage "+s.Name
		if len(failed) == 0 {
			continue
		}
		if s.Overall {
			failed, where = all, "all stages together"
		}
		if len(failed) > s.MaxFailures.Clusters {
			return s, t.complaint(failed, where, s.MaxFailures.Clusters)
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

// asks says that a person has to let the stage begin. One in which nothing would change does not ask.
func (t *turn) asks(s *stage) bool {
	return s.Spec.Approval == v1alpha1.ApprovalManual && slices.ContainsFunc(s.members, t.starts)
}

// launch starts as many clusters of a stage as may be in flight.
func (t *turn) launch(s *stage, calm bool) {
	room := s.MaxConcurrent.Clusters
	for _, m := range s.members {
		if t.inFlight(m) {
			room--
		}
	}
	unbound := t.status.Promoted || s.record.Approved || t.windows.open(t.now)
	for _, m := range s.members {
		if m.absent() || !t.starts(m) || !calm || room <= 0 {
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

// finish says whether a stage lets the next one begin. It has done so for good once somebody in it
// was seen healthy; where there is nobody, it has for as long as that is so.
func (t *turn) finish(s *stage) {
	r := s.record
	if r.Done {
		return
	}
	present, settled, failing := 0, true, false
	for _, m := range s.members {
		if t.counts(m) {
			present++
			settled = settled && t.settled(m)
			failing = failing || m.Health == Failing && t.inFlight(m)
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
			r.HealthySince = t.moment(t.now)
		}
		until := t.soaksUntil(s)
		r.Done = !t.now.Before(until)
		t.lookAgain(until)
	}
}

// soaksUntil is when a stage that is healthy lets the next one begin. One in which nothing has changed
// has nothing to soak.
func (t *turn) soaksUntil(s *stage) time.Time {
	since := s.record.HealthySince.Time
	if s.Spec.Soak == nil || t.status.Promoted || t.isPassed(s) || !slices.ContainsFunc(s.members, t.touched) {
		return since
	}
	return since.Add(s.Spec.Soak.Duration)
}

// isPassed says that a person has let a later stage begin.
func (t *turn) isPassed(s *stage) bool {
	later := false
	for _, other := range t.stages {
		if later && other.record.Approved {
			return true
		}
		later = later || other == s
	}
	return false
}

// proven says that no present cluster is waited for, and that there is one that has the change: when
// nobody can be reached, every stage is done at once, and nothing is known.
func (t *turn) proven() bool {
	seen := false
	for _, m := range t.members {
		if !t.counts(m) {
			continue
		}
		if !t.settled(m) {
			return false
		}
		seen = seen || m.has()
	}
	return seen
}
