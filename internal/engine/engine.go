// Package engine brings one cluster to what its Assignment says and keeps it there. The same code
// runs in the hub, for clusters that it reaches, and in an agent on the cluster itself; it knows
// neither Git nor kustomize.
//
// Each cluster has an engine of its own: one goroutine that owns all its state, decides and never
// waits, and a few that ask the cluster and come back through an inbox. So a cluster that does not
// answer holds up nobody, itself included.
package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/object"
)

// Engine works on one cluster.
type Engine struct {
	o      PoolOptions
	limits *limits
	key    Key
	admit  func(uid string, local bool) error
	// siblings are the engines of other Clusters that lead to the same cluster.
	siblings siblings

	box     mailbox
	workers sync.WaitGroup
	stop    atomic.Bool  // finish the object at hand, then rest
	seen    atomic.Int64 // last answer, in nanoseconds since 1970
	// noWatchList says that the API server cannot send what is there as the initial events of a watch.
	noWatchList atomic.Bool

	mask object.Mask // hides names with the values of Secrets in them

	// What follows belongs to the loop.
	conn            connection
	entries         map[string]*entry
	order           []string
	assignmentKnown bool // what is assigned was handed over, be it nothing
	statusChanged   bool // an entry has something to tell that was not published
	passes          int
	passCount       uint64 // passes begun so far
	desires         uint64 // changes so far of what entries desire
	slots           passSlots
	publishAt       time.Time // when the report is to be published; zero when nothing has changed
	// own are ConfigMaps of Skerry's own that changed while it was not certain by what.
	own map[object.ID]bool
	// unclaimed are inventories that no entry claims.
	unclaimed unclaimed

	mu        sync.Mutex // guards what is published
	report    []v1alpha1.AssignmentEntryStatus
	published bool // report has been published once
	state     State

	idleCh chan struct{} // closed when the engine is to stop and no pass is under way
}

// inbox is what has come in since the loop looked last.
type inbox struct {
	conn    *Connection
	entries []v1alpha1.AssignmentEntry
	assign  bool
	verify  bool
	// resume says that the fence was closed and is open again.
	resume  bool
	suspect bool
	// displaced says that the cluster is another Cluster's.
	displaced bool
	// connected says that there is a new connection to the cluster.
	connected bool
	// ended says that a watch ended before its time.
	ended bool
	// forgetMapping are kinds that are not served any more in the version in which they are watched.
	unserved []schema.GroupKind
	// granted are places for passes that were waited for.
	granted []*slot
	// overflowed are sessions that show more than can be kept.
	overflowed []*session
	// crashed are sessions of which something has panicked.
	crashed          []crash
	changedObjects   []edge.Observed
	dialed           []dialed
	checked          []checked
	stood            []stood
	done             []outcome
	finalize         []*finalization
	finalizedResults []*finalization
	classes          []classAnswer
}

// mailbox hands an inbox over to the loop.
type mailbox struct {
	mu   sync.Mutex
	in   inbox
	wake chan struct{}
}

func newEngine(key Key, o PoolOptions, l *limits, admit func(uid string, local bool) error, s siblings) *Engine {
	return &Engine{o: o, limits: l, key: key, admit: admit, siblings: s, own: map[object.ID]bool{}, entries: map[string]*entry{}, box: mailbox{wake: make(chan struct{}, 1)}, idleCh: make(chan struct{})}
}

// send changes the inbox and wakes the loop. It never waits for it.
func (e *Engine) send(change func(*inbox)) {
	e.box.mu.Lock()
	change(&e.box.in)
	e.box.mu.Unlock()
	select {
	case e.box.wake <- struct{}{}:
	default:
	}
}

func (e *Engine) objectsChanged(seen ...edge.Observed) {
	if len(seen) > 0 {
		e.send(func(in *inbox) { in.changedObjects = append(in.changedObjects, seen...) })
	}
}

