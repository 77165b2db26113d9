package report

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/text"
)

// maxHistory bounds the revisions that a status remembers.
const maxHistory = 5

// KustomizationFacts is what is known of one Kustomization.
type KustomizationFacts struct {
	// Object is the Kustomization with its status before.
	Object *v1alpha1.Kustomization
	Now    time.Time
	// Revision that was to be rendered; empty when it was not tried.
	Revision string
	// Err is a problem of the Kustomization as a whole. The clusters keep what they have.
	Err error
	// Selection is what is wrong with the selection. The clusters that are selected go on.
	Selection error
	// NoTargets explains why no cluster is selected; empty when there are some.
	NoTargets string
	// Rollout is what the planner decided; nil when it was not asked.
	Rollout *v1alpha1.RolloutStatus
	// CheckAt is when it is to be asked again; zero when only a change can alter its answer.
	CheckAt time.Time
	// Targets are the selected clusters.
	Targets []TargetFacts
	// PruneHeld describes where and why what was dropped is kept; empty when nothing is.
	PruneHeld string
	// Denied explains how long the account is waited for that is to delete what is left, and what else would help; empty
	// when none is.
	Denied string
	// Leaving are clusters that are selected no longer and still hold objects.
	Leaving []TargetFacts
}

// Kustomization rolls up what the clusters report of one Kustomization.
func Kustomization(f KustomizationFacts) Report[v1alpha1.KustomizationStatus] {
	ks := f.Object
	hubSide := explain(f.Err)
	all, leaving := classifyAll(f.Targets, f.Revision, hubSide), classifyLeaving(f.Leaving)

	status := *ks.Status.DeepCopy()
	status.ObservedGeneration = ks.Generation
	if f.Revision != "" {
		status.LastAttemptedRevision = f.Revision
	}
	if f.Revision != "" && hubSide == nil {
		status.Rendered = rendered(status.Rendered, f.Revision, f.Targets)
	}
	status.Clusters = countClusters(all, f, status)
	status.Objects = countObjects(f.Targets)
	status.Failures = failures(all, leaving)
	if f.Rollout != nil {
		status.Rollout = f.Rollout
	}
	if hubSide == nil && !ks.IsSuspended() && settled(all) {
		remember(&status, f.Revision, f.Now)
	}
	if handled(f, all, hubSide) {
		status.LastHandledReconcileAt = requested(ks)
	}
	conditions := append(kustomizationConditions(f, all, leaving, hubSide), drifted(f)...)
	status.Conditions = settle(ks.Status.Conditions, conditions, ks.Generation, f.Now)

	r := Report[v1alpha1.KustomizationStatus]{Status: status, Events: kustomizationEvents(ks.Status, status, f.Revision, hubSide != nil && hubSide.waiting)}
	if hubSide != nil {
		r.Requeue = hubSide.after
	}
	if !f.CheckAt.IsZero() {
		r.Requeue = max(f.CheckAt.Sub(f.Now), time.Millisecond)
	}
	return r
}

// settled means that every cluster that can be worked on is ready, and that there is one.
func settled(all []clusterResult) bool {
	return count(all, isReady) > 0 && count(all, isFailed) == 0 &&
		!slices.ContainsFunc(all, func(v clusterResult) bool { return v.held || v.state == isProgressing && !v.idle })
}

func remember(status *v1alpha1.KustomizationStatus, revision string, now time.Time) {
	if revision == "" || status.LastAppliedRevision == revision {
		return
	}
	status.LastAppliedRevision = revision
	status.History = slices.Insert(status.History, 0, v1alpha1.HistoryEntry{Revision: revision, ReadyAt: seconds(now)})
	status.History = status.History[:min(len(status.History), maxHistory)]
}

// handled reports whether the request for a reconciliation, if there is one, is done with: every
// cluster that can be worked on has verified its objects since, or there is nothing new for it.
func handled(f KustomizationFacts, all []clusterResult, hubSide *problem) bool {
	request := requested(f.Object)
	if request == "" || f.Object.IsSuspended() {
		return false
	}
	if hubSide != nil || len(f.Targets) == 0 {
		return true
	}
	for _, t := range f.Targets {
		at := slices.IndexFunc(all, func(v clusterResult) bool { return v.cluster == t.Cluster })
		out := all[at].state == isUnreachable || t.Err != nil || availability(t.Suspended, t.Conditions).Absent()
		if !out && (t.Reported == nil || t.Reported.HandledAt != request) {
			return false
		}
	}
	return !f.Object.Spec.Suspend || isSettled(f.Rollout, all)
}

