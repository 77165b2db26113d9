// Package engine brings one cluster to what its Assignment specifies and keeps it there. The same code
// runs in the hub, for clusters that it reaches, and in an agent on the cluster itself; it knows
// neither Git nor kustomize.
//
// Each cluster has an engine of its own: one goroutine that owns all its state, decides and never
// waits, and a few that ask the cluster and come back through an inbox. So a cluster that does not
// answer delays nothing but its own work.
package engine

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/engine/machine"
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

	inbox      mailbox
	workers    sync.WaitGroup
	stop       atomic.Bool  // finish the object at hand, then rest
	answeredAt atomic.Int64 // last answer, in nanoseconds since 1970
	// noWatchList means that the API server cannot send what is there as the initial events of a watch.
	noWatchList atomic.Bool

	mask object.Mask // hides names with the values of Secrets in them

	// What follows belongs to the loop.
	m                *machine.Machine // decides; the rest is what its decisions are about
	conn             connection
	entries          map[string]*entry
	sorted           []*entry                          // the entries, in the order of their names
	statuses         []*v1alpha1.AssignmentEntryStatus // theirs
	loads            map[string]bool                   // digests of the bundles that are being read
	finalizations    map[int]*finalization             // that were asked for
	finalizeRequests int                               // finalizations so far
	stepAgain        bool                              // an action was answered at once: there may be more to do
	fenced           bool                              // as the machine knows it
	stopped          bool                              // the machine begins nothing more
	breaker          machine.BreakerState              // as it was reported last
	breakerReported  bool
	assignmentKnown  bool // what is assigned was handed over, be it nothing
	untrimmed        bool // watches may run of which nothing is needed any more
	statusChanged    bool // an entry has changes that were not published
	unreported       bool // the engine counts as one that has yet to report
	slots            passSlots
	publishAt        time.Time // when the report is to be published; zero when nothing has changed
	// own are ConfigMaps of Skerry's own that changed while it was not certain by what.
	own map[object.ID]bool
	// healthChecks is what the session was given last of spec.healthChecks.
	healthChecks healthChecks
	// steps is what the expressions of spec.healthCheckExprs may still take on this cluster.
	steps steps
	// assessments are what they gave. They outlive a session as well.
	assessments assessments
	// unclaimed are inventories that no entry claims.
	unclaimed unclaimed

	mu        sync.Mutex // guards what is published
	report    []v1alpha1.AssignmentEntryStatus
	published bool // report has been published once
	state     State

	idleCh chan struct{} // closed when the engine is to stop and no pass is under way
}

