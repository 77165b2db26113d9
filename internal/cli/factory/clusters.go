package factory

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// InClusterNamespaces lists the objects of the namespaces whose Clusters a Kustomization may select.
func InClusterNamespaces(ks *v1alpha1.Kustomization) []client.ListOption {
	if targeting.SelectsNamespaces(ks) {
		return nil
	}
	return []client.ListOption{client.InNamespace(ks.Namespace)}
}

// Selectable lists the Clusters that a Kustomization may select, and what decides about those of other
// namespaces. A user who may not list Namespaces sees what their names alone decide. Whether the hub runs with
// --no-cross-namespace-refs is not known here.
func Selectable(ctx context.Context, hub *Hub, ks *v1alpha1.Kustomization) ([]v1alpha1.Cluster, targeting.Access, error) {
	var access targeting.Access
	if targeting.SelectsNamespaces(ks) {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
		if err := hub.List(ctx, list); err != nil && !apierrors.IsForbidden(err) {
			return nil, access, fmt.Errorf("cannot list Namespaces: %w", err)
		}
		access.Namespaces = make(map[string]labels.Set, len(list.Items))
		for i := range list.Items {
			access.Namespaces[list.Items[i].Name] = list.Items[i].Labels
		}
	}
	list := &v1alpha1.ClusterList{}
	if err := hub.List(ctx, list, InClusterNamespaces(ks)...); err != nil {
		return nil, access, fmt.Errorf("cannot list Clusters: %w", err)
	}
	return list.Items, access, nil
}