// isSettled reports whether nothing goes on by itself: what a suspended Kustomization is reconciled once for is
// done then. Where a rollout waits for a person or a window, the next request continues it.
func isSettled(r *v1alpha1.RolloutStatus, all []clusterResult) bool {
	if r != nil && slices.Contains([]v1alpha1.RolloutPhase{v1alpha1.RolloutProgressing, v1alpha1.RolloutSoaking, v1alpha1.RolloutRollingBack}, r.Phase) {
		return false
	}
	return !slices.ContainsFunc(all, func(v clusterResult) bool { return v.state == isProgressing && !v.idle && !v.held })
}

func kustomizationConditions(f KustomizationFacts, all, leaving []clusterResult, hubSide *problem) []metav1.Condition {
	var want []metav1.Condition
	switch {
	case !f.Object.DeletionTimestamp.IsZero():
		want = deleting(leaving, f.Denied)
		if f.PruneHeld != "" && count(leaving, isFailed) == 0 {
			message := Line(f.PruneHeld)
			want = []metav1.Condition{ready(metav1.ConditionUnknown, v1alpha1.PruneHeldReason, message), reconciling(v1alpha1.PruneHeldReason, message)}
		}
		return want
	case f.Object.IsSuspended():
		return []metav1.Condition{ready(metav1.ConditionUnknown, v1alpha1.SuspendedReason,
			"Suspended; nothing is rendered, applied, pruned or put back")}
	case hubSide != nil:
		want = about(hubSide)
	case len(f.Targets) == 0:
		want = []metav1.Condition{ready(metav1.ConditionFalse, v1alpha1.NoClustersMatchedReason, Line(f.NoTargets))}
	default:
		want = stagedSummary(f, all)
	}
	if p := explain(f.Selection); p != nil && hubSide == nil { // what fails on clusters is in the failures
		want[slices.IndexFunc(want, isReadyCondition)] = ready(metav1.ConditionFalse, p.reason, p.message)
	}
	if len(leaving) > 0 && !slices.ContainsFunc(want, func(c metav1.Condition) bool { return c.Type != v1alpha1.ReadyCondition }) {
		want = append(want, reconciling(sameReason(leaving, v1alpha1.ProgressingReason), removing(leaving)))
	}
	if f.PruneHeld != "" && !slices.ContainsFunc(want, func(c metav1.Condition) bool { return c.Type != v1alpha1.ReadyCondition }) {
		want = append(want, reconciling(v1alpha1.PruneHeldReason, Line(f.PruneHeld)))
	}
	return want
}

func isReadyCondition(c metav1.Condition) bool { return c.Type == v1alpha1.ReadyCondition }

// summary is the worst that is known of the clusters: failed before on the way before not heard
// from. Only when there is none of these is it ready.
func summary(revision string, all []clusterResult) []metav1.Condition {
	failed, progressing, unreachable := of(all, isFailed), of(all, isProgressing), of(all, isUnreachable)
	active := slices.DeleteFunc(slices.Clone(progressing), func(v clusterResult) bool { return v.idle })
	var want []metav1.Condition
	switch {
	case len(failed) > 0:
		want = append(want, ready(metav1.ConditionFalse, sameReason(failed, v1alpha1.FailedReason), first(failed, len(all), "failed")))
	case len(active) > 0:
		reason := sameReason(active, v1alpha1.ProgressingReason)
		return []metav1.Condition{
			ready(metav1.ConditionUnknown, reason, onTheWay(revision, reason, active, len(all))),
			reconciling(reason, onTheWay(revision, reason, active, len(all))),
		}
	case len(unreachable) > 0:
		return []metav1.Condition{ready(metav1.ConditionUnknown, v1alpha1.ClustersUnreachable, first(unreachable, len(all), "unreachable"))}
	case len(progressing) > 0:
		return []metav1.Condition{ready(metav1.ConditionUnknown, v1alpha1.SuspendedReason,
			first(progressing, len(all), "suspended and not at "+revision))}
	default:
		return []metav1.Condition{ready(metav1.ConditionTrue, v1alpha1.SucceededReason, applied(revision, len(all)))}
	}
	if len(active) > 0 {
		reason := sameReason(active, v1alpha1.ProgressingReason)
		want = append(want, reconciling(reason, onTheWay(revision, reason, active, len(all))))
	}
	return want
}

