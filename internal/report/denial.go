package report

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// DenialGracePeriod is how long a person has to give the account of a Kustomization what it needs to delete its objects.
const DenialGracePeriod = 5 * time.Minute

// Denial is the state of an entry whose objects are to be deleted in the name of an account that is not there, or that
// has no right to. The zero value is for an entry of which neither is known.
type Denial struct {
	// Until is when the wait for the account ends; zero once it has.
	Until time.Time
	// GivenUp means that the objects are left on the cluster.
	GivenUp bool
}

// Deletion is how long what is deleted has been on its way out.
type Deletion struct {
	// Deleted is when it was deleted.
	Deleted time.Time
	// Since is when this process began with the removal: later than Deleted where no hub was running.
	Since time.Time
	Now   time.Time
	// GracePeriod is how long an account is waited for.
	GracePeriod time.Duration
}

// DenialOf returns the denial of an entry in the Assignment of a Cluster, by what its engine has reported last. It is
// waited from the deletion, or from when this process began with it or the cluster was reached since: what was reported
// before that may be old, and not of the removal at all.
//
//	12:00 deleted, 12:01 ServiceAccountNotFound       until 12:05: the account may be created again
//	12:05                                             given up: the objects are released, as with Orphan
//	12:06 reported as removed, or not reached         still given up
//	reached at 12:04 after a day, Forbidden           until 12:09
//	no hub was running until 12:06, Forbidden         until 12:11
//	DeletionPending, Unreachable, Progressing         none: no account is missing
func DenialOf(e *v1alpha1.AssignmentEntry, reported *v1alpha1.AssignmentEntryStatus, c *v1alpha1.Cluster, d Deletion) Denial {
	if e == nil || !e.Remove {
		return Denial{}
	}
	if e.DeletionPolicy == v1alpha1.DeletionOrphan && !d.Now.Before(d.Deleted.Add(d.GracePeriod)) {
		return Denial{GivenUp: true} // what was given up stays so
	}
	reachable := condition(c.Status.Conditions, v1alpha1.ReachableCondition)
	if reported == nil || reported.Removed || !v1alpha1.IsDenied(reported.Reason) || reachable.Status != metav1.ConditionTrue {
		return Denial{}
	}
	from := slices.MaxFunc([]time.Time{d.Deleted, d.Since, reachable.LastTransitionTime.Time}, time.Time.Compare)
	if until := from.Add(d.GracePeriod); d.Now.Before(until) {
		return Denial{Until: until}
	}
	return Denial{GivenUp: true}
}

// Remedy is what ends the wait of a denial, where spec.deletionPolicy decides what becomes of the objects.
func (d Denial) Remedy() string {
	return "give the ServiceAccount what it lacks there, or set spec.deletionPolicy to Orphan, which leaves the objects; that happens by itself at " + d.Until.UTC().Format("15:04:05 MST")
}
