package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/engine/machine"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/pacing"
	"github.com/skerry-dev/skerry/internal/recovery"
	"github.com/skerry-dev/skerry/internal/text"
)

// reasonForOutcome names the reason why a pass did not go well; "" when it did or only has to wait.
func reasonForOutcome(o outcome) (reason, message string) {
	var unlistable *unlistableError
	var crash *recovery.Panic
	switch {
	case errors.As(o.err, &crash):
		return v1alpha1.InternalErrorReason, crash.Error()
	case o.timedOut, errors.Is(o.err, errPassTimeout):
		return v1alpha1.ProgressingReason, fmt.Sprintf("the cluster answers slowly: a pass was ended after %s, and the next one goes on from there", o.job.timeout)
	case errors.As(o.err, &unlistable):
		return v1alpha1.ApplyFailedReason, unlistable.Error()
	case errors.Is(o.err, edge.ErrInventoryChanged):
		return v1alpha1.InventoryFailedReason, "the inventory was written by somebody else and is read again"
	case o.corrupt():
		return v1alpha1.InventoryCorruptReason, apierror.Explain(o.err, noObject) + "; nothing is applied or deleted until it is restored, or deleted: then what it named and Git does not stays on the cluster"
	case apierror.Overloaded(o.err):
		return v1alpha1.ProgressingReason, overloaded
	case edge.Unexpected(o.err) != "":
		return v1alpha1.UnexpectedAnswerReason, edge.Unexpected(o.err)
	case apierror.Unanswered(o.err):
		return v1alpha1.UnreachableReason, "the cluster stopped answering: " + unreachableMessage(o.err)
	case o.err != nil:
		return v1alpha1.ApplyFailedReason, apierror.Explain(o.err, noObject)
	case o.refusal.Reason == v1alpha1.EmptyBuildReason, o.refusal.Reason == v1alpha1.PruneLimitExceededReason:
		return o.refusal.Reason, fmt.Sprintf("%s; if that is meant, annotate the Kustomization with %s=%s",
			o.refusal.Message, v1alpha1.AllowPruneAnnotation, o.job.entry.Revision)
	case o.refusal.Reason != "":
		return o.refusal.Reason, o.refusal.Message
	case len(o.failures) > 0:
		return reasonForFailures(o)
	}
	return "", ""
}

// reasonForFailures sums up the objects that the cluster refused and names the first of them.
func reasonForFailures(o outcome) (string, string) {
	list := slices.Clone(o.failures)
	slices.SortFunc(list, func(a, b failure) int { return object.Order(a.id, b.id) })
	reason := list[0].reason
	var lines []string
	for _, f := range list {
		if f.reason != reason {
			reason = v1alpha1.ApplyFailedReason
		}
		if len(lines) < 3 {
			lines = append(lines, fmt.Sprintf("%s: %s", f.id, f.message))
		}
	}
	if more := len(list) - len(lines); more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	if reason == v1alpha1.PruneFailedReason || o.job.entry.Remove {
		return reason, fmt.Sprintf("%s could not be deleted: %s", text.Count(len(list), "object"), strings.Join(lines, "; "))
	}
	total := len(o.desired)
	return reason, fmt.Sprintf("%d of %s applied; %s", o.applied(), text.Count(total, "object"), strings.Join(lines, "; "))
}

// refresh computes the status of the entries of which something has changed.
func (e *Engine) refresh(ctx context.Context, now time.Time) {
	for _, en := range e.sorted {
		if !en.Changed && (en.recheck.IsZero() || now.Before(en.recheck)) {
			continue
		}
		en.Changed, en.recheck = false, time.Time{}
		status := maskStatus(&e.mask, e.entryStatus(en, now))
		if event, ok := en.deletionEvent(now); ok {
			e.emit(event)
		}
		e.statusChanged = e.statusChanged || !en.status.Equal(&status)
		en.status = status
		if en.objectsReady != en.Ready {
			e.step(ctx, machine.Health{Name: en.Spec.Name, Ready: en.objectsReady}, now)
		}
	}
}

// entryStatus describes how an entry stands.
func (e *Engine) entryStatus(en *entry, now time.Time) v1alpha1.AssignmentEntryStatus {
	st := v1alpha1.AssignmentEntryStatus{
		Name:            en.Spec.Name,
		AppliedRevision: en.appliedRevision, AppliedDigest: en.lastGood.digest,
		Drift: en.corrections, HandledAt: en.handledAt, Removed: en.Removed, Objects: en.status.Objects,
	}
	if st.AppliedRevision != en.Spec.Revision || st.AppliedDigest != en.Spec.Digest {
		st.Revision, st.Digest = en.Spec.Revision, en.Spec.Digest
	}
	st.Drifts, st.Drifted = en.drifts()
	if !en.verifiedAt.IsZero() {
		t := metav1.NewTime(en.verifiedAt.Truncate(time.Second))
		st.VerifiedAt = &t
	}
	found := en.waitedFor(en.countObjects(&st), e.key.Namespace)
	en.deleting = en.pendingDeletions()
	r := en.Readiness(e.facts(en, found), &en.since, now)
	st.Ready, st.Reason, st.Message = r.Status, r.Reason, r.Message
	en.objectsReady = r.ObjectsReady
	if !r.RecheckAt.IsZero() {
		en.recheckAt(r.RecheckAt)
	}
	return st
}

