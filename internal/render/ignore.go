package render

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/fluxcd/pkg/sourceignore"

	"github.com/skerry-dev/skerry/internal/tree"
)

// view is a tree without the files that .sourceignore files and the ignore of the options leave out,
// as Flux leaves them out of an artifact: they are not there, for a directory that is rendered as a
// whole and for a kustomization that names them. Unlike in Flux, the default patterns (images, archives,
// files of CI) count only for a directory that is rendered as a whole: a generator may name a picture.
type view struct {
	*tree.Tree
	rules *tree.IgnoreRules
}

func newView(t *tree.Tree, ignore string) *view {
	return &view{Tree: t, rules: tree.NewIgnoreRules(t, ignore)}
}

// ignored reports whether a file is left out, by its own path or by that of the file a link leads to.
func (v *view) ignored(p string) bool {
	p = path.Clean(strings.TrimLeft(p, "/"))
	if v.rules.Match(p, nil) {
		return true
	}
	resolved, err := v.Resolve(p)
	return err == nil && resolved != p && v.rules.Match(resolved, nil)
}

var defaults = append(sourceignore.VCSPatterns(nil), sourceignore.DefaultPatterns(nil)...)

// isManifest reports whether a file of a directory that is rendered as a whole is rendered.
func (v *view) isManifest(p string) bool { return !v.rules.Match(p, defaults) && !v.ignored(p) }

// IsFile reports whether there is a file that is not left out.
func (v *view) IsFile(p string) bool { return v.Tree.IsFile(p) && !v.ignored(p) }

// ReadFile returns the content of a file that is not left out.
func (v *view) ReadFile(p string) ([]byte, error) {
	if v.ignored(p) {
		return nil, &fs.PathError{Op: "read", Path: p, Err: fs.ErrNotExist}
	}
	return v.Tree.ReadFile(p)
}

// leavesOut returns what to say of a file that is there and left out, or "".
func (v *view) leavesOut(p string) string {
	if v.Tree.IsFile(p) && v.ignored(p) {
		return ": a .sourceignore, or spec.ignore of the GitRepository, leaves it out"
	}
	return inSubmodule(v.Tree, p)
}

// inSubmodule returns what to say of a path that is a submodule, or lies in one, or "".
func inSubmodule(t *tree.Tree, p string) string {
	module := t.SubmoduleOf(p)
	if module == "" {
		return ""
	}
	return fmt.Sprintf(": %q is a Git submodule that was not fetched; set spec.recurseSubmodules of the GitRepository, or follow that repository with a GitRepository of its own and show its files with spec.include", module)
}

// isEmpty reports whether everything below a directory is left out.
func (v *view) isEmpty(dir string) bool {
	names, err := v.Tree.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, name := range names {
		p := path.Join(dir, name)
		if v.Tree.IsDir(p) {
			if !v.isEmpty(p) {
				return false
			}
		} else if !v.ignored(p) {
			return false
		}
	}
	return true
}
