// Package machine decides what the engine of one cluster does next: when the cluster is dialled,
// checked or left alone, when a pass over a Kustomization is due and why, and which pass begins.
//
// It is pure. Step takes an event and the time and returns actions; nothing in here starts a goroutine,
// sends a request, reads a clock or draws a random number. The engine executes the actions in their
// order and returns what comes of them as further events. So every sequence of events can be replayed,
// and the same sequence leads to the same actions.
package machine

import (
	"slices"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

const (
	// PassesAtOnce bounds the passes under way on one cluster.
	PassesAtOnce = 2
	// preparingAtOnce bounds the entries of one cluster whose bundles are read at a time. Entries that are
	// prepared hold none of these, so that a store that does not answer for one bundle holds up no other.
	preparingAtOnce = 8
)

// Options configure a machine.
type Options struct {
	// Phase spreads the verifications of a fleet: a number of 0 to 1 that differs between clusters.
	Phase float64
	// Random returns numbers of 0 to 1. They spread waits, so that clusters do not come in step.
	Random func() float64
	// ClaimGrace is how long a hub that holds the claim on a cluster has to answer another one.
	ClaimGrace time.Duration
}

// Machine is the state of the engine of one cluster. It is for one goroutine.
type Machine struct {
	o       Options
	conn    connection
	entries map[string]*Entry
	order   []string // names of the entries, sorted
	sorted  []*Entry // the entries, in that order

	fenced   bool // this process may not act at present
	stopping bool // no pass begins any more

	inFlight    map[string]*pass // by the name of the entry
	passes      uint64           // begun so far
	preparing   int
	slots       slots
	desires     uint64 // changes so far of what entries desire
	assignments uint64 // changes so far of what is assigned

	actions []Action
}

// New returns the machine of a cluster of which nothing is known.
func New(o Options) *Machine {
	return &Machine{o: o, entries: map[string]*Entry{}, inFlight: map[string]*pass{}}
}

// Step takes an event and returns what is to be done. Work begins at a Tick only, so that events that
// come together are judged together.
func (m *Machine) Step(ev Event, now time.Time) []Action {
	m.actions = nil
	ev.apply(m, now)
	return m.actions
}

func (m *Machine) do(a Action) { m.actions = append(m.actions, a) }

// Entry returns the entry of a Kustomization; nil when it is not assigned.
func (m *Machine) Entry(name string) *Entry { return m.entries[name] }

// Names returns the names of all entries, sorted. The caller does not change them.
func (m *Machine) Names() []string { return m.order }

// Desires counts the changes so far of what entries desire.
func (m *Machine) Desires() uint64 { return m.desires }

// Running returns the number of passes under way.
func (m *Machine) Running() int { return len(m.inFlight) }

// Pending counts the passes that are under way or due.
func (m *Machine) Pending(now time.Time) int {
	n := len(m.inFlight)
	for _, en := range m.sorted {
		if m.isDue(en, now) {
			n++
		}
	}
	return n
}

// jitter spreads a wait by 10 % to either side.
func (m *Machine) jitter(d time.Duration) time.Duration {
	return d + time.Duration((m.o.Random()-0.5)*0.2*float64(d))
}

// Next returns the earliest time at which a Tick has something to do by itself; zero for none. What is
// due already waits for an event: the end of a pass, a slot, a bundle.
func (m *Machine) Next(now time.Time, lastAnswer time.Time) time.Time {
	var next time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if m.fenced { // an event reports the end of that
		return next
	}
	sooner(m.conn.next(lastAnswer))
	if !m.conn.mayWork() || m.stopping {
		return next
	}
	for _, en := range m.sorted {
		if !en.running() && !en.Spec.Suspend && en.due.At.After(now) {
			sooner(en.due.At)
		}
	}
	return next
}

// assign replaces what is assigned.
func (m *Machine) assign(list []Assignment, now time.Time) {
	named := make(map[string]bool, len(list))
	before := len(m.entries)
	changed := false
	for i := range list {
		a := &list[i]
		named[a.Spec.Name] = true
		en := m.entries[a.Spec.Name]
		if en == nil {
			changed = true
			en = m.newEntry(a.Spec.Name)
			m.entries[a.Spec.Name] = en
			if m.conn.session != 0 {
				en.startSession(m, a.Applied, now)
			}
		}
		changed = en.assign(m, a.Spec, now) || changed
		en.urgent = en.urgent || m.conn.session != 0 && en.Result == Pending && !en.Matches()
	}
	m.order = m.order[:0]
	for name, en := range m.entries {
		if !named[name] {
			m.cancelPreparation(en)
			delete(m.entries, name)
			continue
		}
		m.order = append(m.order, name)
	}
	slices.Sort(m.order)
	m.sorted = m.sorted[:0]
	for _, name := range m.order {
		m.sorted = append(m.sorted, m.entries[name])
	}
	m.desires++
	if changed || len(m.entries) != before {
		m.assignments++
	}
}

// newEntry returns the entry of a Kustomization. While a pass over an earlier one of the same name is
// under way, none begins: both would write the same objects and one inventory.
func (m *Machine) newEntry(name string) *Entry {
	en := &Entry{}
	if m.inFlight[name] != nil {
		en.state = RunningDue
	}
	return en
}

// allRemoved reports whether every entry has left the cluster.
func (m *Machine) allRemoved() bool {
	for _, en := range m.entries {
		if !en.Spec.Remove || !en.Removed {
			return false
		}
	}
	return true
}

// Same reports whether two specs ask for the same work, whatever commit it comes from, whatever the hub
// remembers with it, and whatever is kept for other Kustomizations meanwhile.
func Same(a, b v1alpha1.AssignmentEntry) bool { return same(a, b) }
