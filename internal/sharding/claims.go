package sharding

import (
	"cmp"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// BetterClaim reports whether another Cluster, whose status names the uid of a cluster, has a better claim to
// that cluster than own: the status of own does not name the uid, or own is younger. A
// stale Cluster has no claim, unless it has an agent: that comes back after any time, and has the key. Of a Cluster that
// the hub reaches itself and one with an agent, whose statuses both name the uid, the former has the better claim whatever
// its age: the hub has read the uid there, and an agent may say any. Of two that share a cluster neither has a better claim.
func BetterClaim(other, own *v1alpha1.Cluster, uid string, now time.Time) bool {
	pushed := other.Spec.KubeConfig != nil
	if other.Spec.Sharing == v1alpha1.SharingShared && own.Spec.Sharing == v1alpha1.SharingShared {
		return false
	}
	if other.UID == own.UID || !pushed && other.Spec.Agent == nil || pushed && isStale(other, now) {
		return false
	}
	switch {
	case own.Status.UID != uid:
		return true
	case pushed != (own.Spec.KubeConfig != nil):
		return pushed
	}
	return older(other, own)
}

// Holds reports whether a Cluster may be at work on the cluster with a uid: its status names it, or none yet, and it is
// not stale.
func Holds(c *v1alpha1.Cluster, uid string, now time.Time) bool {
	return (c.Status.UID == uid || c.Status.UID == "") && (c.Spec.KubeConfig == nil || !isStale(c, now))
}

// GainsClaim reports whether a change of a Cluster that the hub reaches itself may give it a better claim than it had: it
// names the cluster from now on, has it to itself, or is not stale any more. An agent that is connected by another Cluster
// may have to give way then.
func GainsClaim(before, after *v1alpha1.Cluster) bool {
	if after.Spec.KubeConfig == nil || after.Status.UID == "" {
		return false
	}
	return before.Spec.KubeConfig == nil || before.Status.UID != after.Status.UID || before.Spec.Sharing != after.Spec.Sharing ||
		isNotReady(before) && !isNotReady(after) || isDuplicate(before) && !isDuplicate(after)
}

// staleAfter is how long a Cluster is not Ready before what its status names is free: longer than a reboot or a
// link that flaps, for otherwise two Clusters would take the cluster from each other.
const staleAfter = 10 * time.Minute

// isStale reports whether a Cluster is not Ready for so long that its kubeconfig leads nowhere any more, or is
// refused itself because another Cluster has the cluster: the uid in its status is what it led to once.
func isStale(c *v1alpha1.Cluster, now time.Time) bool {
	if !isNotReady(c) {
		return false
	}
	return isDuplicate(c) || now.Sub(meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ReadyCondition).LastTransitionTime.Time) >= staleAfter
}

func isNotReady(c *v1alpha1.Cluster) bool {
	return meta.IsStatusConditionFalse(c.Status.Conditions, v1alpha1.ReadyCondition)
}

// isDuplicate reports whether another Cluster has the cluster.
func isDuplicate(c *v1alpha1.Cluster) bool {
	return isNotReady(c) && meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ReadyCondition).Reason == v1alpha1.DuplicateClusterReason
}

func older(a, b *v1alpha1.Cluster) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name)) < 0
}