func applied(revision string, n int) string {
	if n == 1 {
		return "Applied revision " + revision
	}
	return fmt.Sprintf("Applied revision %s on %d clusters", revision, n)
}

// onTheWay describes what is waited for, where it is one thing. It does not count: counts are in the
// status, and a message that changes with each cluster would be written with each cluster.
func onTheWay(revision, reason string, active []clusterResult, desired int) string {
	if reason == v1alpha1.ProgressingReason || active[0].message == "" {
		return "Applying revision " + revision
	}
	return first(active, desired, "waiting")
}

func deleting(leaving []clusterResult, denied string) []metav1.Condition {
	if len(leaving) == 0 {
		return []metav1.Condition{ready(metav1.ConditionUnknown, v1alpha1.ProgressingReason, "Deleting")}
	}
	reason, message := v1alpha1.ProgressingReason, removing(leaving)
	status := metav1.ConditionUnknown
	switch failed, unreachable := of(leaving, isFailed), of(leaving, isUnreachable); {
	case len(failed) > 0:
		status, reason = metav1.ConditionFalse, sameReason(failed, v1alpha1.FailedReason)
		message += prefixed("; ", denied)
	case len(unreachable) == len(leaving):
		reason = v1alpha1.ClustersUnreachable
	}
	return []metav1.Condition{ready(status, reason, message), reconciling(reason, message)}
}

func removing(leaving []clusterResult) string {
	for _, s := range []state{isFailed, isUnreachable} {
		if list := of(leaving, s); len(list) > 0 {
			what := map[state]string{isFailed: "cannot be cleaned up", isUnreachable: "cannot be cleaned up while unreachable"}[s]
			return first(list, len(leaving), what)
		}
	}
	if idle := slices.DeleteFunc(slices.Clone(leaving), func(v clusterResult) bool { return !v.idle }); len(idle) > 0 {
		return first(idle, len(leaving), "cannot be cleaned up")
	}
	return "Removing objects from " + text.Count(len(leaving), "cluster")
}

// classifyLeaving judges clusters that are to hold nothing any more; nothing there is ever ready.
func classifyLeaving(targets []TargetFacts) []clusterResult {
	all := classifyAll(targets, "", nil)
	for i, v := range all {
		if v.state == isReady {
			all[i] = v.is(isProgressing, v1alpha1.ProgressingReason, "")
		}
	}
	return all
}

// kustomizationEvents reports what became better or worse. To wait for something is no warning.
func kustomizationEvents(old, now v1alpha1.KustomizationStatus, revision string, waiting bool) []Event {
	var events []Event
	is, was := condition(now.Conditions, v1alpha1.ReadyCondition), condition(old.Conditions, v1alpha1.ReadyCondition)
	attempted := old.LastAttemptedRevision != now.LastAttemptedRevision
	switch {
	case old.LastAppliedRevision != now.LastAppliedRevision && !rendersAsBefore(old, now):
		events = append(events, Event{Reason: v1alpha1.SucceededReason, Message: cmp.Or(messageIf(is.Status == metav1.ConditionTrue, is.Message), "Applied revision "+revision)})
	case is.Status == metav1.ConditionTrue && was.Status == metav1.ConditionFalse:
		events = append(events, Event{Reason: is.Reason, Message: is.Message})
	}
	events = append(events, rolloutEvents(old.Rollout, now.Rollout)...)
	worse := is.Status == metav1.ConditionFalse && is.Reason != v1alpha1.RolloutHaltedReason || is.Reason == v1alpha1.ClustersUnreachable
	if worse && (is.Status != was.Status || is.Reason != was.Reason || attempted && is.Message != was.Message) {
		events = append(events, Event{Warning: !waiting, Reason: is.Reason, Message: is.Message})
	}
	return events
}

func messageIf(ok bool, text string) string {
	if ok {
		return text
	}
	return ""
}
