package v1alpha1

import "k8s.io/apimachinery/pkg/runtime"

// UnsupportedFields are fields of Flux's Kustomization that mean something else here, or nothing yet. They stand
// in the schema so that each is refused with what to do: a client that drops unknown fields would apply onto
// another cluster.
type UnsupportedFields struct {
	// KubeConfig is not supported, and refused: a Cluster has the kubeconfig, and clusters selects Clusters.
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:XValidation:rule="false",message="kubeConfig is not supported: put it into a Cluster, and name that in clusters"
	// +optional
	KubeConfig *runtime.RawExtension `json:"kubeConfig,omitempty"`
}
