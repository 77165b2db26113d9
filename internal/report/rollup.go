package report

import (
	"cmp"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/text"
)

// TargetFacts is what is known of one cluster that a Kustomization is for.
type TargetFacts struct {
	// Cluster is its name.
	Cluster string
	// Suspended means that nothing may change on it.
	Suspended bool
	// Conditions of the Cluster.
	Conditions []metav1.Condition
	// Err explains why the hub has nothing new for this cluster, while it has for others.
	Err error
	// Digest of what the revision of the facts renders for the cluster; empty when that is not known.
	Digest string
	// Held explains why the rollout keeps the cluster from the revision of the facts, if it does.
	Held string
	// Wanted is the entry in the cluster's Assignment; nil when there is none.
	Wanted *v1alpha1.AssignmentEntry
	// Reported is the report of the engine; nil when there is none yet.
	Reported *v1alpha1.AssignmentEntryStatus
}

// state is where a cluster is counted.
type state int

const (
	isReady state = iota
	isProgressing
	isFailed
	isUnreachable
)

// clusterResult is what is said of one cluster.
type clusterResult struct {
	cluster string
	state   state
	reason  string
	message string
	// idle means that nothing goes on there and nothing will by itself.
	idle bool
	// held means that the rollout keeps it at what it has.
	held bool
}

// classify counts a cluster. The revision is what it is to be at; empty when that is not known. hubSide
// is the problem of the Kustomization as a whole, or nil.
func classify(t TargetFacts, revision string, hubSide *problem) clusterResult {
	v := clusterResult{cluster: t.Cluster}
	can := availability(t.Suspended, t.Conditions)
	p := explain(t.Err)
	switch {
	case p != nil && p.waiting:
		return v.is(isProgressing, p.reason, p.message)
	case p != nil:
		return v.is(isFailed, p.reason, p.message)
	case can.Unreachable:
		return v.is(isUnreachable, can.Reason, can.Message)
	}
	v = classifyEntry(v, t, revision, hubSide)
	if t.Suspended && v.state == isProgressing {
		v.idle = true
		return v.is(isProgressing, v1alpha1.SuspendedReason, "The cluster is suspended")
	}
	return v
}

func classifyEntry(v clusterResult, t TargetFacts, revision string, hubSide *problem) clusterResult {
	if hubSide == nil && t.Held != "" && (t.Wanted == nil || t.Wanted.Digest != t.Digest) {
		v.held, revision = true, "" // counted by what it has
	}
	switch {
	case v.held && t.Wanted == nil:
		return v.is(isProgressing, v1alpha1.RolloutWaitingReason, t.Held)
	case t.Wanted == nil && hubSide != nil && !hubSide.waiting:
		return v.is(isFailed, hubSide.reason, "There is nothing to apply yet")
	case t.Wanted == nil || t.Reported == nil:
		return v.is(isProgressing, v1alpha1.ProgressingReason, "")
	case hubSide == nil && revision != "" && t.Wanted.Digest != t.Digest:
		return v.is(isProgressing, v1alpha1.ProgressingReason, "")
	case !attempted(t):
		return v.is(isProgressing, v1alpha1.ProgressingReason, "")
	case t.Reported.Ready == metav1.ConditionFalse:
		return v.is(isFailed, t.Reported.Reason, t.Reported.Message)
	case t.Reported.Ready != metav1.ConditionTrue:
		return v.is(isProgressing, t.Reported.Reason, t.Reported.Message)
	case t.Reported.AppliedDigest != t.Wanted.Digest:
		return v.is(isProgressing, v1alpha1.ProgressingReason, "")
	}
	return v.is(isReady, t.Reported.Reason, "")
}

// attempted reports whether what is reported is about what is wanted.
func attempted(t TargetFacts) bool {
	_, digest := t.Reported.Attempted()
	return digest == t.Wanted.Digest
}

// is completes a verdict. What an engine or a cluster said is made one line here.
func (v clusterResult) is(s state, reason, message string) clusterResult {
	v.state, v.reason, v.message = s, cmp.Or(reason, v1alpha1.FailedReason), Line(message)
	if s == isProgressing && reason == "" {
		v.reason = v1alpha1.ProgressingReason
	}
	return v
}

