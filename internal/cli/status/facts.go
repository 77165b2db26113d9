package status

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
)

// leaseName is the lease that the working hub holds.
const leaseName = "skerry-hub"

// Facts is what the API server said, and when.
type Facts struct {
	Now            time.Time
	Server         string
	Lease          *coordinationv1.Lease // nil when there is none, or it may not be read
	Sources        []v1alpha1.GitRepository
	Kustomizations []v1alpha1.Kustomization
	Clusters       []v1alpha1.Cluster
	Assignments    []v1alpha1.Assignment
}

// Gather reads the facts of one namespace, or of all when it is empty. A list that cannot be read is
// an error and never an empty list.
func Gather(ctx context.Context, hub *factory.Hub, namespace string, now func() time.Time) (Facts, error) {
	var lease *coordinationv1.Lease
	var facts Facts
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		lease, err = ReadLease(ctx, hub)
		return err
	})
	group.Go(func() (err error) {
		facts, err = list(ctx, hub, hub.Config.Host, namespace, now)
		return err
	})
	if err := group.Wait(); err != nil {
		return Facts{}, err
	}
	facts.Lease = lease
	return facts, nil
}

// list reads what is of the hub's kinds.
func list(ctx context.Context, hub client.Reader, server, namespace string, now func() time.Time) (Facts, error) {
	facts := Facts{Server: server}
	var (
		sources        v1alpha1.GitRepositoryList
		kustomizations v1alpha1.KustomizationList
		clusters       v1alpha1.ClusterList
		assignments    v1alpha1.AssignmentList
	)
	group, ctx := errgroup.WithContext(ctx)
	for what, list := range map[string]client.ObjectList{
		"GitRepositories": &sources, "Kustomizations": &kustomizations,
		"Clusters": &clusters, "Assignments": &assignments,
	} {
		group.Go(func() error {
			if err := hub.List(ctx, list, client.InNamespace(namespace)); err != nil {
				return fmt.Errorf("cannot list %s: %w", what, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return Facts{}, err
	}
	facts.Now = now()
	facts.Sources, facts.Kustomizations = sources.Items, kustomizations.Items
	facts.Clusters, facts.Assignments = clusters.Items, assignments.Items
	return facts, nil
}

// ReadLease returns nil where a tenant may not read the hub's lease, or a hub works without.
func ReadLease(ctx context.Context, hub *factory.Hub) (*coordinationv1.Lease, error) {
	lease := &coordinationv1.Lease{}
	err := hub.Get(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: leaseName}, lease)
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return nil, nil //nolint:nilnil // there is none to report
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the hub's lease: %w", err)
	}
	return lease, nil
}
