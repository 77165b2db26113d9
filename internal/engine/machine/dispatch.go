package machine

import (
	"cmp"
	"slices"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// Priority is the priority with which a slot is asked for: urgent ones are granted first.
type Priority int

// Priorities, the highest first.
const (
	Urgent Priority = iota
	Normal
	priorities
)

func (l Priority) String() string { return [...]string{"urgent", "normal"}[l] }

func (en *Entry) priority() Priority {
	if en.urgent {
		return Urgent
	}
	return Normal
}

// slots are those among the passes of all clusters that the engine has or waits for.
type slots struct {
	waiting [priorities]int
	granted int
}

// dispatch begins the passes that are due, as many as may be under way: on this cluster, and on all of
// them together. The entry whose last pass began longest ago comes first, so that an entry which is
// always due keeps no other from its own.
func (m *Machine) dispatch(now time.Time) {
	if m.fenced || m.stopping || !m.conn.mayWork() {
		if m.slots != (slots{}) {
			m.slots = slots{}
			m.do(ReleaseSlots{Waiting: true})
		}
		return
	}
	var missing [priorities]int
	for _, en := range m.dueEntries(now) {
		if len(m.inFlight)+missing[Urgent]+missing[Normal] >= PassesAtOnce {
			break
		}
		switch {
		case en.state == Preparing:
		case en.prepared != m.assignments+1:
			m.prepare(en)
		case en.Blocked != "" && !en.lastGood:
			en.state, en.due = Blocked, Due{}
		case m.acquire(en.priority(), missing):
			m.do(en.begin(m, now))
		default:
			missing[en.priority()]++
		}
	}
	if m.slots.granted > 0 {
		m.slots.granted = 0
		m.do(ReleaseSlots{})
	}
}

// isDue reports whether a pass is due.
func (m *Machine) isDue(en *Entry, now time.Time) bool {
	return !en.running() && m.conn.session != 0 && !en.Spec.Suspend && !en.due.At.IsZero() && !now.Before(en.due.At)
}

// dueEntries returns the entries of which a pass is due, in the order of their turns.
func (m *Machine) dueEntries(now time.Time) []*Entry {
	var due []*Entry
	for _, en := range m.sorted {
		m.reconsider(en, now)
		m.block(en, now)
		if m.isDue(en, now) {
			due = append(due, en)
		}
	}
	slices.SortStableFunc(due, func(a, b *Entry) int { return cmp.Compare(a.lastPass, b.lastPass) })
	return due
}

// reconsider makes a pass due of an entry that keeps objects for others, when what others desire has
// changed.
func (m *Machine) reconsider(en *Entry, now time.Time) {
	if en.desires == m.desires || en.running() {
		return
	}
	refused := en.Reason == v1alpha1.PruneHeldReason
	if !refused && !en.retains {
		return
	}
	en.desires = m.desires
	if refused {
		en.Result = Pending
	}
	en.require(OthersChanged, now)
}

// block names the dependency that an entry waits for. What is on the cluster already does not wait again.
func (m *Machine) block(en *Entry, now time.Time) {
	blocked := ""
	if !en.Matches() && !en.Spec.Remove {
		for _, name := range en.Spec.DependsOn {
			if dep := m.entries[name]; dep == nil || dep.Result == Pending || !dep.Ready {
				blocked = name
				break
			}
		}
	}
	if blocked == en.Blocked {
		return
	}
	en.Changed = true
	if en.Blocked = blocked; blocked == "" {
		en.require(DependencyReady, now)
	}
}

// prepare has the bundles read that the pass of an entry needs.
func (m *Machine) prepare(en *Entry) {
	if m.preparing >= preparingAtOnce {
		return
	}
	m.preparing++
	en.attempt++
	en.state = Preparing
	m.do(Prepare{Name: en.Spec.Name, Attempt: en.attempt})
}

// cancelPreparation forgets what was read for the pass of an entry, and does not wait for the rest.
func (m *Machine) cancelPreparation(en *Entry) {
	en.prepared = 0
	if en.state != Preparing {
		return
	}
	en.state = Idle
	en.attempt++
	m.preparing--
}

// preparedEntry takes the end of a preparation.
func (m *Machine) preparedEntry(e Prepared, now time.Time) {
	en := m.entries[e.Name]
	if en == nil || en.state != Preparing || en.attempt != e.Attempt {
		return
	}
	m.preparing--
	en.state = Idle
	if e.Reason == "" {
		en.prepared, en.lastGood = m.assignments+1, e.LastGood
		return
	}
	en.tries++
	en.Reason, en.Changed = e.Reason, true
	en.due = Due{now.Add(m.jitter(Backoff(en.tries, unreadRetry))), Retry}
}

// acquire takes a slot, or asks for one unless as many are asked for as are missing.
func (m *Machine) acquire(l Priority, missing [priorities]int) bool {
	if m.slots.granted > 0 {
		m.slots.granted--
		return true
	}
	if m.slots.waiting[l] <= missing[l] {
		m.slots.waiting[l]++
		m.do(RequestSlot{Priority: l})
	}
	return false
}

// passDone takes the end of a pass.
func (m *Machine) passDone(e PassDone, now time.Time) {
	p := m.inFlight[e.Name]
	if p == nil {
		return
	}
	delete(m.inFlight, e.Name)
	en := m.entries[e.Name]
	if en != nil {
		en.finish(m, p, e.Outcome, now)
	}
	if e.Cleaned { // also where the entry was unassigned meanwhile
		m.noteReleased(en, now)
	}
}

// noteReleased lets the entries try again at once that could not have an object, now that another entry has
// released some.
func (m *Machine) noteReleased(by *Entry, now time.Time) {
	for _, other := range m.entries {
		if other == by {
			continue
		}
		other.othersReleased = true
		if other.contested && !other.running() {
			other.due = Due{now, ObjectReleased}
		}
	}
}
