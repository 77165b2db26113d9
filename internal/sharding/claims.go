package sharding

import (
	"cmp"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// BetterClaim reports whether another Cluster, whose status names the uid of a cluster, has a better claim to
// that cluster than own: the status of own does not name the uid, or own is younger.
func BetterClaim(other, own *v1alpha1.Cluster, uid string) bool {
	if other.UID == own.UID || other.Spec.KubeConfig == nil {
		return false
	}
	return own.Status.UID != uid || older(other, own)
}

func older(a, b *v1alpha1.Cluster) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name)) < 0
}
