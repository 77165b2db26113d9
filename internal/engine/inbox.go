package engine

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/engine/machine"
)

// inbox is what has come in since the loop looked last.
type inbox struct {
	conn    *Connection
	entries []v1alpha1.AssignmentEntry
	assign  bool
	verify  bool
	// resume means that the fence was closed and is open again.
	resume  bool
	suspect bool
	// displaced means that the cluster is another Cluster's.
	displaced bool
	// connected means that there is a new connection to the cluster.
	connected bool
	// ended means that a watch ended before its time.
	ended bool
	// unserved are kinds that are not served any more in the version in which they are watched.
	unserved []schema.GroupKind
	// granted are slots for passes that were waited for.
	granted []*slot
	// overflowed are sessions that show more than can be kept.
	overflowed []*session
	// crashed are sessions of which something has panicked.
	crashed          []crash
	changedObjects   []edge.Observed
	dialed           []dialed
	checked          []checked
	claimsChecked    []claimChecked
	done             []outcome
	finalize         []*finalization
	finalizedResults []*finalization
	classes          []classAnswer
	loaded           []loaded
}

// mailbox hands an inbox over to the loop.
type mailbox struct {
	mu      sync.Mutex
	pending inbox
	wake    chan struct{}
}

// send changes the inbox and wakes the loop. It never waits for it.
func (e *Engine) send(change func(*inbox)) {
	e.inbox.mu.Lock()
	change(&e.inbox.pending)
	e.inbox.mu.Unlock()
	select {
	case e.inbox.wake <- struct{}{}:
	default:
	}
}

func (e *Engine) objectsChanged(seen ...edge.Observed) {
	if len(seen) > 0 {
		e.send(func(in *inbox) { in.changedObjects = append(in.changedObjects, seen...) })
	}
}

// drainInbox empties the inbox.
func (e *Engine) drainInbox(ctx context.Context, now time.Time) {
	e.inbox.mu.Lock()
	in := e.inbox.pending
	e.inbox.pending = inbox{}
	e.inbox.mu.Unlock()
	if in.conn != nil {
		e.configure(ctx, in.conn, now)
	}
	if in.resume {
		e.step(ctx, machine.Resume{}, now)
	}
	if in.displaced {
		e.step(ctx, machine.Displaced{}, now)
	}
	if in.assign {
		e.assigned(ctx, in.entries, now)
	}
	for _, d := range in.dialed {
		e.onDialed(ctx, d, now)
	}
	for _, c := range in.checked {
		e.onChecked(ctx, c, now)
	}
	for _, s := range in.claimsChecked {
		e.onClaimChecked(ctx, s, now)
	}
	for _, o := range in.done {
		e.onDone(ctx, o, now)
	}
	for _, l := range in.loaded {
		e.onLoaded(ctx, l, now)
	}
	for _, seen := range in.changedObjects {
		e.onObjectChanged(ctx, seen, now)
	}
	for _, t := range in.granted {
		e.onGranted(ctx, t, now)
	}
	for _, s := range in.overflowed {
		e.onFailure(ctx, s, "too many objects", edge.ErrTooMany, now)
	}
	for _, c := range in.crashed {
		e.onFailure(ctx, c.session, "panic", c.err, now)
	}
	for _, a := range in.classes {
		e.onClass(a, now)
	}
	for _, r := range in.finalizedResults {
		e.onFinalized(ctx, r, now)
	}
	for _, r := range in.finalize {
		e.finalizeRequests++
		e.finalizations[e.finalizeRequests] = r
		e.step(ctx, machine.FinalizeRequested{Request: e.finalizeRequests}, now)
	}
	for _, gk := range in.unserved {
		e.onUnserved(ctx, gk, now)
	}
	e.reviewIdentity(ctx, in, now)
}