func classifyAll(targets []TargetFacts, revision string, hubSide *problem) []clusterResult {
	all := make([]clusterResult, 0, len(targets))
	for _, t := range targets {
		all = append(all, classify(t, revision, hubSide))
	}
	slices.SortFunc(all, func(a, b clusterResult) int { return cmp.Compare(a.cluster, b.cluster) })
	return all
}

// of returns the verdicts of one state, in order.
func of(all []clusterResult, s state) []clusterResult {
	var found []clusterResult
	for i := range all {
		if all[i].state == s {
			found = append(found, all[i])
		}
	}
	return found
}

// count counts the verdicts of one state.
func count(all []clusterResult, s state) (n int32) {
	for i := range all {
		if all[i].state == s {
			n++
		}
	}
	return n
}

func countClusters(all []clusterResult, f KustomizationFacts, status v1alpha1.KustomizationStatus) v1alpha1.ClusterCounts {
	counts := v1alpha1.ClusterCounts{
		Desired:     int32(len(all)),
		Ready:       count(all, isReady),
		Progressing: count(all, isProgressing),
		Failed:      count(all, isFailed),
		Unreachable: count(all, isUnreachable),
	}
	for _, t := range f.Targets {
		if t.Err == nil && t.Wanted != nil && t.Reported != nil && t.Reported.AppliedDigest == t.Wanted.Digest && isAt(t, f, status) {
			counts.Updated++
		}
	}
	return counts
}

// isAt reports whether the cluster is assigned the revision that was attempted last.
func isAt(t TargetFacts, f KustomizationFacts, status v1alpha1.KustomizationStatus) bool {
	if f.Revision != "" && explain(f.Err) == nil {
		return t.Wanted.Digest == t.Digest
	}
	return status.LastAttemptedRevision != "" && RevisionOf(status.Rendered, t.Wanted.Revision, t.Wanted.Digest) == status.LastAttemptedRevision
}

func countObjects(targets []TargetFacts) v1alpha1.ObjectCounts {
	var sum v1alpha1.ObjectCounts
	for _, t := range targets {
		if t.Reported != nil {
			sum.Total += t.Reported.Objects.Total
			sum.Applied += t.Reported.Objects.Applied
			sum.Ready += t.Reported.Objects.Ready
		}
	}
	return sum
}

// maxFailures bounds the clusters that a status names.
const maxFailures = 10

// failures names the clusters that are not right: those that failed first, then those not heard
// from, then those that wait for something other than their own objects.
func failures(all []clusterResult, leaving []clusterResult) []v1alpha1.ClusterFailure {
	waiting := slices.DeleteFunc(of(all, isProgressing), func(v clusterResult) bool {
		return v.reason == v1alpha1.ProgressingReason || v.reason == v1alpha1.WaitingForHealthReason || v.reason == v1alpha1.RolloutWaitingReason
	})
	gone := slices.DeleteFunc(slices.Clone(leaving), func(v clusterResult) bool { return v.state == isProgressing && !v.idle })
	var list []v1alpha1.ClusterFailure
	for _, v := range slices.Concat(of(all, isFailed), of(all, isUnreachable), waiting, gone) {
		if len(list) == maxFailures {
			break
		}
		list = append(list, v1alpha1.ClusterFailure{Cluster: v.cluster, Reason: v.reason, Message: v.message})
	}
	return list
}

// sameReason returns the reason that all share, or other.
func sameReason(list []clusterResult, other string) string {
	for _, v := range list {
		if v.reason != list[0].reason {
			return other
		}
	}
	return list[0].reason
}

// first describes how many of how many are in a state, and what is the matter with the first one.
func first(list []clusterResult, desired int, what string) string {
	text := fmt.Sprintf("%s %s: %s", clusters(len(list), desired), what, list[0].cluster)
	if list[0].message != "" {
		text += ": " + list[0].message
	}
	return Line(text)
}

func clusters(n, of int) string {
	return fmt.Sprintf("%d of %s", n, text.Count(of, "cluster"))
}
