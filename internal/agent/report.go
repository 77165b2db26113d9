package agent

import (
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/agent/disk"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
)

func stateOf(s engine.State) *link.State {
	out := &link.State{
		Reachable: s.Reachable, Usable: s.Usable, Reason: s.Reason, Message: s.Message, UID: s.UID, Version: s.Version,
		Orphaned: s.Orphaned, Examined: s.Examined,
	}
	if !s.LastSeen.IsZero() {
		at := metav1.NewTime(s.LastSeen)
		out.LastSeen = &at
	}
	return out
}

// facts are what a report is made of.
type facts struct {
	state    *link.State // nil: not known yet
	entries  []v1alpha1.AssignmentEntryStatus
	complete bool // entries are all there is
	events   []link.Event
	disk     *disk.Problem
	received uint64
	// finalized is the request that was answered; finalizeError why it was not carried out.
	finalized, finalizeError string
	now                      time.Time
	latest                   time.Time // by the hub's clock, of what the agent has seen
}

// reports decides what is reported to the hub. It is pure, and knows what the hub has acknowledged.
type reports struct {
	seq      uint64
	state    *link.State
	has      link.Have
	verified map[string]int64
	complete bool
	disk     link.Disk
	diskSent bool
	received uint64
	// finalized is what was acknowledged of it.
	finalized, finalizeError string
}

// newReports begins a session with a hub that has something of earlier reports already.
func newReports(has link.Have) *reports { return &reports{has: has, verified: map[string]int64{}} }

// next returns the report that leads the hub from what it has to the facts, and whether it can wait: it has
// nothing but times, which heartbeats carry.
func (r *reports) next(f facts) (up link.Up, canWait bool, err error) {
	up = link.Up{Seq: r.seq + 1, Now: f.now.Unix(), Events: f.events, Received: f.received}
	if r.seq == 0 {
		up.Latest = nanoseconds(f.latest)
	}
	if f.state != nil && (r.state == nil || !sameState(*r.state, *f.state)) {
		up.State = f.state
	}
	if f.complete {
		if err := up.DiffStatuses(r.has, r.verified, f.entries); err != nil {
			return up, false, err
		}
		up.Complete = true
	}
	if d := diskOf(f.disk); d != r.disk || !r.diskSent { // the hub may know of a problem that has gone since
		up.Disk = &d
	}
	if f.finalized != r.finalized || f.finalizeError != r.finalizeError {
		up.Finalized, up.FinalizeError = f.finalized, f.finalizeError
	}
	canWait = up.State == nil && len(up.Entries)+len(up.Dropped)+len(up.Events) == 0 && (r.complete || !up.Complete) && up.Disk == nil &&
		up.Finalized == "" && up.FinalizeError == "" && f.received == r.received
	return up, canWait, nil
}

// acknowledged records that the hub has a report.
func (r *reports) acknowledged(up link.Up, f facts) error {
	r.seq = up.Seq
	if up.State != nil {
		r.state = up.State
	}
	if f.complete {
		has, err := link.HaveStatuses(f.entries)
		if err != nil {
			return err
		}
		r.has, r.complete = has, true
		for _, e := range f.entries {
			if e.VerifiedAt != nil {
				r.verified[e.Name] = e.VerifiedAt.Unix()
			}
		}
	}
	if up.Disk != nil {
		r.disk, r.diskSent = *up.Disk, true
	}
	r.received, r.finalized, r.finalizeError = f.received, f.finalized, f.finalizeError
	return nil
}

// nanoseconds since 1970; 0 for the zero time.
func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// sameState reports whether two states differ in nothing but the time of the last answer.
func sameState(a, b link.State) bool {
	a.LastSeen, b.LastSeen = nil, nil
	return equality.Semantic.DeepEqual(a, b)
}

func diskOf(p *disk.Problem) link.Disk {
	if p == nil {
		return link.Disk{}
	}
	return link.Disk{Reason: p.Reason, Message: p.Message}
}
