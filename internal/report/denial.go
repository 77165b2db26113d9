package report

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// DenialPatience is how long a person has to give the account of a Kustomization what it needs to delete its objects.
const DenialPatience = 5 * time.Minute

// Denial is the state of an entry whose objects are to be deleted in the name of an account that is not there, or that
// has no right to. The zero value is for an entry of which neither is known.
type Denial struct {
	// Until is when the wait for the account ends; zero once it has.
	Until time.Time
	// GivenUp means that the objects are left on the cluster.
	GivenUp bool
}

// DenialOf returns the denial of an entry in the Assignment of a Cluster, by what its engine has reported last. It is
// waited from the deletion, or from when the cluster was reached since: what was reported before that may be old.
//
//	12:00 deleted, 12:01 ServiceAccountNotFound       until 12:05: the account may be created again
//	12:05                                             given up: the objects are released, as with Orphan
//	12:06 reported as removed, or not reached         still given up
//	reached at 12:04 after a day, Forbidden           until 12:09
//	DeletionPending, Unreachable, Progressing         none: no account is missing
func DenialOf(e *v1alpha1.AssignmentEntry, reported *v1alpha1.AssignmentEntryStatus, c *v1alpha1.Cluster, deleted, now time.Time, patience time.Duration) Denial {
	if e == nil || !e.Remove {
		return Denial{}
	}
	if e.DeletionPolicy == v1alpha1.DeletionOrphan && !now.Before(deleted.Add(patience)) {
		return Denial{GivenUp: true} // what was given up stays so
	}
	reachable := condition(c.Status.Conditions, v1alpha1.ReachableCondition)
	if reported == nil || reported.Removed || !v1alpha1.IsDenied(reported.Reason) || reachable.Status != metav1.ConditionTrue {
		return Denial{}
	}
	from := deleted
	if at := reachable.LastTransitionTime.Time; at.After(from) {
		from = at
	}
	if until := from.Add(patience); now.Before(until) {
		return Denial{Until: until}
	}
	return Denial{GivenUp: true}
}

// Remedy is what ends the wait of a denial, where spec.deletionPolicy decides what becomes of the objects.
func (d Denial) Remedy() string {
	return "give the ServiceAccount what it lacks there, or set spec.deletionPolicy to Orphan, which leaves the objects; that happens by itself at " + d.Until.UTC().Format("15:04:05 MST")
}
