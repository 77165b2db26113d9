package machine

import (
	"slices"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/pacing"
)

// State of an entry.
type State uint8

// States of an entry. Due is when the next pass of one that is Idle begins, and why.
const (
	// Idle: no pass is under way.
	Idle State = iota
	// Preparing: a pass is due, and the bundles that it needs are being read.
	Preparing
	// Blocked: a dependency is not ready, and there is no last good bundle to enforce meanwhile.
	Blocked
	// Running: a pass is under way.
	Running
	// RunningDue: a pass is under way, and another one is due when it ends.
	RunningDue
)

func (s State) String() string {
	return [...]string{"idle", "preparing", "blocked", "running", "running, due again"}[s]
}

// Why is the reason for a pass.
type Why string

// Reasons for a pass.
const (
	Assigned        Why = "assigned"            // the spec changed
	SessionStarted  Why = "session started"     // what the cluster has is compared with what is assigned
	Requested       Why = "requested"           // a person asked for a verification
	ObjectChanged   Why = "object changed"      // drift, or something that was waited for
	Unserved        Why = "kind not served"     // in the version in which it was watched
	DependencyReady Why = "dependency ready"    // which the entry waited for
	OthersChanged   Why = "others changed"      // what other Kustomizations desire
	ObjectReleased  Why = "object released"     // by the Kustomization that owned it
	Retry           Why = "retry"               // after a failure
	Interval        Why = "interval"            // the verification
	Soon            Why = "retry soon"          // no event reports the end of the wait
	Unread          Why = "unread bundle"       // a bundle of another Kustomization could not be read
	LoopPauseOver   Why = "drift loop, resumed" // an object that was changed back time and again may be corrected
	Interrupted     Why = "interrupted"         // the engine stopped
)

// waits reports whether a pass for this reason waits for its turn after failures.
func (w Why) waits() bool { return w == ObjectChanged || w == Unserved }

// Due is the time of the next pass, zero for none, and its reason.
type Due struct {
	At  time.Time
	Why Why
}

// Result of the last pass over the assigned bundle.
type Result uint8

// Results.
const (
	// Pending: the spec has not been through a pass yet.
	Pending Result = iota
	// Succeeded: everything is applied.
	Succeeded
	// Waiting: a later stage waits for what an earlier one defines.
	Waiting
	// Failed: it is tried again, with backoff.
	Failed
	// FailedFinally: only a change of the input helps.
	FailedFinally
	// Refused: nothing of the bundle is applied, and the last good one is kept in force.
	Refused
)

// refusals are the reasons for which nothing of a bundle is applied.
var refusals = []string{
	v1alpha1.EmptyBuildReason, v1alpha1.PruneLimitExceededReason, v1alpha1.DuplicateObjectReason, v1alpha1.ReservedObjectReason,
	v1alpha1.NotPermittedReason, v1alpha1.PruneHeldReason, v1alpha1.HubStateOutdatedReason,
}

// Entry is the scheduling of one Kustomization on the cluster. The engine reads the exported fields;
// only Step writes them, except Changed.
type Entry struct {
	// Spec is what is assigned.
	Spec v1alpha1.AssignmentEntry
	// Result is how the last pass over the assigned bundle ended, and Reason its reason when it failed.
	Result Result
	Reason string
	// Blocked names the dependency that is waited for.
	Blocked string
	// Applied is the digest of the last bundle that was applied as a whole.
	Applied string
	// Removed means that nothing of the entry is on the cluster, as its spec asks.
	Removed bool
	// Ready means that what depends on the entry may go on.
	Ready bool
	// Changed means that the status may have changed. The engine resets it.
	Changed bool

	state    State
	due      Due
	nextWhy  Why       // of the pass that is due when the one under way ends
	urgent   bool      // the next pass is for something new, not to verify what stands
	relist   bool      // the next pass asks the cluster again for what is known of it
	prepared uint64    // Machine.assignments + 1 when the bundles were read; zero: they were not
	attempt  uint64    // numbers the preparations
	lastPass uint64    // when the last pass began, by the count of passes
	verify   time.Time // when the cluster is to be asked next whether its watches have sent everything
	tries    int       // failed passes in a row
	soon     int       // passes in a row that waited for what no event reports
	lastGood bool      // there is a last good bundle other than the assigned one

	retains        bool   // the last pass kept objects for other Kustomizations
	contested      bool   // the last pass could not have an object that another Kustomization owns
	othersReleased bool   // another entry has released objects since the last pass began
	desires        uint64 // Machine.desires when the last pass began
}

