package render

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/skerry-dev/skerry/internal/tree"
)

// scpUser is the user of "git@host:org/repo", by which kustomize knows a repository without a scheme.
var scpUser = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9-]*@`)

// looksRemote reports whether kustomize would take a reference for a URL or a Git repository, whatever
// lies in the tree: it tries those first for a directory, and again for a file that does not parse.
// It takes in at least all that kustomize's own detection does (api/internal/git/repospec.go and
// IsRemoteFile at v0.21.2); "./" before a path keeps it from looking remote.
func looksRemote(ref string) bool {
	lower := strings.ToLower(strings.TrimSpace(ref))
	for strings.HasPrefix(lower, "git::") {
		lower = strings.TrimPrefix(lower, "git::")
	}
	if u, err := url.Parse(ref); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
		return true
	}
	for _, prefix := range []string{"http:", "https:", "ssh:", "file:", "git:", "github.com/", "github.com:"} {
		if strings.HasPrefix(lower, prefix) {
			return true
		}
	}
	return scpUser.MatchString(lower)
}

// LooksRemote reports whether a reference of a kustomization is refused as remote.
func LooksRemote(ref string) bool { return looksRemote(ref) || strings.Contains(ref, "://") }

// WithoutCredentials returns a remote reference as messages show it.
func WithoutCredentials(ref string) string { return strings.Trim(harmless(ref), `"`) }

// harmless returns a remote reference without what may be a credential in it.
func harmless(ref string) string {
	ref, _, _ = strings.Cut(ref, "?")
	if at := strings.LastIndex(ref, "@"); at >= 0 && !scpUser.MatchString(ref) {
		scheme, _, ok := strings.Cut(ref, "://")
		if !ok {
			return "the reference"
		}
		ref = scheme + "://" + ref[at+1:]
	}
	return fmt.Sprintf("%q", ref)
}

// clean returns the path, relative to the root of the tree, of a reference in a file of dir. It is
// lexical, as kustomize's own joining is: ".." after a link leads back to where the link lies.
func clean(dir, ref string) (string, *Error) {
	switch {
	case ref == "":
		return "", errorf(InvalidKustomization, "empty path")
	case LooksRemote(ref):
		return "", errorf(RemoteReference, "%s is remote; only files of the repository are rendered: copy them into it with 'skerry vendor', or show them in it with spec.include of the GitRepository", harmless(ref))
	case path.IsAbs(ref):
		return "", errorf(PathOutsideRoot, "%q is absolute; paths are relative to the file that names them", ref)
	}
	p := path.Clean(dir + "/" + ref)
	if p == ".." || strings.HasPrefix(p, "../") {
		return "", errorf(PathOutsideRoot, "%q leaves the repository", ref)
	}
	return p, nil
}

// follow returns the path after all symbolic links.
func follow(t *tree.Tree, p string) (string, *Error) {
	resolved, err := t.Resolve(p)
	if err != nil {
		return "", errorf(PathOutsideRoot, "%q is a symbolic link that leaves the repository or never ends", p)
	}
	return resolved, nil
}