func (e *Engine) count(c Counter, n int) {
	if e.o.Count != nil {
		e.o.Count(e.key, c, n)
	}
}

// run is the loop. It returns when ctx is done, or with the panic that ended it, and all that it
// started has ended.
func (e *Engine) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer e.workers.Wait()
	defer cancel()
	defer func() { _ = e.guard("end", func() error { e.slots.releaseAll(); e.disconnect(); return nil }) }()
	return e.guard("loop", func() error { e.loop(ctx); return nil })
}

func (e *Engine) loop(ctx context.Context) {
	for {
		now := e.o.Now()
		e.drainInbox(now) //nolint:contextcheck // what it begins ends with the session
		e.maintainConnection(ctx, now)
		e.refresh(now)
		e.startPasses(ctx, now)
		e.refresh(now)
		e.askClasses(now)
		e.findUnclaimed(now)
		e.closeWhenIdle()
		timer := time.NewTimer(max(e.publish(now).Sub(now), time.Millisecond))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-e.box.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// idle is closed once the engine was told to stop and no pass is under way.
func (e *Engine) idle() <-chan struct{} { return e.idleCh }

func (e *Engine) closeWhenIdle() {
	if e.stop.Load() && e.passes == 0 {
		e.restNow()
	}
}

func (e *Engine) restNow() {
	select {
	case <-e.idleCh:
	default:
		close(e.idleCh)
	}
}

// drainInbox empties the inbox.
func (e *Engine) drainInbox(now time.Time) {
	e.box.mu.Lock()
	in := e.box.in
	e.box.in = inbox{}
	e.box.mu.Unlock()
	if in.conn != nil {
		e.disconnect()
		e.conn.target = in.conn
		e.conn.breaker.reset(now)
		e.conn.finalizing, e.conn.finalized = false, false
	}
	if in.resume {
		e.disconnect()
		e.conn.breaker.reset(now)
	}
	if in.displaced {
		e.disconnect()
		e.conn.breaker.again(now)
	}
	if in.assign {
		e.assigned(in.entries, now)
	}
	for _, d := range in.dialed {
		e.onDialed(d, now)
	}
	for _, c := range in.checked {
		e.onChecked(c, now)
	}
	for _, s := range in.stood {
		e.onStood(s, now)
	}
	for _, o := range in.done {
		e.passes--
		e.onDone(o, now)
	}
	for _, seen := range in.changedObjects {
		e.onObjectChanged(seen, now)
	}
	e.slots.onGranted(in.granted)
	for _, s := range in.overflowed {
		e.onOverflow(s, now)
	}
	for _, c := range in.crashed {
		e.onCrashed(c, now)
	}
	for _, a := range in.classes {
		e.onClass(a, now)
	}
	for _, r := range in.finalizedResults {
		e.onFinalized(r, now)
	}
	for _, r := range in.finalize {
		e.startFinalization(r)
	}
	e.conn.ended = e.conn.ended || in.ended && e.conn.session != nil
	for _, gk := range in.unserved {
		e.onUnserved(gk, now)
	}
	e.conn.suspect = e.conn.suspect || in.suspect || in.connected && now.Sub(e.conn.checked) > newConnection
	if in.verify {
		e.verify(now)
	}
}

func (e *Engine) verify(now time.Time) {
	e.conn.suspect = true
	if e.conn.breaker.phase == open {
		e.conn.breaker.next = now
	}
	for _, en := range e.entries {
		en.relist, en.due = true, now
	}
}

// assigned takes up the entries of the Assignment.
func (e *Engine) assigned(specs []v1alpha1.AssignmentEntry, now time.Time) {
	named := map[string]bool{}
	for _, spec := range specs {
		named[spec.Name] = true
		en := e.entries[spec.Name]
		if en == nil {
			en = newEntry(e.o.Hub, e.key, spec.Name)
			e.entries[spec.Name] = en
			if e.conn.session != nil {
				en.startSession(e.conn.session)
			}
		}
		en.assign(spec, now)
		en.urgent = en.urgent || e.conn.session != nil && en.unprocessed && !en.applied()
	}
	e.order, e.assignmentKnown, e.statusChanged = e.order[:0], true, true
	e.unclaimed.changed = true
	e.desires++
	for name := range e.entries {
		if !named[name] {
			delete(e.entries, name)
			continue
		}
		e.order = append(e.order, name)
	}
	slices.Sort(e.order)
}

// block says which dependency an entry waits for. What is on the cluster already does not wait again.
func (e *Engine) block(en *entry, now time.Time) {
	blocked := ""
	if !en.applied() && !en.spec.Remove {
		for _, name := range en.spec.DependsOn {
			if dep := e.entries[name]; dep == nil || dep.unprocessed || !dep.objectsReady {
				blocked = name
				break
			}
		}
	}
	if blocked == en.blocked {
		return
	}
	en.dirty = true
	if en.blocked = blocked; blocked == "" {
		en.due = now
	}
}

func (e *Engine) emit(ev Event) {
	ev = maskEvent(&e.mask, ev)
	ev.Cluster = e.key
	if e.o.OnEvent != nil {
		e.o.OnEvent(ev)
	}
}

func (e *Engine) onDone(o outcome, now time.Time) {
	for _, ev := range summarize(o.events) {
		e.emit(ev)
	}
	if errors.Is(o.err, edge.ErrInventoryChanged) && o.job.session == e.conn.session {
		e.surprised(now)
	}
	if errors.Is(o.err, errChanged) && o.job.session == e.conn.session {
		e.disconnect()
		e.conn.breaker.failed(now)
	}
	e.examineOwn(now)
	if edge.Unauthorized(o.err) {
		e.conn.suspect = true
	}
	if s := e.conn.session; s != nil && s == o.job.session && !o.corrupt() {
		s.inventories[o.job.owner] = o.inventory // an entry that comes back meets what is recorded now
		delete(s.corrupt, o.job.owner)
		e.unclaimed.changed = e.unclaimed.changed || o.job.reload
	}
	en := e.entries[o.job.entry.Name]
	if en == nil {
		return
	}
	en.finish(o, now)
	if !o.cleaned {
		return
	}
	e.trim()
	e.cede(en, now)
}

// trim stops the watches of kinds of which nothing is left: the definition of one may be gone, and
// asking for it again and again would be all that its watch did.
func (e *Engine) trim() {
	if e.conn.session == nil || e.passes > 0 {
		return
	}
	used := map[schema.GroupKind]bool{own: true}
	for _, en := range e.entries {
		for id := range en.inv.Objects {
			used[schema.GroupKind{Group: id.Group, Kind: id.Kind}] = true
		}
		for id := range en.desired.index {
			used[schema.GroupKind{Group: id.Group, Kind: id.Kind}] = true
		}
		for id := range en.lastGood.index {
			used[schema.GroupKind{Group: id.Group, Kind: id.Kind}] = true
		}
	}
	e.conn.session.watches.stopUnused(used)
}

// onUnserved makes a pass due where something of the kind is recorded: it finds the version in which the
// kind is served now, and watches that one.
func (e *Engine) onUnserved(gk schema.GroupKind, now time.Time) {
	for _, en := range e.entries {
		if en.session == nil {
			continue
		}
		for id := range en.inv.Objects {
			if id.Group == gk.Group && id.Kind == gk.Kind {
				en.rerun, en.due = true, now
				break
			}
		}
	}
}

func (e *Engine) onObjectChanged(seen edge.Observed, now time.Time) {
	if seen.ID.Group == own.Group && seen.ID.Kind == own.Kind {
		e.onOwnTouched(seen.ID, now)
		return
	}
	for _, en := range e.entries {
		if en.owner == seen.Owner || en.enforced().index[seen.ID] != nil {
			en.objectChanged(seen, now)
		}
	}
}
