package cluster

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/hubapi"
)

// Holder decides which Clusters this process works on, where several share a fleet.
type Holder interface {
	// Hold reports whether this process works on a Cluster. Before it gives one away it calls release. Where
	// something is waited for, it also returns when to look again, or wakes the Cluster.
	Hold(ctx context.Context, c *v1alpha1.Cluster, release func()) (bool, time.Duration, error)
	// Forget is told of a Cluster that is not there any more.
	Forget(ctx context.Context, key engine.Key) error
}

// Moved is called when a Cluster may belong to another process now. It does not block.
func (r *Reconciler) Moved(key engine.Key) { r.trigger.Enqueue(key) }

// held reports whether this process works on a Cluster. What it had of one that is another's is released
// before another process may have it.
func (r *Reconciler) held(ctx context.Context, key engine.Key, c *v1alpha1.Cluster) (bool, reconcile.Result, error) {
	if r.Holder == nil {
		return true, reconcile.Result{}, nil
	}
	ours, again, err := r.Holder.Hold(ctx, c, func() { r.forget(key) })
	if err != nil {
		result, err := hubapi.ResultForError(err)
		return false, result, err
	}
	return ours, reconcile.Result{RequeueAfter: again}, nil
}

func (r *Reconciler) notThere(ctx context.Context, key engine.Key) error {
	r.forget(key)
	if r.Holder == nil {
		return nil
	}
	return r.Holder.Forget(ctx, key)
}

// handoverPredicate passes Clusters that another process holds from now on, or none.
func handoverPredicate() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.(*v1alpha1.Cluster).Status.Shard != e.ObjectNew.(*v1alpha1.Cluster).Status.Shard
		},
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}
