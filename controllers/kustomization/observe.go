package kustomization

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/report"
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
	from     []map[string]string     // data of substituteFrom, in order
	missing  error                   // spoken: why from is not complete
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
	return o, r.observeVariables(ctx, o)
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

// observeVariables reads the ConfigMaps and Secrets of substituteFrom, each once for each version.
func (r *Reconciler) observeVariables(ctx context.Context, o *observed) error {
	if o.ks.Spec.PostBuild == nil {
		o.memo.variables = nil
		return nil
	}
	kept := map[v1alpha1.SubstituteReference]variables{}
	for _, ref := range o.ks.Spec.PostBuild.SubstituteFrom {
		v, err := r.variables(ctx, o, ref)
		switch {
		case err == nil:
			kept[ref] = v
			o.from = append(o.from, v.data)
		case !apierrors.IsNotFound(err):
			return fmt.Errorf("cannot read %s of substituteFrom: %w", ref.Kind, err)
		case !ref.Optional:
			o.missing = &report.Waiting{
				Reason: v1alpha1.SubstitutionFailedReason,
				Err:    fmt.Errorf("there is no %s %s, which substituteFrom names", ref.Kind, ref.Name),
			}
		}
	}
	o.memo.variables = kept
	return nil
}

func (r *Reconciler) variables(ctx context.Context, o *observed, ref v1alpha1.SubstituteReference) (variables, error) {
	name := types.NamespacedName{Namespace: o.key.Namespace, Name: ref.Name}
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(ref.Kind))
	if err := r.Hub.Get(ctx, name, meta); err != nil {
		return variables{}, err
	}
	if last, ok := o.memo.variables[ref]; ok && last.version == version(meta) {
		return last, nil
	}
	if ref.Kind == "ConfigMap" {
		config := &corev1.ConfigMap{}
		err := r.Direct.Get(ctx, name, config)
		return variables{version(config), config.Data}, err
	}
	secret := &corev1.Secret{}
	if err := r.Direct.Get(ctx, name, secret); err != nil {
		return variables{}, err
	}
	data := make(map[string]string, len(secret.Data))
	for k, v := range secret.Data {
		data[k] = string(v)
	}
	return variables{version(secret), data}, nil
}

func version(o metav1.Object) string { return string(o.GetUID()) + "/" + o.GetResourceVersion() }

// commitOf returns the commit of a revision: the digits behind the last "sha1:".
func commitOf(revision string) string {
	if at := strings.LastIndex(revision, "sha1:"); at >= 0 {
		return revision[at+len("sha1:"):]
	}
	return ""
}
