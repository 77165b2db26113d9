package machine

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/text"
)

// DeletionGrace is how long a deletion may take before it is reported: most objects are gone within
// milliseconds, and a status that named each of them would flap with every prune.
const DeletionGrace = 2 * time.Second

// Facts are what decides what Ready reports of an entry.
type Facts struct {
	// Connected means that there is a session. Without one, Known means that the cluster was tried at least
	// once, and Cluster why there is none.
	Connected, Known bool
	Cluster          Condition
	// Suspended is the Kustomization, or the Cluster.
	Suspended bool
	// ReleasedBy names the Kustomization that is about to release Contested, which another one owns.
	ReleasedBy, Contested string
	// KindMissing is since when a kind is not served that a controller may define yet; zero for none.
	KindMissing time.Time
	// Message belongs to the Reason of the entry.
	Message string
	// Retained is how many objects stay for other Kustomizations; Undecided means that of some it is not
	// known whether one desires them.
	Retained  int
	Undecided bool
	// Recorded is how many objects the inventory has.
	Recorded int
	// Waiting is what a later stage waits for, and AppliedAt since when.
	Waiting   string
	AppliedAt time.Time
	// DriftLoop describes the object that is changed back time and again; empty when there is none.
	DriftLoop string
	// Missing describes an object that was deleted on the cluster and is left so (drift.mode); empty when
	// there is none.
	Missing string
	// Of is how many objects Ready waits for. Failed and Unhealthy are not healthy, for good or not yet, and
	// First describes the first of them. Of Unevaluated ones it is not known, because the steps of
	// spec.healthCheckExprs are at a limit.
	Of, Failed, Unhealthy, Unevaluated int
	First                              string
	// Deleting is how many objects are being deleted, and Deletions describes them.
	Deleting  int
	Deletions string
}

// Condition is the content of a condition.
type Condition struct {
	Status          metav1.ConditionStatus
	Reason, Message string
}

// Since is what Ready remembers: since when objects have not been healthy, and since when a deletion has
// been under way; zero when they are, and none is.
type Since struct{ Unhealthy, Deleting time.Time }

// Readiness is what Ready reports.
type Readiness struct {
	Condition
	// ObjectsReady means that what depends on the entry may go on, whatever it still deletes.
	ObjectsReady bool
	// RecheckAt is when it changes without an event; zero for never.
	RecheckAt time.Time
}

func is(s metav1.ConditionStatus, reason, format string, args ...any) Readiness {
	return Readiness{Condition: Condition{s, reason, fmt.Sprintf(format, args...)}}
}

const (
	yes     = metav1.ConditionTrue
	no      = metav1.ConditionFalse
	unknown = metav1.ConditionUnknown
)

// Readiness is the one place that decides what Ready reports of an entry.
func (en *Entry) Readiness(f Facts, since *Since, now time.Time) Readiness {
	switch {
	case !f.Connected && !f.Known:
		return is(unknown, v1alpha1.ProgressingReason, "connecting")
	case !f.Connected:
		return Readiness{Condition: Condition{unknown, f.Cluster.Reason, f.Cluster.Message}}
	case f.Suspended:
		return is(unknown, v1alpha1.SuspendedReason, "suspended")
	case en.Spec.Remove && en.Removed:
		return is(yes, v1alpha1.SucceededReason, "removed")
	case en.Blocked != "":
		return is(unknown, v1alpha1.DependencyNotReadyReason, "waits for Kustomization %s", en.Blocked)
	case en.Reason == v1alpha1.UnreachableReason, en.Reason == v1alpha1.ProgressingReason, en.Reason == v1alpha1.PruneHeldReason:
		return Readiness{Condition: Condition{unknown, en.Reason, f.Message}}
	case f.ReleasedBy != "":
		return is(unknown, v1alpha1.ProgressingReason, "waits for Kustomization %s to release %s", f.ReleasedBy, f.Contested)
	case en.Reason == v1alpha1.KindNotFoundReason && now.Before(f.KindMissing.Add(en.Spec.Timeout.Duration)):
		return Readiness{Condition: Condition{unknown, en.Reason, f.Message}, RecheckAt: f.KindMissing.Add(en.Spec.Timeout.Duration)}
	case en.Reason != "":
		return Readiness{Condition: Condition{no, en.Reason, f.Message}}
	case en.Spec.Remove:
		return en.removal(f, since, now)
	case en.Result == Pending:
		return is(unknown, v1alpha1.ProgressingReason, "applying")
	case f.Waiting != "":
		return en.untilTimeout(now, f.AppliedAt, "waits: "+f.Waiting)
	case f.DriftLoop != "":
		return is(no, v1alpha1.DriftLoopReason, "%s", f.DriftLoop)
	}
	if r := en.health(f, since, now); r.Status != yes {
		return r
	}
	if f.Missing != "" {
		return is(no, v1alpha1.ObjectMissingReason, "%s", f.Missing)
	}
	r := en.deletions(f, since, now)
	r.ObjectsReady = true
	return r
}

