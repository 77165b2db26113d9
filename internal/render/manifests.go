package render

import (
	"path"
)

// manifests lists what a directory without a kustomization file renders: all YAML files below it that
// are not left out, and the directories that have one of their own. The paths begin with "./", relative to top.
func (w *walker) manifests(top, below string) ([]string, *Error) {
	names, err := w.tree.ReadDir(path.Join(top, below))
	if err != nil {
		return nil, errorf(PathNotFound, "cannot be read").in(path.Join(top, below))
	}
	var found []string
	for _, name := range names {
		more, err := w.manifest(top, path.Join(below, name))
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	return found, nil
}

// manifest returns what one entry of a directory adds to manifests.
func (w *walker) manifest(top, name string) ([]string, *Error) {
	p := path.Join(top, name)
	isYAML := path.Ext(p) == ".yaml" || path.Ext(p) == ".yml"
	if isYAML && !w.tree.Tree.IsDir(p) && !w.tree.isManifest(p) {
		return nil, nil
	}
	resolved, err := follow(w.tree.Tree, p)
	switch {
	case isYAML && err != nil:
		return nil, err
	case isYAML && !w.tree.IsDir(resolved):
		return []string{"./" + name}, nil
	case resolved != p || !w.tree.IsDir(p):
		return nil, nil // a link to a directory is not descended into: it may lead back up
	}
	own, err := w.find(p)
	switch {
	case err != nil:
		return nil, err
	case own != "" && w.tree.isManifest(path.Join(p, own)):
		return []string{"./" + name}, nil
	}
	return w.manifests(top, name)
}
