package receiver

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/hubapi"
)

// secretIndex finds the Receivers that name a Secret.
const secretIndex = "receiver.secret"

// SetUp adds the controller to the manager.
func (r *Reconciler) SetUp(ctx context.Context, mgr manager.Manager, concurrency int) error {
	err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.Receiver{}, secretIndex, func(o client.Object) []string {
		if object, ok := o.(*v1alpha1.Receiver); ok && object.Spec.SecretRef.Name != "" {
			return []string{object.Spec.SecretRef.Name}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot index Receivers: %w", err)
	}
	if err := mgr.Add(r.statuses); err != nil {
		return fmt.Errorf("cannot add the writer of statuses: %w", err)
	}
	return builder.ControllerManagedBy(mgr).
		Named("receiver").
		For(&v1alpha1.Receiver{}, builder.WithPredicates(hubapi.RequestedPredicate())).
		WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.requestsForSecret), builder.WithPredicates(hubapi.StatusChangedPredicate())).
		Watches(&v1alpha1.Receiver{}, r.statuses.Handler()).
		WatchesRawSource(&r.trigger).
		WithOptions(hubapi.Options(concurrency)).
		Complete(hubapi.ReportPanics[v1alpha1.Receiver](r.Hub, r))
}

func (r *Reconciler) requestsForSecret(ctx context.Context, secret client.Object) []reconcile.Request {
	list := &v1alpha1.ReceiverList{}
	if err := r.Hub.List(ctx, list, client.InNamespace(secret.GetNamespace()), client.MatchingFields{secretIndex: secret.GetName()}); err != nil {
		log.FromContext(ctx).Error(err, "cannot find the Receivers of a Secret", "secret", secret.GetName())
		return nil
	}
	return hubapi.RequestsFor[v1alpha1.Receiver](list.Items)
}