// removal is what Ready reports of an entry that is being removed.
func (en *Entry) removal(f Facts, since *Since, now time.Time) Readiness {
	switch {
	case en.Result == Pending:
		return is(unknown, v1alpha1.ProgressingReason, "removing its objects")
	case f.Retained > 0 && f.Undecided:
		return is(unknown, v1alpha1.PruneHeldReason, "keeps %s: whether another Kustomization desires them is not known", text.Count(f.Retained, "object"))
	case f.Retained > 0:
		return is(unknown, v1alpha1.ProgressingReason, "keeps %s for Kustomizations that have not arrived here", text.Count(f.Retained, "object"))
	}
	r := en.deletions(f, since, now)
	if r.Status == yes { // the inventory goes next
		r.Condition = is(unknown, v1alpha1.ProgressingReason, "waits for %s to be gone", text.Count(f.Recorded, "object")).Condition
	}
	return r
}

// health is what Ready reports of the health of objects.
func (en *Entry) health(f Facts, since *Since, now time.Time) Readiness {
	if f.Failed+f.Unhealthy == 0 {
		since.Unhealthy = time.Time{}
		return is(yes, v1alpha1.SucceededReason, "") // the counts show it
	}
	if since.Unhealthy.IsZero() {
		since.Unhealthy = now
	}
	message := fmt.Sprintf("%d of %s not healthy; %s", f.Failed+f.Unhealthy, text.Count(f.Of, "object"), f.First)
	if f.Failed > 0 {
		return is(no, v1alpha1.HealthCheckFailedReason, "%s", message)
	}
	r := en.untilTimeout(now, since.Unhealthy, message)
	if f.Unevaluated > 0 {
		r.Reason = v1alpha1.HealthCheckLimitExceededReason
	}
	return r
}

// untilTimeout is Unknown until the timeout, False from then on.
func (en *Entry) untilTimeout(now, since time.Time, message string) Readiness {
	deadline := since.Add(en.Spec.Timeout.Duration)
	if !now.Before(deadline) {
		return is(no, v1alpha1.HealthCheckFailedReason, "%s", message)
	}
	r := is(unknown, v1alpha1.WaitingForHealthReason, "%s", message)
	r.RecheckAt = deadline
	return r
}

// deletions is the end of judging an entry whose objects are all as desired: it is not done before what
// left Git has left the cluster. Until the timeout that is on its way, from then on it has failed. With
// wait off, only the failure is reported.
//
// A commit drops a custom resource whose finalizer no controller takes off, at 12:00:00, timeout 5m:
// until 12:00:02 the entry is Progressing, then DeletionPending with the object and its finalizer, and
// Ready=False from 12:05:00. When the finalizer goes, Ready=True.
func (en *Entry) deletions(f Facts, since *Since, now time.Time) Readiness {
	if f.Deleting == 0 {
		since.Deleting = time.Time{}
		return is(yes, v1alpha1.SucceededReason, "")
	}
	if since.Deleting.IsZero() {
		since.Deleting = now
	}
	reported, late := since.Deleting.Add(DeletionGrace), since.Deleting.Add(en.Spec.Timeout.Duration)
	pending := "waits for deletions: " + f.Deletions
	if !now.Before(late) {
		return is(no, v1alpha1.DeletionPendingReason, "%s", pending)
	}
	r := is(unknown, v1alpha1.DeletionPendingReason, "%s", pending)
	switch {
	case !en.Spec.Wait && !en.Spec.Remove:
		r = is(yes, v1alpha1.SucceededReason, "")
	case now.Before(reported):
		r = is(unknown, v1alpha1.ProgressingReason, "deleting what is wanted no longer")
	}
	r.RecheckAt = late
	if now.Before(reported) && reported.Before(late) {
		r.RecheckAt = reported
	}
	return r
}
