package rollout

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// IsVerified reports whether what an entry of an Assignment holds is verified on its cluster: the last
// verified change brought it, or it was assigned no later than that change was verified. The second
// holds because a change that renders the same for a cluster does not touch the entry, and because a
// later change is never assigned at an earlier time (see AssignedAt).
//
// Example: commit 1 was assigned and verified at 12:00, commit 2, which alters another cluster, was
// verified at 13:00. The entry still names commit 1, and is verified as part of commit 2. An entry that
// commit 3 brought at 14:00 is not, until commit 3 or a later one is.
func IsVerified(e *v1alpha1.AssignmentEntry, s *v1alpha1.RolloutStatus) bool {
	switch {
	case e == nil || e.Remove || e.Digest == "" || s == nil:
		return false
	case s.Verified != nil && e.Change == s.Verified.ID:
		return true
	}
	return s.VerifiedAt != nil && e.AssignedAt != nil && !e.AssignedAt.After(s.VerifiedAt.Time)
}

// PositionOf returns what a cluster is assigned, seen from a change that renders the digest for it.
func PositionOf(e *v1alpha1.AssignmentEntry, digest string) Position {
	switch {
	case e == nil || e.Remove || e.Digest == "":
		return None
	case e.Digest != digest:
		return Other
	}
	return AtTarget
}

// Returns reports whether the cluster returns to something else when the change with the id is undone.
// An entry that had the digest of the change before, and verified, stays: the change has altered nothing
// there.
func Returns(e *v1alpha1.AssignmentEntry, s *v1alpha1.RolloutStatus, id string) bool {
	if e == nil || e.Remove || e.Fallback == nil || e.Fallback.Digest == e.Digest {
		return false
	}
	return isAssignedBy(e, s, id) || !IsVerified(e, s)
}

// isAssignedBy reports whether this rollout of the change brought the entry. A branch that is set back to
// a commit makes a new rollout of a change that entries name already.
func isAssignedBy(e *v1alpha1.AssignmentEntry, s *v1alpha1.RolloutStatus, id string) bool {
	return e.Change == id && s != nil && s.ID == id &&
		(s.StartedAt == nil || e.AssignedAt == nil || !e.AssignedAt.Before(s.StartedAt))
}

// Fallback returns what a cluster goes back to when the change that it gets next is undone: what it has,
// if that is verified, or else what that would have gone back to.
func Fallback(e *v1alpha1.AssignmentEntry, s *v1alpha1.RolloutStatus) *v1alpha1.Bundle {
	switch {
	case e == nil || e.Remove:
		return nil
	case !IsVerified(e, s):
		return e.Fallback
	}
	return &v1alpha1.Bundle{Revision: e.Revision, Digest: e.Digest}
}

// AssignedAt returns the time of an assignment that is decided now. It lies behind that of the entry
// before, which a replica with another clock may have decided, and behind the last verification, so that
// what is not verified is never taken for verified.
func AssignedAt(now time.Time, was *v1alpha1.AssignmentEntry, s *v1alpha1.RolloutStatus) *metav1.Time {
	at := metav1.NewTime(now.Truncate(time.Second))
	if was != nil && at.Before(was.AssignedAt) {
		at = *was.AssignedAt
	}
	if s != nil && s.VerifiedAt != nil && !at.After(s.VerifiedAt.Time) {
		at = metav1.NewTime(s.VerifiedAt.Add(time.Second))
	}
	return &at
}

// Unverify returns the time of assignment of an entry that keeps what is not verified, though the status
// that is about to be recorded would take it for verified; nil when the entry is right as it is. It is to
// be written before that status. There are two of them:
//   - a change has just been verified, and the cluster keeps something else that was not verified before;
//   - the verified change was undone, and the cluster has nothing to go back to.
//
// Digest is what the change renders for the cluster.
func Unverify(e *v1alpha1.AssignmentEntry, digest string, before, now *v1alpha1.RolloutStatus) *metav1.Time {
	if now == nil || now.VerifiedAt == nil || !IsVerified(e, now) {
		return nil
	}
	missed := e.Digest != digest && !IsVerified(e, before)
	undone := now.Verified == nil && before != nil && before.Verified != nil && e.Change == before.Verified.ID && !Returns(e, now, now.ID)
	if !missed && !undone {
		return nil
	}
	at := metav1.NewTime(now.VerifiedAt.Add(time.Second))
	return &at
}