// unhealthy is the worst that was found among the objects of an entry.
type unhealthy struct {
	of              int // how many there are
	failed, pending int
	unevaluated     int    // of those that are pending: spec.healthCheckExprs are at a limit
	first           string // names the first object and what it reports
}

// countObjects counts the objects of an entry by what the cluster shows of them.
func (en *entry) countObjects(st *v1alpha1.AssignmentEntryStatus) unhealthy {
	var s unhealthy
	if en.session == nil || en.desired.digest != en.Spec.Digest {
		return s
	}
	s.of = len(en.desired.Objects)
	st.Objects = v1alpha1.ObjectCounts{Total: int32(s.of)}
	for i := range en.desired.Objects {
		o := &en.desired.Objects[i]
		record := en.inv.Objects[o.ID]
		l, there := en.view.live.get(o.ID)
		there = there && l.Owner == en.owner
		switch {
		case o.Policy.Mode == object.Ignore, o.Policy.Mode == object.IfNotPresent && !there && !en.pending():
			st.Objects.Total-- // nothing is to be done about it
			continue
		case there && (o.Policy.Mode == object.IfNotPresent || l.Policy.Mode == object.Ignore):
			// It counts as it stands.
		case !there && ended(record, o):
			l.Health = endedHealth(health.Outcome(record.Finished))
		case !there || l.UID != record.UID || !en.desired.hasDigest(i, record.Digest):
			continue
		}
		if l.Terminating && l.Health.Finished != "" { // its TTL removes it
			l.Health = endedHealth(l.Health.Finished)
		}
		l.Health = en.claimHealth(l.Health)
		st.Objects.Applied++
		if l.Health.Phase == health.Current {
			st.Objects.Ready++
		}
		s.count(o.ID, l.Health)
	}
	return s
}

func (s *unhealthy) count(id object.ID, h health.Status) {
	switch h.Phase {
	case health.Current:
	case health.Failed:
		s.note(id, h, s.failed == 0)
		s.failed++
	default:
		s.note(id, h, s.failed+s.pending == 0)
		s.pending++
		if h.Unevaluated {
			s.unevaluated++
		}
	}
}

// waitedFor is what Ready waits for: what spec.healthChecks name, and with wait all objects of the entry as
// well.
func (en *entry) waitedFor(all unhealthy, namespace string) unhealthy {
	waited := all
	if !en.Spec.Wait {
		waited = unhealthy{}
	}
	checked := en.checkedHealth(namespace)
	for _, id := range slices.SortedFunc(maps.Keys(checked), object.ID.Compare) {
		waited.of++
		waited.count(id, checked[id])
	}
	return waited
}

func (s *unhealthy) note(id object.ID, h health.Status, first bool) {
	if !first {
		return
	}
	s.first = id.String() + ": " + h.Phase.String()
	if h.Message != "" {
		s.first = id.String() + ": " + h.Message
	}
}

// facts decide the Ready condition of an entry.
func (e *Engine) facts(en *entry, found unhealthy) machine.Facts {
	f := machine.Facts{
		Connected: e.conn.session != nil, Known: e.conn.state.Known,
		Cluster:   machine.Condition{Reason: e.conn.state.Reason, Message: e.conn.state.Message},
		Suspended: en.Spec.Suspend || e.conn.target != nil && e.conn.target.Suspend,
		Message:   en.message, Retained: len(en.retained), Undecided: en.undecided, Waiting: en.waiting, AppliedAt: en.appliedAt,
		Of: found.of, Failed: found.failed, Unhealthy: found.pending, Unevaluated: found.unevaluated, First: found.first, Deleting: en.deleting.count,
	}
	if en.inv != nil {
		f.Recorded = len(en.inv.Objects)
	}
	// A kind that the cluster does not serve may be defined by a controller yet, as those of Crossplane and of
	// operators are; one of Kubernetes' own is not.
	if !slices.ContainsFunc(en.failures, func(f failure) bool { return !strings.Contains(f.id.Group, ".") }) {
		f.KindMissing = en.kindMissing
	}
	if releaser, contested := e.releaser(en); releaser != "" {
		f.ReleasedBy, f.Contested = releaser, contested.String()
	}
	if id, l := en.worstLoop(); l != nil {
		f.DriftLoop = fmt.Sprintf("%s keeps being changed back%s: %s", id, l.byManager(), driftLoopRemedy)
	}
	if id, deleted := en.missing(); deleted {
		f.Missing = fmt.Sprintf("%s was deleted on the cluster, or lost its owner label, and drift.mode %s leaves it so", id, en.Spec.Drift.GetMode())
	}
	if en.deleting.count > 0 {
		f.Deletions = en.deleting.String()
	}
	return f
}

