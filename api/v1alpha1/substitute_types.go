package v1alpha1

// SubstituteStrategy decides when the variables of a render are substituted.
// +kubebuilder:validation:Enum=WithVariables;Always
type SubstituteStrategy string

const (
	// SubstituteWithVariables substitutes when postBuild names a variable, or a source of some.
	SubstituteWithVariables SubstituteStrategy = "WithVariables"
	// SubstituteAlways substitutes in every render.
	SubstituteAlways SubstituteStrategy = "Always"
)
