package hub

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
)

// uidIndex finds the Clusters that lead to a cluster.
const uidIndex = "cluster.uid"

func (p *parts) indexUIDs(ctx context.Context) error {
	return p.mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.Cluster{}, uidIndex, func(o client.Object) []string {
		if uid := o.(*v1alpha1.Cluster).Status.UID; uid != "" {
			return []string{uid}
		}
		return nil
	})
}

// elsewhere returns what names another Cluster that has a better right to the cluster with a uid. It asks
// the statuses, which are there before any cluster is connected: a cluster that answers with the uid of
// another one cannot keep the hub from that by being the first.
func (p *parts) elsewhere(ctx context.Context) func(engine.Key, string) (engine.Key, bool) {
	return func(key engine.Key, uid string) (engine.Key, bool) {
		list, own := &v1alpha1.ClusterList{}, &v1alpha1.Cluster{}
		if p.reader.List(ctx, list, client.MatchingFields{uidIndex: uid}, client.UnsafeDisableDeepCopy) != nil || p.reader.Get(ctx, key, own) != nil {
			return engine.Key{}, false // the hub is about to end
		}
		for i := range list.Items {
			other := &list.Items[i]
			if betterRight(other, own, uid) {
				return client.ObjectKeyFromObject(other), true
			}
		}
		return engine.Key{}, false
	}
}

// betterRight says whether another Cluster, whose status names the uid, has a better right to the cluster
// than the own one: the status of the own one does not name it, or is of a younger Cluster.
func betterRight(other, own *v1alpha1.Cluster, uid string) bool {
	if other.UID == own.UID || other.Spec.KubeConfig == nil {
		return false
	}
	return own.Status.UID != uid || older(other, own)
}

func older(a, b *v1alpha1.Cluster) bool {
	if a.UID == b.UID {
		return false
	}
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return client.ObjectKeyFromObject(a).String() < client.ObjectKeyFromObject(b).String()
}
