package v1alpha1

import "strings"

// RenderedRevision names the bundles that a revision of the source was rendered to. An entry of an
// Assignment is labelled with the first revision that rendered its digest; this says which later
// revision the same digest stands for.
type RenderedRevision struct {
	// Revision of the source.
	Revision string `json:"revision"`

	// Digests holds the first 12 hexadecimal digits of the digest of each distinct bundle, sorted;
	// absent when there are more than 1000.
	// +kubebuilder:validation:MaxItems=1000
	// +listType=atomic
	// +optional
	Digests []string `json:"digests,omitempty"`
}

const (
	// MaxRenderedRevisions bounds status.rendered.
	MaxRenderedRevisions = 4
	// MaxRenderedDigests bounds the digests of one of them.
	MaxRenderedDigests = 1000

	renderedDigits = 12
)

// RenderedDigest shortens the digest of a bundle ("sha256:<hex>") as status.rendered holds it.
func RenderedDigest(digest string) string {
	_, short, _ := strings.Cut(digest, ":")
	return short[:min(len(short), renderedDigits)]
}
