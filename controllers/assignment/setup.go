package assignment

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/hubapi"
)

// SetUp adds the controller to the manager; concurrency bounds the reconciles at once.
func (r *Reconciler) SetUp(mgr manager.Manager, concurrency int) error {
	if err := mgr.Add(r.writes); err != nil {
		return fmt.Errorf("cannot add the writer: %w", err)
	}
	return builder.ControllerManagedBy(mgr).
		Named("assignment").
		For(&v1alpha1.Assignment{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		// A Cluster and its Assignment have one name.
		Watches(&v1alpha1.Cluster{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(comesAndGoes())).
		Watches(&v1alpha1.Assignment{}, r.foreignStatus()).
		WatchesRawSource(&r.trigger).
		WithOptions(hubapi.Options(concurrency)).
		Complete(hubapi.WaitForAPIServer(r.Hub, r))
}

// foreignStatus wakes the controller when another has written the status of an Assignment, a restore that
// wiped it for example. What an engine reports is written again.
func (r *Reconciler) foreignStatus() handler.EventHandler {
	return handler.Funcs{
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			before, after := e.ObjectOld.(*v1alpha1.Assignment), e.ObjectNew.(*v1alpha1.Assignment)
			if !slices.EqualFunc(before.Status.Entries, after.Status.Entries, same) && r.foreign(after) {
				queue.AddAfter(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(after)}, hubapi.RebuildAfter)
			}
		},
	}
}

// comesAndGoes passes Clusters that appear, disappear, or change who applies.
func comesAndGoes() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, after := e.ObjectOld.(*v1alpha1.Cluster), e.ObjectNew.(*v1alpha1.Cluster)
			return before.UID != after.UID || (before.Spec.Agent == nil) != (after.Spec.Agent == nil)
		},
	}
}
