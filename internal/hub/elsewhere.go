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
	if p.share.N == 1 {
		return nil
	}
	return p.mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.Cluster{}, uidIndex, func(o client.Object) []string {
		if uid := o.(*v1alpha1.Cluster).Status.UID; uid != "" {
			return []string{uid}
		}
		return nil
	})
}

// elsewhere returns what says whether another process works on a cluster, in the name of another
// Cluster. The pool of engines sees to those of this process. Of two, the older one has it.
func (p *parts) elsewhere(ctx context.Context) func(engine.Key, string) (engine.Key, bool) {
	if p.share.N == 1 {
		return nil
	}
	return func(key engine.Key, uid string) (engine.Key, bool) {
		list, own := &v1alpha1.ClusterList{}, &v1alpha1.Cluster{}
		if p.reader.List(ctx, list, client.MatchingFields{uidIndex: uid}, client.UnsafeDisableDeepCopy) != nil || p.reader.Get(ctx, key, own) != nil {
			return engine.Key{}, false // the hub is about to end
		}
		for i := range list.Items {
			other := &list.Items[i]
			if other.Status.Shard != p.share.Record() && older(other, own) {
				return client.ObjectKeyFromObject(other), true
			}
		}
		return engine.Key{}, false
	}
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
