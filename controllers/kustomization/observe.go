package kustomization

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/render"
)

// observed is all that one reconcile read. What comes from the cache is shared and not changed.
type observed struct {
	key  types.NamespacedName
	ks   *v1alpha1.Kustomization
	memo *memo

	clusters []v1alpha1.Cluster // of the namespace
	byName   map[string]*v1alpha1.Cluster
	assigned map[string]assigned // by cluster, where there is an entry
	all      []v1alpha1.Kustomization
	source   *v1alpha1.GitRepository // nil when there is none
	from     []render.Source         // data of substituteFrom, in order
	missing  error                   // spoken: why from is not complete

	neighbours []*neighbour                  // nil when they were not looked up
	bundles    map[string]map[object.ID]bool // identities, by digest, as far as they were looked up

	contents map[reference]*content // looked up by this reconcile; nil for what is not there
	earlier  map[reference]*content // by the one before it; holds them until this one is over
}

// assigned is what one Assignment holds of the Kustomization.
type assigned struct {
	entry  *v1alpha1.AssignmentEntry       // nil when the spec has none
	status *v1alpha1.AssignmentEntryStatus // nil when nothing was reported
}

// observe reads everything. It fails only with errors of the hub's API.
func (r *Reconciler) observe(ctx context.Context, ks *v1alpha1.Kustomization) (*observed, error) {
	key := client.ObjectKeyFromObject(ks)
	o := &observed{key: key, ks: ks, memo: r.memo(key)}
	if err := r.observeClusters(ctx, o); err != nil {
		return nil, err
	}
	if !ks.DeletionTimestamp.IsZero() || ks.Spec.Suspend {
		return o, nil
	}
	if len(ks.Spec.DependsOn) > 0 {
		list := &v1alpha1.KustomizationList{}
		if err := r.Hub.List(ctx, list, client.InNamespace(ks.Namespace), shared); err != nil {
			return nil, fmt.Errorf("cannot list Kustomizations: %w", err)
		}
		o.all = list.Items
	}
	source := &v1alpha1.GitRepository{}
	err := r.Hub.Get(ctx, sourceOf(ks), source)
	switch {
	case err == nil:
		o.source = source
	case !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("cannot read GitRepository: %w", err)
	}
	return o, r.observeSubstitutes(ctx, o)
}

// shared lets a list share its objects with the cache.
var shared = client.UnsafeDisableDeepCopy

func sourceOf(ks *v1alpha1.Kustomization) types.NamespacedName {
	return types.NamespacedName{Namespace: ks.Namespace, Name: ks.Spec.SourceRef.Name}
}

func (r *Reconciler) observeClusters(ctx context.Context, o *observed) error {
	clusters := &v1alpha1.ClusterList{}
	if err := r.Hub.List(ctx, clusters, client.InNamespace(o.key.Namespace), shared); err != nil {
		return fmt.Errorf("cannot list Clusters: %w", err)
	}
	o.clusters, o.byName = clusters.Items, make(map[string]*v1alpha1.Cluster, len(clusters.Items))
	for i := range clusters.Items {
		if c := &clusters.Items[i]; c.DeletionTimestamp.IsZero() {
			o.byName[c.Name] = c
		}
	}
	var err error
	o.assigned, err = r.observeAssigned(ctx, o.key)
	return err
}

func (r *Reconciler) observeAssigned(ctx context.Context, key types.NamespacedName) (map[string]assigned, error) {
	list := &v1alpha1.AssignmentList{}
	if err := r.Hub.List(ctx, list, client.InNamespace(key.Namespace), client.MatchingFields{entryIndex: key.Name}, shared); err != nil {
		return nil, fmt.Errorf("cannot list Assignments: %w", err)
	}
	found := make(map[string]assigned, len(list.Items))
	for i := range list.Items {
		a := &list.Items[i]
		found[a.Name] = assigned{entry: entryOf(a, key.Name), status: statusOf(a, key.Name)}
	}
	return found, nil
}

func entryOf(a *v1alpha1.Assignment, name string) *v1alpha1.AssignmentEntry {
	for i := range a.Spec.Entries {
		if a.Spec.Entries[i].Name == name {
			return &a.Spec.Entries[i]
		}
	}
	return nil
}

func statusOf(a *v1alpha1.Assignment, name string) *v1alpha1.AssignmentEntryStatus {
	for i := range a.Status.Entries {
		if a.Status.Entries[i].Name == name {
			return &a.Status.Entries[i]
		}
	}
	return nil
}

// commitOf returns the commit of a revision: the digits behind the last "sha1:".
func commitOf(revision string) string {
	_, commit, _ := strings.CutLast(revision, "sha1:")
	return commit
}
