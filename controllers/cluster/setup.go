package cluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/hubapi"
)

// secretIndex finds the Clusters that name a Secret.
const secretIndex = "cluster.secret"

// SetUp adds the controller to the manager; concurrency bounds the reconciles at once.
func (r *Reconciler) SetUp(ctx context.Context, mgr manager.Manager, concurrency int) error {
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.Cluster{}, secretIndex, secretName); err != nil {
		return fmt.Errorf("cannot index Clusters: %w", err)
	}
	if err := mgr.Add(r.statuses); err != nil {
		return fmt.Errorf("cannot add the writer of statuses: %w", err)
	}
	return builder.ControllerManagedBy(mgr).
		Named("cluster").
		For(&v1alpha1.Cluster{}, builder.WithPredicates(predicate.Or(hubapi.RequestedPredicate(), handoverPredicate()))).
		WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.requestsForSecret), builder.WithPredicates(hubapi.StatusChangedPredicate())).
		Watches(&v1alpha1.Assignment{}, handler.EnqueueRequestsFromMapFunc(r.requestsForAssignment)).
		Watches(&v1alpha1.Cluster{}, r.statuses.Handler()).
		Watches(&v1alpha1.Cluster{}, handler.EnqueueRequestsFromMapFunc(r.requestsForOtherAgents), builder.WithPredicates(claimPredicate())).
		WatchesRawSource(&r.trigger).
		WithOptions(hubapi.Options(concurrency)).
		Complete(hubapi.ReportPanics[v1alpha1.Cluster](r.Hub, r))
}

func secretName(o client.Object) []string {
	if c := o.(*v1alpha1.Cluster).Spec.KubeConfig; c != nil {
		return []string{c.SecretRef.Name}
	}
	return nil
}

func (r *Reconciler) requestsForSecret(ctx context.Context, secret client.Object) []reconcile.Request {
	list := &v1alpha1.ClusterList{}
	if err := r.Hub.List(ctx, list, client.InNamespace(secret.GetNamespace()), client.MatchingFields{secretIndex: secret.GetName()}); err != nil {
		log.FromContext(ctx).Error(err, "cannot find the Clusters of a Secret", "secret", secret.GetName())
		return nil
	}
	return hubapi.RequestsFor[v1alpha1.Cluster](list.Items)
}

// requestsForAssignment wakes a deleted Cluster when its Assignment changes; the others need not know.
func (r *Reconciler) requestsForAssignment(ctx context.Context, a client.Object) []reconcile.Request {
	key := client.ObjectKeyFromObject(a)
	c := &v1alpha1.Cluster{}
	if err := r.Hub.Get(ctx, key, c, client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil || c.DeletionTimestamp.IsZero() {
		return nil // one that is gone has nothing to wait for
	}
	return []reconcile.Request{{NamespacedName: key}}
}