// driftLoopRemedy is how a field gets another owner.
const driftLoopRemedy = "leave the fields to it with spec.drift.ignore, or the object with the annotation skerry.dev/ssa (Merge, IfNotPresent or Ignore), or set spec.drift.mode to Report"

// worstLoop returns the object that was corrected most often, if that is a loop.
func (en *entry) worstLoop() (object.ID, *loop) {
	var id object.ID
	var worst *loop
	for i, l := range en.loops {
		if l.looping() && (worst == nil || l.count > worst.count || l.count == worst.count && i.Compare(id) < 0) {
			id, worst = i, l
		}
	}
	return id, worst
}

// byManager names the manager that keeps changing the object, where that is known.
func (l *loop) byManager() string {
	if l.by == "" {
		return ""
	}
	return " by " + l.by
}

// publish makes news public when they are due and returns when the loop must look again by itself.
func (e *Engine) publish(now time.Time) time.Time {
	if !e.conn.state.Known {
		return e.next(now)
	}
	published := e.state // which only the loop writes, as it does the report
	published.LastSeen = e.conn.state.LastSeen
	if !e.statusChanged && e.publishAt.IsZero() && published == e.conn.state {
		return e.next(now)
	}
	verifying := e.verifying(now)
	delay, changed := time.Duration(0), false
	if !verifying {
		delay, changed = pace(e.report, e.statuses, e.m.Pending(now))
		changed = changed || !e.published // that nothing is assigned
	}
	state := e.conn.state
	if published != state {
		delay, changed = 0, true
	}
	switch {
	case !changed:
		e.publishAt, e.statusChanged = time.Time{}, e.statusChanged && verifying
	case e.publishAt.IsZero() || now.Add(delay).Before(e.publishAt):
		e.publishAt = now.Add(delay)
	}
	due := changed && !now.Before(e.publishAt)
	report := e.report
	if due && !verifying { // else the last one stands
		report = currentReport(e.statuses)
	}
	e.mu.Lock()
	e.state.LastSeen = state.LastSeen
	if due {
		e.report, e.published, e.state, e.publishAt = report, e.published || !verifying, state, time.Time{}
		e.statusChanged = e.statusChanged && verifying
		e.setUnreported(e.unreported && verifying)
	}
	e.mu.Unlock()
	if due && e.o.OnChange != nil {
		e.o.OnChange(e.key)
	}
	return e.next(now)
}

// currentReport copies how the entries stand. During a pass the loop looks with each object that changes whether the
// report is due, and mostly it is not: so that compares, and only what is published is copied.
func currentReport(statuses []*v1alpha1.AssignmentEntryStatus) []v1alpha1.AssignmentEntryStatus {
	report := make([]v1alpha1.AssignmentEntryStatus, len(statuses))
	for i, s := range statuses {
		report[i] = *s
	}
	return report
}

// verifying reports whether a new session is still comparing what it found with what is assigned, or was
// not given that yet. For a moment the last report stands: that the hub looks again is no news
// about the cluster.
func (e *Engine) verifying(now time.Time) bool {
	if !e.assignmentKnown {
		return true
	}
	if _, since := e.m.Breaker(); e.conn.session == nil || now.Sub(since) > pacing.VerifyMax {
		return false
	}
	for _, en := range e.sorted {
		if en.pending() && en.Matches() && !en.Spec.Suspend {
			return true
		}
	}
	return false
}

// setUnreported counts the engine among those that have yet to report on what is assigned.
func (e *Engine) setUnreported(unreported bool) {
	switch {
	case unreported == e.unreported:
	case unreported:
		e.limits.unreported.Add(1)
	default:
		e.limits.unreported.Add(-1)
	}
	e.unreported = unreported
}

// next returns the earliest time at which something is due.
func (e *Engine) next(now time.Time) time.Time {
	next := now.Add(longestSleep)
	sooner := func(t time.Time) {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	sooner(e.publishAt)
	sooner(e.unclaimed.due)
	if _, since := e.m.Breaker(); e.conn.session != nil && now.Sub(since) <= pacing.VerifyMax {
		sooner(since.Add(pacing.VerifyMax + time.Millisecond))
	}
	if s := e.conn.session; s != nil {
		sooner(s.expressions.next())
	}
	sooner(e.m.Next(now, e.lastAnswer()))
	for _, en := range e.sorted {
		sooner(en.recheck)
	}
	return next
}

// longestSleep is how long the loop sleeps at most.
const longestSleep = 10 * time.Minute
