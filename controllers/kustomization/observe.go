package kustomization

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// observed is all that one reconcile read. What comes from the cache is shared and not changed.
type observed struct {
	key  types.NamespacedName
	ks   *v1alpha1.Kustomization
	memo *memo
	// account is the ServiceAccount in whose name it is applied; "" for that of each Cluster's credentials.
	account string
	// lends reports whether a cluster lends the rights of its credentials; nil: none does.
	lends func(*v1alpha1.Cluster) bool

	// Clusters of the Kustomization's namespace, of those that it may select from and of those where it has
	// an entry. They are named as targeting.Target names them.
	clusters []v1alpha1.Cluster
	byName   map[string]*v1alpha1.Cluster
	assigned map[string]assigned // by cluster, where there is an entry
	access   targeting.Access
	all      []v1alpha1.Kustomization
	source   *v1alpha1.GitRepository // nil when there is none
	from     []render.Source         // data of substituteFrom, in order
	// decryption opens encrypted files; nil when that is not asked for.
	decryption *render.Decryption
	missing    error // reportable: why from is not complete
	// rendering is the time that this reconcile took to render what was not rendered before.
	rendering time.Duration

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
	o := &observed{key: key, ks: ks, memo: r.memo(key), account: r.accountOf(ks)}
	o.lends = func(c *v1alpha1.Cluster) bool { return !r.tenancy(o, c).NeedsAccount() }
	if err := r.observeClusters(ctx, o); err != nil {
		return nil, err
	}
	if !ks.DeletionTimestamp.IsZero() {
		return o, nil
	}
	if len(ks.Spec.DependsOn) > 0 {
		list := &v1alpha1.KustomizationList{}
		if err := r.Hub.List(ctx, list, shared); err != nil {
			return nil, fmt.Errorf("cannot list Kustomizations: %w", err)
		}
		o.all = list.Items
	}
	source := &v1alpha1.GitRepository{}
	err := r.Hub.Get(ctx, targeting.SourceOf(ks), source)
	switch {
	case err == nil:
		o.source = source
	case !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("cannot read GitRepository: %w", err)
	}
	if err := r.observeSubstitutes(ctx, o); err != nil {
		return nil, err
	}
	return o, r.observeDecryption(ctx, o)
}

// shared lets a list share its objects with the cache.
var shared = client.UnsafeDisableDeepCopy

func (r *Reconciler) observeClusters(ctx context.Context, o *observed) error {
	var err error
	if o.assigned, err = r.observeAssigned(ctx, o.key); err != nil {
		return err
	}
	if o.access, err = r.observeAccess(ctx, o.ks); err != nil {
		return err
	}
	inNamespace := []client.ListOption{client.InNamespace(o.key.Namespace), shared}
	if targeting.SelectsNamespaces(o.ks) || o.isElsewhere() {
		inNamespace = inNamespace[1:]
	}
	clusters := &v1alpha1.ClusterList{}
	if err := r.Hub.List(ctx, clusters, inNamespace...); err != nil {
		return fmt.Errorf("cannot list Clusters: %w", err)
	}
	o.clusters, o.byName = clusters.Items, make(map[string]*v1alpha1.Cluster, len(clusters.Items))
	for i := range clusters.Items {
		if c := &clusters.Items[i]; c.DeletionTimestamp.IsZero() {
			o.byName[o.nameOf(c)] = c
		}
	}
	return nil
}

// nameOf is the name of a Cluster as seen from the Kustomization.
func (o *observed) nameOf(c *v1alpha1.Cluster) string {
	return v1alpha1.RelativeName(o.key.Namespace, client.ObjectKeyFromObject(c))
}

// isElsewhere reports whether the Kustomization has an entry in another namespace.
func (o *observed) isElsewhere() bool {
	for name := range o.assigned {
		if v1alpha1.ResolveName(o.key.Namespace, name).Namespace != o.key.Namespace {
			return true
		}
	}
	return false
}

// observeAccess reads the labels of the namespaces that decide about the references of a Kustomization. One
// that refers to no other namespace needs none.
func (r *Reconciler) observeAccess(ctx context.Context, ks *v1alpha1.Kustomization) (targeting.Access, error) {
	access := targeting.Access{Closed: r.NoCrossNamespaceRefs}
	if !targeting.CrossesNamespaces(ks) {
		return access, nil
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if err := r.Hub.List(ctx, list, shared); err != nil {
		return access, fmt.Errorf("cannot list Namespaces: %w", err)
	}
	access.Namespaces = make(map[string]labels.Set, len(list.Items))
	for i := range list.Items {
		access.Namespaces[list.Items[i].Name] = list.Items[i].Labels
	}
	return access, nil
}

func (r *Reconciler) observeAssigned(ctx context.Context, key types.NamespacedName) (map[string]assigned, error) {
	if err := r.assignments.pending.await(ctx, r.Hub, key); err != nil {
		return nil, fmt.Errorf("cannot read Assignment: %w", err)
	}
	list := &v1alpha1.AssignmentList{}
	if err := r.Hub.List(ctx, list, client.MatchingFields{entryIndex: key.String()}, shared, client.DisableReadYourWritesConsistency); err != nil {
		return nil, fmt.Errorf("cannot list Assignments: %w", err)
	}
	found := make(map[string]assigned, len(list.Items))
	for i := range list.Items {
		a := &list.Items[i]
		name := v1alpha1.RelativeName(a.Namespace, key)
		found[v1alpha1.RelativeName(key.Namespace, client.ObjectKeyFromObject(a))] = assigned{entry: entryOf(a, name), status: statusOf(a, name)}
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
