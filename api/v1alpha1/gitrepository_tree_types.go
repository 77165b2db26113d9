package v1alpha1

import (
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
)

// GitRepositoryInclude names another GitRepository of the same namespace, of which files are shown in this one,
// but for those that its spec.ignore and its .sourceignore files leave out.
type GitRepositoryInclude struct {
	// GitRepositoryRef names the GitRepository. A new artifact of it gives this one a new artifact as well.
	// +required
	GitRepositoryRef meta.LocalObjectReference `json:"repository"`

	// FromPath is the file or directory of it that is shown; all of it when absent.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	FromPath string `json:"fromPath,omitempty"`

	// ToPath is where that is shown, a path at which nothing else is; the name of the GitRepository when absent.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	ToPath string `json:"toPath,omitempty"`
}

// GetToPath returns the path at which the files are shown, with its default.
func (in *GitRepositoryInclude) GetToPath() string {
	if in.ToPath == "" {
		return in.GitRepositoryRef.Name
	}
	return in.ToPath
}

// GetFromPath returns the path of what is shown, with its default.
func (in *GitRepositoryInclude) GetFromPath() string {
	if in.FromPath == "" {
		return "."
	}
	return in.FromPath
}

// CommitOf returns the commit of a revision: the digits behind "sha1:", which no name of a branch or tag can
// hold; "" if there are none.
func CommitOf(revision string) string {
	_, rest, found := strings.Cut(revision, "sha1:")
	if !found {
		return ""
	}
	commit, _, _ := strings.Cut(rest, "+")
	return commit
}
