package v1alpha1

import "github.com/fluxcd/pkg/apis/meta"

// Annotations by which an object asks to be left as it is in Git when it is encrypted: "disabled".
const (
	DecryptAnnotation     = "skerry.dev/decrypt"
	FluxDecryptAnnotation = "kustomize.toolkit.fluxcd.io/decrypt"
)

// Decryption says how files that are encrypted are decrypted. Without it, a file that is encrypted is
// refused: it is never applied as it is.
type Decryption struct {
	// Provider of the decryption: sops.
	// +kubebuilder:validation:Enum=sops
	// +required
	Provider string `json:"provider"`

	// SecretRef names a Secret of this namespace with the keys: *.agekey for age, *.asc for PGP,
	// sops.aws-kms, sops.gcp-kms, sops.azure-kv and sops.vault-token for what lies with a service. Absent,
	// the keys of the hub's --decryption-secret, if it has one.
	// +nullable
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// ServiceAccountName is not supported, and refused: the hub lends its identity at a cloud provider to
	// no Kustomization. Put credentials into the Secret of secretRef.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
}
