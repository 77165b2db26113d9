package v1alpha1

import "github.com/fluxcd/pkg/apis/meta"

// GitVerificationMode says what of a Git repository must be signed.
//
// +kubebuilder:validation:Enum=head;HEAD;Tag;TagAndHEAD
type GitVerificationMode string

// Modes of verification, as in Flux.
const (
	// ModeGitHEAD is for the commit that the ref leads to; "head" means the same.
	ModeGitHEAD GitVerificationMode = "HEAD"
	// ModeGitTag is for the tag that ref names, which must be annotated.
	ModeGitTag GitVerificationMode = "Tag"
	// ModeGitTagAndHEAD is for that tag and for the commit that it leads to.
	ModeGitTagAndHEAD GitVerificationMode = "TagAndHEAD"
)

// GitRepositoryVerification says what must be signed, and by whom.
type GitRepositoryVerification struct {
	// Mode is what must be signed: HEAD (or head) for the commit that the ref leads to, Tag for the annotated
	// tag that the ref names, TagAndHEAD for both.
	// +kubebuilder:default=HEAD
	// +optional
	Mode GitVerificationMode `json:"mode,omitempty"`

	// SecretRef names a Secret of the same namespace with the public keys of trusted authors: PGP keys,
	// armored, under names that end in .asc; SSH keys in the format of authorized_keys under names that end
	// in .sshpub or .pub, or an OpenSSH allowed_signers file under that name. When the keys change, what was
	// fetched is verified again.
	// +required
	SecretRef meta.LocalObjectReference `json:"secretRef"`
}

// GetMode returns the mode with its default, HEAD, and without the spelling "head".
func (v *GitRepositoryVerification) GetMode() GitVerificationMode {
	switch v.Mode {
	case ModeGitTag, ModeGitTagAndHEAD:
		return v.Mode
	default:
		return ModeGitHEAD
	}
}

// VerifiesHEAD reports that the commit must be signed.
func (v *GitRepositoryVerification) VerifiesHEAD() bool { return v.GetMode() != ModeGitTag }

// VerifiesTag reports that the tag must be signed.
func (v *GitRepositoryVerification) VerifiesTag() bool { return v.GetMode() != ModeGitHEAD }
