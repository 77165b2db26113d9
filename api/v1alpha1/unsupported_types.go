package v1alpha1

import "k8s.io/apimachinery/pkg/runtime"

// UnsupportedFields are fields of Flux's Kustomization that mean something else here, or nothing yet. They stand
// in the schema so that each is refused with what to do: a client that drops unknown fields would apply with
// more rights than were asked for, or onto another cluster.
type UnsupportedFields struct {
	// ServiceAccountName is not supported yet, and refused.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == ''",message="serviceAccountName is not supported yet: a Kustomization has the rights of the kubeconfig of its Cluster, so give that ServiceAccount's kubeconfig to a Cluster of its own"
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// KubeConfig is not supported, and refused: a Cluster has the kubeconfig, and clusters selects Clusters.
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:XValidation:rule="false",message="kubeConfig is not supported: put it into a Cluster, and name that in clusters"
	// +optional
	KubeConfig *runtime.RawExtension `json:"kubeConfig,omitempty"`
}
