// Package tree shows one commit's files: immutable, read-only, by digest, read as they are needed.
//
// It promises that the same digest means the same bytes, that no path leaves the root and that no
// symbolic link is ever followed out of it. It does no I/O: an adapter supplies a Source, the core reads.
package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
)

// maxLinks bounds how many symbolic links one lookup follows, as ELOOP does in a kernel.
const maxLinks = 16

// ErrOutside means that a path, or a symbolic link on it, leaves the root of the tree.
var ErrOutside = errors.New("path leaves the repository")

// ErrLinkLoop means that a path passes more symbolic links than a lookup follows.
var ErrLinkLoop = errors.New("too many symbolic links")

// Kind is what an Entry is. The zero value is no kind: there is no such entry.
type Kind int

// Kinds of entries. A Submodule is the root of another repository, of which nothing is known.
const (
	Regular Kind = iota + 1
	Directory
	Link
	Submodule
)

// Entry is one name in a directory.
type Entry struct {
	Name string
	Kind Kind
	// ID names the content within its Source.
	ID string
}

// Source reads what a Tree shows. It is safe for concurrent use. Its errors say that something could not
// be read, never that something is not there: a directory that is named is there.
type Source interface {
	// Lookup returns the entry of that name in the directory with that ID; the zero Entry if there is none.
	Lookup(dir, name string) (Entry, error)
	// List returns the entries of the directory with that ID, sorted by name.
	List(dir string) ([]Entry, error)
	// Read returns the content of a regular file, or the target of a symbolic link. The caller must not
	// change it.
	Read(file string) ([]byte, error)
}

// Tree is an immutable set of files by slash-separated path relative to its root ("apps/web.yaml"). It
// is safe for concurrent use.
type Tree struct {
	digest, root string
	source       Source

	mu     sync.Mutex
	failed error // guarded by mu
}

// Open returns the tree below the directory with the ID root. The digest names the content
// ("sha1:<git tree>").
func Open(digest, root string, source Source) *Tree {
	return &Tree{digest: digest, root: root, source: source}
}

// Reopen returns the same tree without the failures of this one.
func (t *Tree) Reopen() *Tree { return Open(t.digest, t.root, t.source) }

// Err returns the first error of the source. A caller that concludes anything from a file or a directory that
// is not there must look at it: what could not be read looks the same.
func (t *Tree) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

// fail remembers an error of the source.
func (t *Tree) fail(err error) error {
	if err == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed == nil {
		t.failed = err
	}
	return err
}

// Digest names the content of the whole tree.
func (t *Tree) Digest() string { return t.digest }

// Files returns the paths of all files and links, sorted. It reads every directory.
func (t *Tree) Files() []string {
	var names []string
	var walk func(dir, id string)
	walk = func(dir, id string) {
		entries, err := t.source.List(id)
		if t.fail(err) != nil {
			return
		}
		for _, e := range entries {
			switch name := path.Join(dir, e.Name); e.Kind {
			case Directory:
				walk(name, e.ID)
			case Regular, Link:
				names = append(names, name)
			case Submodule:
			}
		}
	}
	walk(".", t.root)
	slices.Sort(names)
	return names
}

// ReadFile returns the content of the regular file at name after following symbolic links inside
// the tree. The caller must not change the bytes. It returns an error that wraps fs.ErrNotExist,
// ErrOutside or ErrLinkLoop, or that of the Source.
func (t *Tree) ReadFile(name string) ([]byte, error) {
	at, err := t.walk(name)
	if err != nil {
		return nil, err
	}
	if at.entry.Kind != Regular {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	data, err := t.source.Read(at.entry.ID)
	return data, t.fail(err)
}

// IsDir reports whether name is a directory after following symbolic links inside the tree.
func (t *Tree) IsDir(name string) bool {
	at, err := t.walk(name)
	return err == nil && at.entry.Kind == Directory
}

// IsFile reports whether name is a regular file after following symbolic links inside the tree.
func (t *Tree) IsFile(name string) bool {
	at, err := t.walk(name)
	return err == nil && at.entry.Kind == Regular
}

// SubmoduleOf returns the path of the submodule that name is, or lies in, after following symbolic links
// inside the tree; "" if it is in none.
func (t *Tree) SubmoduleOf(name string) string {
	at, err := t.walk(name)
	if err != nil {
		return ""
	}
	return at.submodule
}

// ReadDir returns the sorted base names of the entries of a directory, without submodules.
func (t *Tree) ReadDir(name string) ([]string, error) {
	at, err := t.walk(name)
	if err != nil {
		return nil, err
	}
	if at.entry.Kind != Directory {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	entries, err := t.source.List(at.entry.ID)
	if t.fail(err) != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if e.Kind != Submodule {
			names = append(names, e.Name)
		}
	}
	return names, nil
}

// Resolve cleans name ("./apps/", "/apps" and "apps" are one path, as a kustomize root reads them)
// and follows every symbolic link on it, within the root. It does not report whether the path exists.
func (t *Tree) Resolve(name string) (string, error) {
	at, err := t.walk(name)
	return at.path, err
}

// position is where a lookup ends.
type position struct {
	path      string
	entry     Entry // of no kind if there is nothing
	submodule string
}

// walk looks a path up.
func (t *Tree) walk(name string) (position, error) {
	rest := strings.Split(strings.TrimLeft(name, "/"), "/")
	// The directories from the root to where the lookup is, which ".." goes back to.
	stack := []position{{path: ".", entry: Entry{Kind: Directory, ID: t.root}}}
	links := 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		at := stack[len(stack)-1]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(stack) == 1 {
				return position{}, fmt.Errorf("cannot resolve %q: %w", name, ErrOutside)
			}
			stack = stack[:len(stack)-1]
			continue
		}
		next := position{path: path.Join(at.path, part), submodule: at.submodule}
		if at.entry.Kind == Directory {
			var err error
			if next.entry, err = t.source.Lookup(at.entry.ID, part); err != nil {
				return position{}, t.fail(err)
			}
		}
		switch next.entry.Kind {
		case Submodule:
			next.submodule = next.path
		case Link:
			if links++; links > maxLinks {
				return position{}, fmt.Errorf("cannot resolve %q: %w", name, ErrLinkLoop)
			}
			data, err := t.source.Read(next.entry.ID)
			if err != nil {
				return position{}, t.fail(err)
			}
			target := string(data)
			if strings.HasPrefix(target, "/") {
				return position{}, fmt.Errorf("cannot resolve %q: link %q: %w", name, next.path, ErrOutside)
			}
			rest = append(strings.Split(target, "/"), rest...)
			continue
		case Regular, Directory:
		}
		stack = append(stack, next)
	}
	return stack[len(stack)-1], nil
}