// pass is one that is under way.
type pass struct {
	entry    *Entry // which it began for
	session  uint64
	spec     v1alpha1.AssignmentEntry
	verify   bool
	assigned bool // it is over the assigned bundle, and not over the last good one
}

// State returns the state, and Due when the next pass is due.
func (en *Entry) State() State { return en.state }

// Due returns when the next pass is due, and why.
func (en *Entry) Due() Due { return en.due }

// Running reports whether a pass is under way.
func (en *Entry) Running() bool { return en.running() }

func (en *Entry) running() bool { return en.state == Running || en.state == RunningDue }

// Matches reports whether the assigned bundle is on the cluster as a whole.
func (en *Entry) Matches() bool {
	return en.Spec.Digest != "" && en.Applied == en.Spec.Digest && !en.Spec.Remove
}

// UsesLastGood reports whether the last good bundle stands in for the assigned one: that one waits for a
// dependency, or was refused.
func (en *Entry) UsesLastGood() bool { return en.Blocked != "" || en.Result == Refused }

// same reports whether two specs ask for the same work.
func same(a, b v1alpha1.AssignmentEntry) bool {
	for _, e := range []*v1alpha1.AssignmentEntry{&a, &b} {
		e.Revision, e.Change, e.AssignedAt, e.Fallback = "", "", nil, nil
		e.KeepFor, e.HoldPrune, e.Undone = nil, false, ""
	}
	return a.Equal(&b)
}

// require makes a pass due now. While one is under way, the next begins when it ends.
func (en *Entry) require(why Why, now time.Time) {
	switch en.state {
	case Running:
		en.state, en.nextWhy = RunningDue, why
		return
	case RunningDue:
		if en.nextWhy == "" || en.nextWhy.waits() {
			en.nextWhy = why
		}
		return
	case Blocked:
		en.state = Idle
	case Idle, Preparing:
	}
	if en.due.At.IsZero() || en.due.At.After(now) || en.due.Why == SessionStarted {
		en.due = Due{now, why}
	}
}

// assign takes a new spec and reports whether it asks for other work.
func (en *Entry) assign(m *Machine, spec v1alpha1.AssignmentEntry, now time.Time) bool {
	old := en.Spec
	en.Spec, en.Changed = spec, true
	if same(old, spec) {
		if old.HoldPrune == spec.HoldPrune && old.Undone == spec.Undone && slices.Equal(old.KeepFor, spec.KeepFor) {
			return false
		}
		en.reconsider(now)
		return true
	}
	if old.RequestedAt != spec.RequestedAt && old.Name != "" {
		en.relist = true
	}
	en.Result, en.urgent, en.Removed, en.tries = Pending, old.Name != "", false, 0
	m.cancelPreparation(en)
	en.require(Assigned, now)
	return true
}

// reconsider makes a pass due when what other Kustomizations desire has changed, and the last pass kept
// objects for them or was refused because that was not known.
func (en *Entry) reconsider(now time.Time) {
	switch {
	case en.Reason == v1alpha1.PruneHeldReason:
		en.Result = Pending
	case !en.retains && !en.running():
		return
	}
	en.require(OthersChanged, now)
}

// startSession takes up a new session: what the cluster has recorded is compared with what is assigned.
func (en *Entry) startSession(m *Machine, applied string, now time.Time) {
	m.cancelPreparation(en)
	if en.Applied != applied {
		en.Applied, en.lastGood = applied, false
	}
	en.verify = time.Time{}
	en.Result, en.relist, en.urgent, en.tries, en.Changed = Pending, false, false, 0, true
	en.require(SessionStarted, now)
}

// begin records that a pass begins.
func (en *Entry) begin(m *Machine, now time.Time) Start {
	a := Start{
		Name: en.Spec.Name, Session: m.conn.session, Why: en.due.Why, Relist: en.relist,
		Verify: !en.verify.IsZero() && !now.Before(en.verify), LastGood: !en.Spec.Remove && en.UsesLastGood() && en.lastGood,
	}
	m.passes++
	en.lastPass, en.desires = m.passes, m.desires
	en.state, en.due = Running, Due{}
	en.relist, en.urgent, en.othersReleased, en.prepared, en.Changed = false, false, false, 0, true
	m.inFlight[en.Spec.Name] = &pass{entry: en, session: a.Session, spec: en.Spec, verify: a.Verify, assigned: !a.LastGood}
	return a
}