func newEngine(key Key, o PoolOptions, l *limits, admit func(uid string, local bool) error, s siblings) *Engine {
	return &Engine{
		o: o, limits: l, key: key, admit: admit, siblings: s,
		m:   machine.New(machine.Options{Phase: phaseOf(key), Random: o.Random, ClaimGrace: o.ClaimGrace}),
		own: map[object.ID]bool{}, entries: map[string]*entry{}, loads: map[string]bool{}, finalizations: map[int]*finalization{},
		inbox: mailbox{wake: make(chan struct{}, 1)}, idleCh: make(chan struct{}),
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
	defer func() {
		_ = e.guard("end", func() error { e.slots.release(true); e.setUnreported(false); e.disconnect(); return nil })
	}()
	return e.guard("loop", func() error { e.loop(ctx); return nil })
}

func (e *Engine) loop(ctx context.Context) {
	for {
		now := e.o.Now()
		e.observeProcess(ctx, now)
		e.drainInbox(ctx, now)
		e.refresh(ctx, now)
		e.tick(ctx, now)
		e.watchHealthChecks(now) //nolint:contextcheck // what it begins ends with the session
		e.refresh(ctx, now)
		e.requestClasses(now)
		e.findUnclaimed(now)
		e.closeWhenIdle()
		timer := time.NewTimer(max(e.publish(now).Sub(now), time.Millisecond))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-e.inbox.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// observeProcess informs the machine whether this process may act, and begin work.
func (e *Engine) observeProcess(ctx context.Context, now time.Time) {
	if lost := e.o.Fence != nil && e.o.Fence.Lost() != nil; lost != e.fenced {
		e.fenced = lost
		e.step(ctx, machine.Fence{Lost: lost}, now)
	}
	if e.stop.Load() && !e.stopped {
		e.stopped = true
		e.step(ctx, machine.Stop{}, now)
	}
}

// tick begins what is due. What is answered at once may make more of it possible.
func (e *Engine) tick(ctx context.Context, now time.Time) {
	for e.stepAgain = true; e.stepAgain; {
		e.stepAgain = false
		e.step(ctx, machine.Tick{LastAnswer: e.lastAnswer()}, now)
	}
}

// lastAnswer returns when the cluster answered last.
func (e *Engine) lastAnswer() time.Time { return time.Unix(0, e.answeredAt.Load()) }

// step passes an event to the machine, and executes what it decides.
func (e *Engine) step(ctx context.Context, ev machine.Event, now time.Time) {
	for _, a := range e.m.Step(ev, now) {
		e.execute(ctx, a, now)
	}
	e.reportBreaker()
}

func (e *Engine) execute(ctx context.Context, action machine.Action, now time.Time) {
	switch a := action.(type) {
	case machine.Dial:
		e.beginDial(ctx, a, now)
	case machine.Discard:
		if e.conn.dialed != nil {
			e.endSession(e.conn.dialed)
		}
	case machine.StartSession:
		e.startSession(a, now)
	case machine.Check:
		e.beginCheck()
	case machine.Disconnect:
		e.logger().Info("disconnected", "why", a.Why)
		e.disconnect()
	case machine.LookAtClaim:
		e.lookAtClaim() //nolint:contextcheck // it ends with the session
	case machine.Purge:
		e.purge(a)
	case machine.Answer:
		e.finalizations[a.Request].answer <- finalizeErrors[a.Result]
		delete(e.finalizations, a.Request)
	case machine.Prepare:
		e.prepare(ctx, a, now)
	case machine.RequestSlot:
		e.requestSlot(ctx, a.Priority, now)
	case machine.ReleaseSlots:
		e.slots.release(a.Waiting)
	case machine.Start:
		e.start(a, now)
	}
}

// idle is closed once the engine was asked to stop and no pass is under way.
func (e *Engine) idle() <-chan struct{} { return e.idleCh }

func (e *Engine) closeWhenIdle() {
	if e.stop.Load() && e.m.Running() == 0 {
		e.markIdle()
	}
}

func (e *Engine) markIdle() {
	select {
	case <-e.idleCh:
	default:
		close(e.idleCh)
	}
}

// configure takes how the cluster is to be reached from now on. Another token of the same account is no reason to learn
// everything of the cluster anew.
func (e *Engine) configure(ctx context.Context, conn *Connection, now time.Time) {
	s, renewed := e.conn.session, conn.renews(e.conn.target)
	e.conn.target = conn
	if s != nil && renewed {
		s.client.SetToken(conn.Config.BearerToken)
		e.logger().Info("the token is renewed")
		return
	}
	e.step(ctx, machine.Configure{Suspended: conn.Suspend}, now)
}

// reviewIdentity reports what makes the identity of the cluster doubtful.
func (e *Engine) reviewIdentity(ctx context.Context, in inbox, now time.Time) {
	if in.ended {
		e.step(ctx, machine.WatchEnded{}, now)
	}
	if in.suspect {
		e.step(ctx, machine.Suspect{}, now)
	}
	if in.connected {
		e.step(ctx, machine.NewConnection{}, now)
	}
	if in.verify {
		e.step(ctx, machine.Verify{}, now)
	}
}

// assigned takes up the entries of the Assignment.
func (e *Engine) assigned(ctx context.Context, specs []v1alpha1.AssignmentEntry, now time.Time) {
	list := make([]machine.Assignment, len(specs))
	for i, spec := range specs {
		list[i] = machine.Assignment{Spec: spec}
		if s := e.conn.session; s != nil {
			list[i].Applied = s.applied(ownerOf(e.o.Hub, e.key, spec.Name))
		}
	}
	e.step(ctx, machine.Assign{Entries: list}, now)
	e.assignmentKnown, e.statusChanged = true, true
	e.setUnreported(len(specs) > 0 && !e.published)
	e.unclaimed.changed = true
	e.sorted, e.statuses = e.sorted[:0], e.statuses[:0]
	for _, name := range e.m.Names() {
		en := e.entries[name]
		if en == nil {
			en = newEntry(e.o.Hub, e.key, e.m.Entry(name), name)
			e.entries[name] = en
			if e.conn.session != nil {
				e.startEntry(en)
			}
		}
		e.setView(en)
		en.setDrift(en.Spec.Drift)
		if en.Matches() {
			en.appliedRevision = en.Spec.Revision
		}
		if en.pending() {
			en.waiting = ""
		}
		e.sorted, e.statuses = append(e.sorted, en), append(e.statuses, &en.status)
	}
	for name := range e.entries {
		if e.m.Entry(name) == nil {
			delete(e.entries, name)
		}
	}
	if s := e.conn.session; s != nil {
		e.dropViews(s)
	}
}

// startEntry lets an entry take up the session.
func (e *Engine) startEntry(en *entry) {
	en.startSession(e.conn.session)
	e.setView(en)
}

// setView lets an entry look through the view of its account.
func (e *Engine) setView(en *entry) {
	en.denied = en.denied && isOrphaning(en.Spec)
	if en.session == nil {
		return
	}
	account := accountOf(e.key, en.Spec)
	if en.denied {
		account = edge.Account{}
	}
	en.view = e.viewOf(en.session, account)
}

func (e *Engine) emit(ev Event) {
	ev = maskEvent(&e.mask, ev)
	ev.Cluster = e.key
	if e.o.OnEvent != nil {
		e.o.OnEvent(ev)
	}
}

func (e *Engine) onDone(ctx context.Context, o outcome, now time.Time) {
	for _, ev := range summarize(o.events) {
		e.emit(ev)
	}
	if errors.Is(o.err, edge.ErrInventoryChanged) {
		e.sessionFailed(ctx, o.job.session, machine.SessionFailed{Why: "something else wrote an inventory", ForeignWrite: true}, now)
	}
	if errors.Is(o.err, errChanged) {
		e.sessionFailed(ctx, o.job.session, machine.SessionFailed{Why: "another cluster, or an earlier state of it"}, now)
	}
	e.examineOwn(ctx, now)
	if apierror.Unauthorized(o.err) {
		e.step(ctx, machine.Suspect{}, now)
	}
	if s := e.conn.session; s != nil && s == o.job.session && !o.corrupt() {
		s.inventories[o.job.owner] = o.inventory // an entry that comes back starts from what is recorded now
		delete(s.corrupt, o.job.owner)
		e.unclaimed.changed = e.unclaimed.changed || o.job.reload
	}
	done := machine.PassDone{Name: o.job.entry.Name}
	en, before := e.entries[done.Name], ""
	if en != nil {
		before = en.Reason
	}
	e.reportPass(o, before, now)
	if en != nil {
		done.Outcome = en.finish(o, now)
		e.setView(en)
		if en.touchedMeanwhile(now) {
			e.step(ctx, machine.Touched{Name: done.Name}, now)
		}
	}
	if o.job.view.passes--; en == nil || en.view != o.job.view {
		e.dropViews(o.job.session)
	}
	e.step(ctx, done, now)
	e.untrimmed = e.untrimmed || o.cleaned || o.scopesChanged
	e.trim()
}

// trim stops the watches of kinds of which nothing is left: the definition of one may be gone, and
// asking for it again and again would be all that its watch did.
func (e *Engine) trim() {
	if !e.untrimmed || e.conn.session == nil || e.m.Running() > 0 {
		return
	}
	e.untrimmed = false
	used := map[*view]map[watchScope]bool{}
	for _, v := range e.conn.session.allViews() {
		used[v] = map[watchScope]bool{{GroupKind: own}: true}
	}
	for _, en := range e.entries {
		use := func(id object.ID) { en.view.uses(id, func(at watchScope) { used[en.view][at] = true }) }
		for id := range en.inv.Objects {
			use(id)
		}
		for id := range en.desired.ByID {
			use(id)
		}
		for id := range en.lastGood.ByID {
			use(id)
		}
	}
	for v, scopes := range used {
		v.watches.stopUnused(scopes)
	}
}

// onUnserved makes a pass due where something of the kind is recorded: it finds the version in which the
// kind is served now, and watches that one.
func (e *Engine) onUnserved(ctx context.Context, gk schema.GroupKind, now time.Time) {
	for name, en := range e.entries {
		if en.session == nil {
			continue
		}
		for id := range en.inv.Objects {
			if id.Group == gk.Group && id.Kind == gk.Kind {
				e.step(ctx, machine.KindUnserved{Name: name}, now)
				break
			}
		}
	}
}

func (e *Engine) onObjectChanged(ctx context.Context, seen edge.Observed, now time.Time) {
	if seen.ID.Group == own.Group && seen.ID.Kind == own.Kind {
		e.onOwnTouched(ctx, seen.ID, now)
		return
	}
	for _, en := range e.sorted {
		if en.owner != seen.Owner && en.enforced().ByID[seen.ID] == nil {
			continue
		}
		en.Changed = true
		if en.touched(seen.ID, now) {
			e.step(ctx, machine.Touched{Name: en.Spec.Name}, now)
		}
	}
}
