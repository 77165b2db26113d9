package receiver

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/receiver"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// resource is one of spec.resources with its filters.
type resource struct {
	name   types.NamespacedName // of one source; of all that match when the name is empty
	labels client.MatchingLabels
	filter receiver.Filter
}

func compile(object *v1alpha1.Receiver) ([]resource, error) {
	list := make([]resource, 0, len(object.Spec.Resources))
	for i, ref := range object.Spec.Resources {
		filter, err := receiver.NewFilter(object.Spec.Type, object.Spec.ResourceFilter, ref.Filter)
		if err != nil {
			return nil, stalled(v1alpha1.InvalidCELExpressionReason, "spec.resourceFilter or spec.resources[%d].filter: %w", i, err)
		}
		if _, err := labels.ValidatedSelectorFromSet(ref.MatchLabels); err != nil {
			return nil, stalled(v1alpha1.InvalidSelectorReason, "spec.resources[%d].matchLabels: %w", i, err)
		}
		one := resource{name: types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}, labels: ref.MatchLabels, filter: filter}
		if ref.Namespace == "" {
			one.name.Namespace = object.Namespace
		}
		if ref.Name == "*" {
			one.name.Name = ""
		}
		list = append(list, one)
	}
	return list, nil
}

// fetch asks for a check of each source that is named, admitted and not filtered out. One that fails does not
// hold up the others.
func (r *Reconciler) fetch(ctx context.Context, from string, resources []resource, evaluation *receiver.Evaluation) error {
	var failed []error
	for _, one := range resources {
		sources, err := r.sources(ctx, one)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		for i := range sources {
			if err := r.fetchSource(ctx, from, &sources[i], one.filter, evaluation); err != nil {
				failed = append(failed, err)
			}
		}
	}
	return errors.Join(failed...)
}

func (r *Reconciler) sources(ctx context.Context, of resource) ([]v1alpha1.GitRepository, error) {
	if of.name.Name == "" {
		list := &v1alpha1.GitRepositoryList{}
		if err := r.Hub.List(ctx, list, client.InNamespace(of.name.Namespace), of.labels); err != nil {
			return nil, fmt.Errorf("cannot list GitRepositories: %w", err)
		}
		return list.Items, nil
	}
	source := &v1alpha1.GitRepository{}
	if err := r.Hub.Get(ctx, of.name, source); err != nil {
		return nil, fmt.Errorf("cannot read GitRepository %s: %w", of.name, err)
	}
	return []v1alpha1.GitRepository{*source}, nil
}

func (r *Reconciler) fetchSource(ctx context.Context, from string, source *v1alpha1.GitRepository, filter receiver.Filter, evaluation *receiver.Evaluation) error {
	key := client.ObjectKeyFromObject(source)
	admitted, err := r.admits(ctx, from, source)
	if err != nil {
		return err
	}
	if !admitted {
		return fmt.Errorf("the GitRepository %s admits no Receiver of namespace %s: its spec.accessFrom would have to match that namespace", key, from)
	}
	metadata, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.GitRepositoryKind},
		ObjectMeta: source.ObjectMeta,
	})
	if err != nil {
		return fmt.Errorf("cannot read the metadata of GitRepository %s: %w", key, err)
	}
	wanted, err := evaluation.Admits(filter, metadata)
	if err != nil {
		return fmt.Errorf("GitRepository %s: %w", key, err)
	}
	if !wanted {
		return nil
	}
	if wait, due := r.pace.Next(key, r.Now()); due {
		r.Enqueue(key, wait)
	}
	return nil
}

// admits reports whether the owner of a source lets Receivers of a namespace refer to it.
func (r *Reconciler) admits(ctx context.Context, from string, source *v1alpha1.GitRepository) (bool, error) {
	access := targeting.Access{Closed: r.NoCrossNamespaceRefs}
	if acl := source.Spec.AccessFrom; from != source.Namespace && acl != nil {
		namespace := &metav1.PartialObjectMetadata{}
		namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
		if err := r.Hub.Get(ctx, types.NamespacedName{Name: from}, namespace); client.IgnoreNotFound(err) != nil {
			return false, fmt.Errorf("cannot read Namespace %s: %w", from, err)
		} else if !apierrors.IsNotFound(err) {
			access.Namespaces = map[string]labels.Set{from: namespace.Labels}
		}
	}
	return access.Admits(from, source.Namespace, source.Spec.AccessFrom), nil
}