// finish takes the outcome of a pass.
func (en *Entry) finish(m *Machine, p *pass, o Outcome, now time.Time) {
	again := en.state == RunningDue
	en.state, en.Changed = Idle, true
	if p.session != m.conn.session || p.entry != en {
		if again {
			en.require(en.nextWhy, now)
		}
		return
	}
	if !o.Failed && (p.verify || en.verify.IsZero()) {
		en.verify = nextVerification(now, en.Spec.Interval.Duration, m.o.Phase)
	}
	if !same(p.spec, en.Spec) {
		en.require(en.nextWhy, now)
		return
	}
	if p.assigned {
		en.record(o)
	}
	en.schedule(m, o, now)
	switch {
	case en.othersReleased && en.contested:
		en.due = Due{now, ObjectReleased}
	case o.Stopped:
		en.due = Due{now, Interrupted}
	case again && (en.tries <= 1 || !en.nextWhy.waits()):
		en.due = Due{now, en.nextWhy} // an entry that fails time and again waits for its turn
	case o.RetrySoon:
		en.soon++
		en.due = Due{now.Add(m.shortBackoff(en.soon)), Soon}
	default:
		en.soon = 0
	}
}

// record takes how a pass over the assigned bundle ended.
func (en *Entry) record(o Outcome) {
	en.Reason, en.retains, en.contested = o.Reason, o.Retains, o.Contested
	switch {
	case o.Reason != "":
		en.tries++
		en.Result = Failed
		if slices.Contains(refusals, o.Reason) {
			en.Result = Refused
		} else if o.Final {
			en.Result = FailedFinally
		}
		return
	case o.Waiting:
		en.tries, en.Result = 0, Waiting
	case en.Spec.Remove:
		en.tries, en.Result = 0, Succeeded
		en.Removed, en.Applied, en.lastGood = o.Empty, "", false
	case o.Stopped:
		en.Result = Pending
	default:
		en.tries, en.Result = 0, Succeeded
		en.Applied, en.lastGood = en.Spec.Digest, false
	}
}

// unreadRetry is the wait for a bundle of another Kustomization without which nothing is deleted.
const unreadRetry = 10 * time.Second

// schedule sets when the next pass is due: soon after a failure, else at the next verification.
func (en *Entry) schedule(m *Machine, o Outcome, now time.Time) {
	switch {
	case en.Removed:
		en.due = Due{}
		return
	case en.UsesLastGood() || en.tries == 0 || en.Result == FailedFinally:
		en.due = Due{now.Add(m.jitter(en.Spec.Interval.Duration)), Interval}
		if en.verify.After(now) {
			en.due.At = en.verify
		}
	default:
		en.due = Due{now.Add(m.jitter(Backoff(en.tries, en.retryInterval()))), Retry}
	}
	if at := now.Add(m.jitter(unreadRetry)); o.Unread && at.Before(en.due.At) {
		en.due = Due{at, Unread}
		if en.Reason == v1alpha1.PruneHeldReason {
			en.Result = Pending
		}
	}
	if !o.Release.IsZero() && o.Release.Before(en.due.At) {
		en.due = Due{o.Release, LoopPauseOver}
	}
}

func (en *Entry) retryInterval() time.Duration {
	if en.Spec.RetryInterval != nil {
		return en.Spec.RetryInterval.Duration
	}
	return en.Spec.Interval.Duration
}

// Backoff returns the wait before try n (from 1): a second, doubled with each, at most limit.
func Backoff(n int, limit time.Duration) time.Duration { return pacing.Backoff(n, time.Second, limit) }

// shortBackoff returns the wait before the n-th look at what no event reports: short, for a definition
// is served a moment after it is established, and long when that does not come.
func (m *Machine) shortBackoff(n int) time.Duration {
	if n > 30 {
		return m.jitter(20 * time.Second)
	}
	return min(20*time.Millisecond<<min(n, 8), time.Second)
}

// shortInterval bounds how often the cluster is asked.
const shortInterval = time.Second

// nextVerification returns the time of the next verification after now: the times of all entries of a
// cluster with the same interval are the same, and those of different clusters are spread.
func nextVerification(now time.Time, interval time.Duration, phase float64) time.Time {
	interval = max(interval, shortInterval)
	since := time.Duration(now.UnixNano()) - time.Duration(phase*float64(interval))
	wait := interval - since%interval
	if wait > interval { // before 1970
		wait -= interval
	}
	return now.Add(wait)
}
