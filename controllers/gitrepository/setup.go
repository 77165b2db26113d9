package gitrepository

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

// secretIndex finds the GitRepositories that name a Secret.
const secretIndex = "gitrepository.secret"

// concurrency is how many repositories are checked at once. A check mostly waits for a server, and a server that
// hangs does so until the timeout: there must be room for many of those beside the ones that answer.
const concurrency = 128

// SetUp adds the controller to the manager.
func (r *Reconciler) SetUp(ctx context.Context, mgr manager.Manager) error {
	err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.GitRepository{}, secretIndex, secretNames)
	if err != nil {
		return fmt.Errorf("cannot index GitRepositories: %w", err)
	}
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.GitRepository{}, includeIndex, includeNames); err != nil {
		return fmt.Errorf("cannot index GitRepositories: %w", err)
	}
	if err := mgr.Add(r.statuses); err != nil {
		return fmt.Errorf("cannot add the writer of statuses: %w", err)
	}
	return builder.ControllerManagedBy(mgr).
		Named("gitrepository").
		For(&v1alpha1.GitRepository{}, builder.WithPredicates(hubapi.RequestedPredicate())).
		WatchesRawSource(&r.trigger).
		WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.requestsForSecret), builder.WithPredicates(hubapi.StatusChangedPredicate())).
		Watches(&v1alpha1.GitRepository{}, r.statuses.Handler()).
		Watches(&v1alpha1.GitRepository{}, handler.EnqueueRequestsFromMapFunc(r.requestsForIncluded), builder.WithPredicates(includedChanged())).
		WithOptions(hubapi.Options(concurrency)).
		Complete(hubapi.ReportPanics[v1alpha1.GitRepository](r.Hub, r))
}

// secretNames are those of all Secrets that a repository names: a change of one brings a check at once.
func secretNames(o client.Object) []string {
	var names []string
	spec := o.(*v1alpha1.GitRepository).Spec
	if spec.SecretRef != nil {
		names = append(names, spec.SecretRef.Name)
	}
	if spec.ProxySecretRef != nil {
		names = append(names, spec.ProxySecretRef.Name)
	}
	if spec.Verification != nil {
		names = append(names, spec.Verification.SecretRef.Name)
	}
	return names
}

func (r *Reconciler) requestsForSecret(ctx context.Context, secret client.Object) []reconcile.Request {
	list := &v1alpha1.GitRepositoryList{}
	if err := r.Hub.List(ctx, list, client.InNamespace(secret.GetNamespace()), client.MatchingFields{secretIndex: secret.GetName()}); err != nil {
		log.FromContext(ctx).Error(err, "cannot find the GitRepositories of a Secret", "secret", secret.GetName())
		return nil
	}
	return hubapi.RequestsFor[v1alpha1.GitRepository](list.Items)
}
