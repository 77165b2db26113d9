package targeting

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// Access decides which references between namespaces are admitted. Its zero value is Flux's default: all
// are, but for those to an object whose accessFrom does not match.
type Access struct {
	// Closed admits a reference only where accessFrom of the object matches (--no-cross-namespace-refs).
	Closed bool
	// Namespaces holds the labels of namespaces by name. A namespace that is not in it has no labels.
	Namespaces map[string]labels.Set
}

// Admits reports whether an object of the namespace from may refer to one of the namespace to that has
// the given accessFrom. An accessFrom decides in an open hub as well: the owner of an object that names its
// users must not be ignored because the hub's flag is missing.
func (a Access) Admits(from, to string, acl *v1alpha1.AccessFrom) bool {
	switch {
	case from == to:
		return true
	case acl == nil:
		return !a.Closed
	}
	return slices.ContainsFunc(acl.NamespaceSelectors, func(s v1alpha1.NamespaceSelector) bool {
		return labels.SelectorFromSet(s.MatchLabels).Matches(a.labelsOf(from))
	})
}

// labelsOf returns the labels of a namespace. The one with its name is there whatever is known: the API
// server sets it on every namespace.
func (a Access) labelsOf(namespace string) labels.Set {
	return labels.Merge(a.Namespaces[namespace], labels.Set{corev1.LabelMetadataName: namespace})
}

// namespaces returns which namespaces the Clusters of ks may lie in.
func (a Access) namespaces(ks *v1alpha1.Kustomization) (func(string) bool, error) {
	if ks.Spec.Clusters == nil || ks.Spec.Clusters.Namespaces == nil {
		return func(namespace string) bool { return namespace == ks.Namespace }, nil
	}
	picked := ks.Spec.Clusters.Namespaces
	if picked.Selector == nil { // no selector picks nothing, only an empty one picks all
		return func(namespace string) bool { return slices.Contains(picked.Names, namespace) }, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(picked.Selector)
	if err != nil {
		return nil, fmt.Errorf("cannot read spec.clusters.namespaces.selector: %w", err)
	}
	return func(namespace string) bool {
		return slices.Contains(picked.Names, namespace) || selector.Matches(a.labelsOf(namespace))
	}, nil
}

// CrossesNamespaces reports whether ks refers to an object of another namespace, or may.
func CrossesNamespaces(ks *v1alpha1.Kustomization) bool {
	return SelectsNamespaces(ks) || SourceOf(ks).Namespace != ks.Namespace ||
		slices.ContainsFunc(ks.Spec.DependsOn, func(d v1alpha1.DependencyReference) bool {
			return d.Namespace != "" && d.Namespace != ks.Namespace
		})
}

// SelectsNamespaces reports whether ks may select Clusters of other namespaces.
func SelectsNamespaces(ks *v1alpha1.Kustomization) bool {
	return ks.Spec.Clusters != nil && ks.Spec.Clusters.Namespaces != nil
}
