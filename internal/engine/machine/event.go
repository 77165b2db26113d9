package machine

import (
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// Event is something that happened.
type Event interface {
	apply(m *Machine, now time.Time)
}

type (
	// Tick begins what is due. LastAnswer is the time of the last answer of the cluster.
	Tick struct{ LastAnswer time.Time }
	// Fence reports whether this process may act.
	Fence struct{ Lost bool }
	// Stop reports that no pass is to begin any more.
	Stop struct{}
	// Configure reports an address and credentials of the cluster, or other ones.
	Configure struct{ Suspended bool }
	// Resume reports that the fence was closed for a while and is open again: what was tried meanwhile
	// failed for no fault of the cluster.
	Resume struct{}
	// Displaced reports that the cluster belongs to another Cluster.
	Displaced struct{}
	// Suspect reports that a request was not answered.
	Suspect struct{}
	// WatchEnded reports that a watch ended before its time.
	WatchEnded struct{}
	// NewConnection reports a new connection under the session.
	NewConnection struct{}
	// Verify asks for a check of the connection and a verification of every entry.
	Verify struct{}
	// Assign reports what is assigned.
	Assign struct{ Entries []Assignment }
	// Dialled reports the end of a Dial.
	Dialled struct {
		Connected bool
		// Applied holds the digests of the bundles that the cluster has recorded as applied, by entry.
		Applied map[string]string
		// Contested means that another hub may work on the cluster, Nonce is that of the challenge to
		// it, and Waiting means that its answer is waited for.
		Contested, Waiting bool
		Nonce              string
	}
	// Checked reports the end of a Check.
	Checked struct {
		Session uint64
		Answer  Identity
	}
	// SessionFailed reports that a session is to be given up. ForeignWrite means that something else wrote an
	// inventory of its own.
	SessionFailed struct {
		Session      uint64
		Why          string
		ForeignWrite bool
	}
	// ClaimChanged reports that the claim is not as it was written last.
	ClaimChanged struct{}
	// ClaimAnswered reports the end of a LookAtClaim.
	ClaimAnswered struct {
		Session uint64
		Claim   Claim
		Failed  bool
	}
	// FinalizeRequested asks that what is kept on the cluster be taken away. Request is repeated in the answer.
	FinalizeRequested struct{ Request int }
	// PurgeDone reports the end of a Purge.
	PurgeDone struct{ Succeeded bool }
	// SlotGranted reports a slot that was asked for.
	SlotGranted struct{ Priority Priority }
	// Prepared reports the end of a Prepare. Reason is empty when the bundle of the entry was read;
	// LastGood means that there is a last good bundle with objects, other than the assigned one.
	Prepared struct {
		Name     string
		Attempt  uint64
		Reason   string
		LastGood bool
	}
	// DesiresChanged reports that the objects which an entry desires are others, or known by now.
	DesiresChanged struct{}
	// Touched reports that an object of an entry changed on the cluster in a way that asks for a pass, or
	// for another one after that which is under way.
	Touched struct{ Name string }
	// KindUnserved reports that a kind of which an entry has objects is not served any more in the
	// version in which it was watched.
	KindUnserved struct{ Name string }
	// Health reports whether what depends on an entry may go on.
	Health struct {
		Name  string
		Ready bool
	}
	// PassDone reports the end of a pass.
	PassDone struct {
		Name string
		Outcome
	}
)

// Assignment is one entry of what is assigned. Applied is the digest that the cluster has recorded as
// applied, where there is a session.
type Assignment struct {
	Spec    v1alpha1.AssignmentEntry
	Applied string
}

// Outcome is what matters of a pass for what comes next.
type Outcome struct {
	// Failed means that the pass could not go on at all.
	Failed bool
	// Reason is set when something was refused or failed.
	Reason string
	// Final means that only a change of the input helps.
	Final bool
	// Waiting means that a later stage waits for what an earlier one defines, and RetrySoon that no event
	// reports the end of that.
	Waiting, RetrySoon bool
	// Stopped means that the pass ended early because the engine stops.
	Stopped bool
	// Empty means that nothing is recorded of the entry any more.
	Empty bool
	// Retains means that objects were kept for other Kustomizations, and Unread that a bundle of one of
	// them could not be read.
	Retains, Unread bool
	// Contested means that another Kustomization owns an object that the entry desires.
	Contested bool
	// Cleaned means that objects were released or deleted, so that others may have them.
	Cleaned bool
	// Release is when an object that is left alone may be corrected again; zero for none.
	Release time.Time
}

// Identity identifies the cluster that answers at the address.
type Identity uint8

// Identities.
const (
	SameCluster Identity = iota
	AnotherCluster
	EarlierState
	NoAnswer
	// Unidentified: it answers, and not with its identity, as a proxy does while the API server behind it restarts.
	Unidentified
)

// Claim is how the claim on the cluster stands.
type Claim uint8

// Claims.
const (
	ClaimStands Claim = iota
	ClaimGone
	ClaimYielded
	ClaimTaken
)

func (e Tick) apply(m *Machine, now time.Time) {
	m.maintain(e.LastAnswer, now)
	m.dispatch(now)
}
func (e Fence) apply(m *Machine, _ time.Time)               { m.fenced = e.Lost }
func (Stop) apply(m *Machine, _ time.Time)                  { m.stopping = true }
func (e Configure) apply(m *Machine, now time.Time)         { m.configure(e.Suspended, now) }
func (Suspect) apply(m *Machine, _ time.Time)               { m.conn.suspect = true }
func (e Assign) apply(m *Machine, now time.Time)            { m.assign(e.Entries, now) }
func (e Dialled) apply(m *Machine, now time.Time)           { m.dialled(e, now) }
func (e Checked) apply(m *Machine, now time.Time)           { m.checked(e, now) }
func (e FinalizeRequested) apply(m *Machine, now time.Time) { m.finalize(e, now) }
func (e PurgeDone) apply(m *Machine, now time.Time)         { m.finalized(e, now) }
func (e Prepared) apply(m *Machine, now time.Time)          { m.preparedEntry(e, now) }
func (e PassDone) apply(m *Machine, now time.Time)          { m.passDone(e, now) }
func (DesiresChanged) apply(m *Machine, _ time.Time)        { m.desires++ }
func (e SessionFailed) apply(m *Machine, t time.Time)       { m.sessionFailed(e, t) }
func (e ClaimAnswered) apply(m *Machine, t time.Time)       { m.claimAnswered(e, t) }

func (Resume) apply(m *Machine, now time.Time) {
	m.disconnect("the process may act again")
	m.conn.breaker.reset(now)
}

func (Displaced) apply(m *Machine, now time.Time) {
	m.restart("the cluster belongs to another Cluster", now)
}

func (WatchEnded) apply(m *Machine, _ time.Time) {
	m.conn.ended = m.conn.ended || m.conn.session != 0
}

func (NewConnection) apply(m *Machine, now time.Time) {
	m.conn.suspect = m.conn.suspect || now.Sub(m.conn.checked) > newConnection
}

func (Verify) apply(m *Machine, now time.Time) {
	m.conn.suspect = true
	if m.conn.breaker.state == Open {
		m.conn.breaker.next = now
	}
	for _, en := range m.entries {
		en.relist = true
		en.require(Requested, now)
	}
}

func (ClaimChanged) apply(m *Machine, _ time.Time) {
	c := &m.conn
	if c.claiming || c.session == 0 || c.state == Finalizing || m.fenced {
		return
	}
	c.claiming = true
	m.do(LookAtClaim{Session: c.session})
}

func (e SlotGranted) apply(m *Machine, _ time.Time) {
	m.slots.waiting[e.Priority] = max(0, m.slots.waiting[e.Priority]-1)
	m.slots.granted++
}

func (e Touched) apply(m *Machine, now time.Time) {
	if en := m.entries[e.Name]; en != nil {
		en.Changed = true
		en.urgent = en.urgent || !en.running()
		en.require(ObjectChanged, now)
	}
}

func (e KindUnserved) apply(m *Machine, now time.Time) {
	if en := m.entries[e.Name]; en != nil {
		en.require(Unserved, now)
	}
}

func (e Health) apply(m *Machine, _ time.Time) {
	if en := m.entries[e.Name]; en != nil {
		en.Ready = e.Ready
	}
}
