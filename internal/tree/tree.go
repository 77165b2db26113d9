// Package tree holds one commit's files in memory: immutable, read-only, by digest.
//
// It promises that the same digest means the same bytes, that no path leaves the root and that no
// symbolic link is ever followed out of it. It does no I/O: an adapter fills it, the core reads it.
package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// maxLinks bounds how many symbolic links one lookup follows, as ELOOP does in a kernel.
const maxLinks = 16

// ErrOutside says that a path, or a symbolic link on it, leaves the root of the tree.
var ErrOutside = errors.New("path leaves the repository")

// ErrLinkLoop says that a path passes more symbolic links than a lookup follows.
var ErrLinkLoop = errors.New("too many symbolic links")

// File is one entry of a Tree.
type File struct {
	// Data is the content of a regular file, or the target of a symbolic link.
	Data []byte
	// Link says that the entry is a symbolic link.
	Link bool
}

// Tree is an immutable set of files by slash-separated path relative to its root ("apps/web.yaml").
// Directories exist where a file lies below them. A Tree is safe for concurrent use.
type Tree struct {
	digest string
	files  map[string]File
	dirs   map[string][]string
	size   int64
}

// New returns the tree of the files, which it keeps and which must not be changed afterwards. The
// digest names the content ("sha1:<git tree>"). An unclean, absolute or escaping path is an error.
func New(digest string, files map[string]File) (*Tree, error) {
	t := &Tree{digest: digest, files: files, dirs: map[string][]string{".": nil}}
	for name, f := range files {
		if !fs.ValidPath(name) || name == "." {
			return nil, fmt.Errorf("cannot hold %q: %w", name, ErrOutside)
		}
		t.size += int64(len(f.Data))
		t.addParents(name)
	}
	for dir := range t.dirs {
		slices.Sort(t.dirs[dir])
	}
	return t, nil
}

func (t *Tree) addParents(name string) {
	for {
		dir := path.Dir(name)
		_, known := t.dirs[dir]
		t.dirs[dir] = append(t.dirs[dir], path.Base(name))
		if known || dir == "." {
			return
		}
		name = dir
	}
}

// Digest names the content of the whole tree.
func (t *Tree) Digest() string { return t.digest }

// Size is the sum of the sizes of all files, in bytes.
func (t *Tree) Size() int64 { return t.size }

// Files returns the paths of all entries, links included, sorted.
func (t *Tree) Files() []string {
	names := make([]string, 0, len(t.files))
	for name := range t.files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// ReadFile returns the content of the regular file at name after following symbolic links inside
// the tree. The caller must not change the bytes. It returns an error that wraps fs.ErrNotExist,
// ErrOutside or ErrLinkLoop.
func (t *Tree) ReadFile(name string) ([]byte, error) {
	resolved, err := t.Resolve(name)
	if err != nil {
		return nil, err
	}
	f, ok := t.files[resolved]
	if !ok {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	return f.Data, nil
}

// IsDir says whether name is a directory after following symbolic links inside the tree.
func (t *Tree) IsDir(name string) bool {
	resolved, err := t.Resolve(name)
	if err != nil {
		return false
	}
	_, ok := t.dirs[resolved]
	return ok
}

// IsFile says whether name is a regular file after following symbolic links inside the tree.
func (t *Tree) IsFile(name string) bool {
	resolved, err := t.Resolve(name)
	if err != nil {
		return false
	}
	_, ok := t.files[resolved]
	return ok
}

// ReadDir returns the sorted base names of the entries of a directory.
func (t *Tree) ReadDir(name string) ([]string, error) {
	resolved, err := t.Resolve(name)
	if err != nil {
		return nil, err
	}
	names, ok := t.dirs[resolved]
	if !ok {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	return slices.Clone(names), nil
}

// Resolve cleans name ("./apps/", "/apps" and "apps" are one path, as a kustomize root reads them)
// and follows every symbolic link on it, within the root. It does not say whether the path exists.
func (t *Tree) Resolve(name string) (string, error) {
	rest := strings.Split(strings.TrimLeft(name, "/"), "/")
	at, links := ".", 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if at == "." {
				return "", fmt.Errorf("cannot resolve %q: %w", name, ErrOutside)
			}
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, part)
		f, ok := t.files[next]
		if !ok || !f.Link {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("cannot resolve %q: %w", name, ErrLinkLoop)
		}
		target := string(f.Data)
		if strings.HasPrefix(target, "/") {
			return "", fmt.Errorf("cannot resolve %q: link %q: %w", name, next, ErrOutside)
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return at, nil
}
