package assignment

import (
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/controllers/hubside"
)

// SetUp adds the controller to the manager; concurrency bounds the reconciles at once.
func (r *Reconciler) SetUp(mgr manager.Manager, concurrency int) error {
	return builder.ControllerManagedBy(mgr).
		Named("assignment").
		For(&v1alpha1.Assignment{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		// A Cluster and its Assignment have one name.
		Watches(&v1alpha1.Cluster{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(comesAndGoes())).
		WatchesRawSource(&r.bell).
		WithOptions(hubside.Options(concurrency)).
		Complete(r)
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
