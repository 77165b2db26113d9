package cluster

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/sharding"
	"github.com/skerry-dev/skerry/internal/sharding/holder"
)

// claimPredicate passes Clusters to which an agent of another Cluster may have to give way from now on. When the hub
// starts, each agent is judged as it connects.
func claimPredicate() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return sharding.GainsClaim(e.ObjectOld.(*v1alpha1.Cluster), e.ObjectNew.(*v1alpha1.Cluster))
		},
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// requestsForOtherAgents returns the Clusters with an agent in the cluster that another Cluster leads to.
func (r *Reconciler) requestsForOtherAgents(ctx context.Context, o client.Object) (requests []reconcile.Request) {
	uid := o.(*v1alpha1.Cluster).Status.UID
	if uid == "" { // before the change
		return nil
	}
	found, err := holder.WithUID(ctx, r.Hub, uid)
	if err != nil {
		log.FromContext(ctx).Error(err, "cannot find the agents in the cluster of a Cluster", "cluster", client.ObjectKeyFromObject(o))
		return nil
	}
	for _, c := range found {
		if c.Spec.Agent != nil {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(c)})
		}
	}
	return requests
}
