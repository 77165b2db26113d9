package v1alpha1

// HealthCheckReference names an object on each cluster, which need not be one that the Kustomization
// applies.
type HealthCheckReference struct {
	// APIVersion of the object; apps/v1 when absent, as in Flux. Its group counts: where the cluster does not
	// serve the version, the object is read in another one.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:default="apps/v1"
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`

	// Kind of the object.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Kind string `json:"kind"`

	// Name of the object.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`

	// Namespace of the object; empty for a kind that has none.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// HealthCheckExpressions judges the objects of one kind by expressions of CEL, which see the fields of
// the object as variables: "status.conditions.exists(c, c.type == 'Ready')". An object whose
// status.observedGeneration is not its generation is in progress; else inProgress, failed and current
// are asked in this order, the first that is true decides, and where none is the object is in progress.
type HealthCheckExpressions struct {
	// APIVersion of the kind. Its group counts, whatever the version.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +required
	APIVersion string `json:"apiVersion"`

	// Kind of the objects.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Kind string `json:"kind"`

	// Current is true when the object is what its spec asks for.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	// +required
	Current string `json:"current"`

	// InProgress is true while the object is on its way.
	// +kubebuilder:validation:MaxLength=4096
	// +optional
	InProgress string `json:"inProgress,omitempty"`

	// Failed is true when the object will not get there.
	// +kubebuilder:validation:MaxLength=4096
	// +optional
	Failed string `json:"failed,omitempty"`
}
