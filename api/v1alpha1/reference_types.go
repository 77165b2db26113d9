package v1alpha1

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// SourceReference names a source.
type SourceReference struct {
	// APIVersion of the source. It may stand there, as in Flux, and changes nothing: kind alone decides.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`

	// Kind of the source: GitRepository. Flux's other kinds, OCIRepository, Bucket and ExternalArtifact, are refused.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self == 'GitRepository'",message="sourceRef.kind must be GitRepository: OCIRepository, Bucket and ExternalArtifact are not supported yet, so keep what is rendered in a Git repository and name its GitRepository"
	// +kubebuilder:default=GitRepository
	// +optional
	Kind string `json:"kind,omitempty"`

	// Name of the source.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`

	// Namespace of the source; that of the Kustomization when absent. A hub with
	// --no-cross-namespace-refs refuses another one unless accessFrom of the source admits it.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// DependencyReference names a Kustomization that must be ready first, on the same cluster.
type DependencyReference struct {
	// Name of the Kustomization.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`

	// Namespace of the Kustomization; that of the dependent when absent. A hub with
	// --no-cross-namespace-refs refuses another one.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// ReadyExpr is an expression in CEL that decides whether the dependency is ready, in place of its
	// condition Ready. It has the variables self, which is this Kustomization, and dep, which is the
	// dependency. It is evaluated for each cluster: conditions, lastAppliedRevision and
	// lastAttemptedRevision of dep.status are those that the cluster reports, and those of the whole status
	// where the dependency does not select the cluster.
	// +kubebuilder:validation:MaxLength=4096
	// +optional
	ReadyExpr string `json:"readyExpr,omitempty"`
}

// ClusterNamespaces picks namespaces: those that are named and those that the selector matches.
// +kubebuilder:validation:XValidation:rule="has(self.selector) || has(self.names) && size(self.names) > 0",message="namespaces needs names, a selector, or both; an empty selector matches every namespace"
type ClusterNamespaces struct {
	// Names of namespaces.
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	// +optional
	Names []string `json:"names,omitempty"`

	// Selector matches namespaces by label; an empty one matches every namespace.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// AccessFrom is an access control list: it names the namespaces whose Kustomizations may refer to the
// object. Those of the object's own namespace always may.
type AccessFrom struct {
	// NamespaceSelectors match namespaces by label; one that matches is enough. A selector without
	// labels matches every namespace.
	// +kubebuilder:validation:MaxItems=32
	// +required
	NamespaceSelectors []NamespaceSelector `json:"namespaceSelectors"`
}

// NamespaceSelector matches the namespaces that have all of the labels.
type NamespaceSelector struct {
	// MatchLabels are the labels that a namespace must have. Every namespace has
	// kubernetes.io/metadata.name, which is its name.
	// +kubebuilder:validation:MaxProperties=32
	// +optional
	MatchLabels map[string]string `json:"matchLabels,omitempty"`
}

// RelativeName is how an object is named from a namespace: by its name alone when it lies in that
// namespace, else as "namespace/name". An Assignment names Kustomizations so, from the namespace of its
// Cluster, and a Kustomization names Clusters so, from its own.
func RelativeName(from string, of types.NamespacedName) string {
	if of.Namespace == from {
		return of.Name
	}
	return of.Namespace + "/" + of.Name
}

// ResolveName is the inverse of RelativeName.
func ResolveName(from, name string) types.NamespacedName {
	if namespace, rest, qualified := strings.Cut(name, "/"); qualified {
		return types.NamespacedName{Namespace: namespace, Name: rest}
	}
	return types.NamespacedName{Namespace: from, Name: name}
}
