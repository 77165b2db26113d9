package report

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/pacing"
)

// maxRetry bounds the pause between two tries of a source that fails.
const maxRetry = time.Minute

// SourceFacts is what one check of a Git repository found.
type SourceFacts struct {
	// Object is the GitRepository with its status before the check.
	Object *v1alpha1.GitRepository
	Now    time.Time
	// Artifact is what the ref leads to; nil when Err is not.
	Artifact *v1alpha1.Artifact
	// Included are the artifacts of other repositories that it was put together of.
	Included []v1alpha1.Artifact
	// Rewritten means that the commit before is no ancestor of this one.
	Rewritten bool
	// Submodules are the paths of submodules, which are left out.
	Submodules []string
	// IgnoredKeys are the keys of the repository's Secrets that nothing reads.
	IgnoredKeys []string
	// IgnoredKeysChanged means that they were others in the check before.
	IgnoredKeysChanged bool
	// Verified describes what of the artifact was verified to be signed; "" where nothing had to be.
	Verified string
	// Unverified means that Err is about a signature or the keys to verify it with.
	Unverified bool
	// Err explains why there is no artifact.
	Err error
	// Failures counts the checks in a row that failed, this one included.
	Failures int
	// Jitter is a random number in [-1, 1) that spreads the checks.
	Jitter float64
}

// Source reports one check of a Git repository. What was fetched earlier stays while checks fail.
func Source(f SourceFacts) Report[v1alpha1.GitRepositoryStatus] {
	r := f.Object
	status := *r.Status.DeepCopy()
	status.ObservedGeneration = r.Generation
	status.LastHandledReconcileAt = requested(r)
	switch p := explain(f.Err); {
	case r.Spec.Suspend:
		status.LastHandledReconcileAt = r.Status.LastHandledReconcileAt
		return source(f, status, append(unverified(f, nil), ready(metav1.ConditionUnknown, v1alpha1.SuspendedReason, suspendedSource(r)))...)
	case p != nil:
		return source(f, status, append(about(p), unverified(f, p)...)...)
	}
	status.Artifact, status.IncludedArtifacts = f.Artifact, f.Included
	status.SourceVerificationMode = nil
	var verified []metav1.Condition
	if v := r.Spec.Verification; v != nil {
		mode := v.GetMode()
		status.SourceVerificationMode = &mode
		verified = append(verified, v1alpha1.Condition(v1alpha1.SourceVerifiedCondition, metav1.ConditionTrue, v1alpha1.SucceededReason, f.Verified))
	}
	return source(f, status, append(verified, ready(metav1.ConditionTrue, v1alpha1.SucceededReason, "Fetched revision "+f.Artifact.Revision))...)
}

// unverified returns the condition SourceVerified after a check that failed. A signature that does not hold is
// about what the ref leads to now; any other failure leaves the condition as it was, about the artifact.
func unverified(f SourceFacts, p *problem) []metav1.Condition {
	switch before := meta.FindStatusCondition(f.Object.Status.Conditions, v1alpha1.SourceVerifiedCondition); {
	case f.Object.Spec.Verification == nil:
		return nil
	case f.Unverified:
		return []metav1.Condition{v1alpha1.Condition(v1alpha1.SourceVerifiedCondition, metav1.ConditionFalse, p.reason, p.message)}
	case before != nil:
		return []metav1.Condition{v1alpha1.Condition(before.Type, before.Status, before.Reason, before.Message)}
	}
	return nil
}

func suspendedSource(r *v1alpha1.GitRepository) string {
	if r.Status.Artifact == nil {
		return "Suspended; nothing was fetched yet"
	}
	return "Suspended; revision " + r.Status.Artifact.Revision + " stays in use"
}

func source(f SourceFacts, status v1alpha1.GitRepositoryStatus, want ...metav1.Condition) Report[v1alpha1.GitRepositoryStatus] {
	old := f.Object.Status
	status.Conditions = settle(old.Conditions, want, f.Object.Generation, f.Now)
	return Report[v1alpha1.GitRepositoryStatus]{
		Status:  status,
		Events:  sourceEvents(f, old, status),
		Requeue: sourceRequeue(f),
	}
}

func sourceEvents(f SourceFacts, old, now v1alpha1.GitRepositoryStatus) []Event {
	if f.Object.Spec.Suspend {
		return nil
	}
	is := condition(now.Conditions, v1alpha1.ReadyCondition)
	if f.Err != nil {
		if !changed(old.Conditions, now.Conditions) {
			return aboutSecrets(f, f.IgnoredKeysChanged)
		}
		return append(aboutSecrets(f, true), Event{Warning: true, Reason: is.Reason, Message: is.Message})
	}
	events := aboutSecrets(f, f.IgnoredKeysChanged || old.Artifact == nil || old.Artifact.Revision != now.Artifact.Revision)
	switch {
	case old.Artifact == nil || old.Artifact.Revision != now.Artifact.Revision:
		events = append(events, Event{Reason: v1alpha1.NewRevisionReason, Message: is.Message})
		events = append(events, aboutHistory(f, old)...)
	case condition(old.Conditions, v1alpha1.ReadyCondition).Status == metav1.ConditionFalse:
		events = append(events, Event{Reason: is.Reason, Message: is.Message})
	}
	return events
}

// aboutSecrets names the keys that nothing reads where something else is reported as well: one of them may be
// a key that is missing under another name.
func aboutSecrets(f SourceFacts, isChanged bool) []Event {
	if len(f.IgnoredKeys) == 0 || !isChanged {
		return nil
	}
	return []Event{{Warning: true, Reason: v1alpha1.IgnoredSecretKeysReason, Message: Line(
		"Nothing reads these keys of the Secrets of secretRef and proxySecretRef: " + strings.Join(f.IgnoredKeys, ", "))}}
}

func aboutHistory(f SourceFacts, old v1alpha1.GitRepositoryStatus) []Event {
	var events []Event
	if f.Rewritten && old.Artifact != nil {
		events = append(events, Event{Warning: true, Reason: v1alpha1.ForcePushReason, Message: fmt.Sprintf(
			"History was rewritten: %s does not follow from %s", f.Artifact.Revision, old.Artifact.Revision)})
	}
	if len(f.Submodules) > 0 {
		events = append(events, Event{Warning: true, Reason: v1alpha1.SubmodulesIgnoredReason, Message: Line(
			"Submodules are left out: " + strings.Join(f.Submodules, ", "))})
	}
	return events
}

// sourceRequeue spreads the checks by 5 % of the interval. After failures it is a second, which doubles up to the interval,
// or a minute.
func sourceRequeue(f SourceFacts) time.Duration {
	interval := f.Object.Spec.Interval.Duration
	p := explain(f.Err)
	switch {
	case f.Object.Spec.Suspend:
		return 0
	case p == nil:
		return spread(interval, f.Jitter)
	case p.after > 0:
		return spread(p.after, f.Jitter)
	}
	return spread(pacing.Backoff(f.Failures, time.Second, min(interval, maxRetry)), f.Jitter)
}

func spread(d time.Duration, jitter float64) time.Duration {
	return d + time.Duration(float64(d)*0.05*jitter)
}

// requested is the value that asks for a reconciliation now.
func requested(o metav1.Object) string {
	return v1alpha1.ReconcileRequest(o.GetAnnotations())
}
