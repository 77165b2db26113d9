package git

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"unicode/utf8"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"

	"github.com/skerry-dev/skerry/internal/tree"
)

const (
	maxPath  = 4096 // bytes of a name or of a symbolic link's target, as in a kernel
	maxDepth = 128  // folders in folders
)

// Tree returns the files below a tree object of an object database, which are read when they are asked
// for.
func Tree(sto storer.EncodedObjectStorer, root plumbing.Hash) *tree.Tree {
	return tree.Open(digestOf(root), idOf(root), source{func(t plumbing.ObjectType, h plumbing.Hash) (any, error) {
		return decode(sto, t, h)
	}})
}

func digestOf(root plumbing.Hash) string { return "sha1:" + root.String() }

// idOf names an object within a source.
func idOf(h plumbing.Hash) string { return string(h[:]) }

func hashOf(id string) (h plumbing.Hash) {
	copy(h[:], id)
	return h
}

// source shows tree and blob objects as a tree.Source. Its function returns what decode does.
type source struct {
	object func(plumbing.ObjectType, plumbing.Hash) (any, error)
}

func (s source) folder(id string) (*folder, error) {
	o, err := s.object(plumbing.TreeObject, hashOf(id))
	if err != nil {
		return nil, err
	}
	return o.(*folder), nil
}

func (s source) Lookup(dir, name string) (tree.Entry, error) {
	f, err := s.folder(dir)
	if err != nil {
		return tree.Entry{}, err
	}
	i, ok := slices.BinarySearchFunc(f.entries, name, func(e tree.Entry, name string) int { return cmp.Compare(e.Name, name) })
	if !ok {
		return tree.Entry{}, nil
	}
	if i+1 < len(f.entries) && f.entries[i+1].Name == name {
		return tree.Entry{}, f.odd
	}
	return f.entries[i], nil
}

// List refuses a folder with an entry that no checkout would make. A name that is not UTF-8 is refused as
// well: left out, it could be a manifest, and what it holds would be pruned.
func (s source) List(dir string) ([]tree.Entry, error) {
	f, err := s.folder(dir)
	if err != nil {
		return nil, err
	}
	return f.entries, f.odd
}

func (s source) Read(file string) ([]byte, error) {
	o, err := s.object(plumbing.BlobObject, hashOf(file))
	if err != nil {
		return nil, err
	}
	return o.([]byte), nil
}

// Hash is the hash of the object.
func (s source) Hash(id string) string { return digestOf(hashOf(id)) }

// folder is a tree object.
type folder struct {
	entries []tree.Entry // sorted by name
	odd     error        // an entry that cannot be
}

// size is about how many bytes a folder takes in memory.
func (f *folder) size() int64 {
	n := int64(100)
	for _, e := range f.entries {
		n += int64(len(e.Name)) + 80
	}
	return n
}

// decode reads a *folder or the []byte of a blob. What is read is checked against its hash, so that a
// flipped bit on the disk never reaches a cluster. Its error is errDamaged.
func decode(sto storer.EncodedObjectStorer, t plumbing.ObjectType, h plumbing.Hash) (any, error) {
	o, err := sto.EncodedObject(t, h)
	if err != nil {
		return nil, fmt.Errorf("%w: cannot read object %s", errDamaged, h)
	}
	if t == plumbing.TreeObject {
		return decodeFolder(sto, o, h)
	}
	data := make([]byte, o.Size())
	r, err := o.Reader()
	if err != nil {
		return nil, fmt.Errorf("%w: cannot read object %s", errDamaged, h)
	}
	_, err = io.ReadFull(r, data)
	if errors.Join(err, r.Close()) != nil || plumbing.ComputeHash(plumbing.BlobObject, data) != h {
		return nil, fmt.Errorf("%w: cannot read object %s", errDamaged, h)
	}
	return data, nil
}

func decodeFolder(sto storer.EncodedObjectStorer, o plumbing.EncodedObject, h plumbing.Hash) (*folder, error) {
	t, err := object.DecodeTree(sto, o)
	if err != nil || t.Hash != h {
		return nil, fmt.Errorf("%w: cannot decode tree %s", errDamaged, h)
	}
	f := &folder{entries: make([]tree.Entry, 0, len(t.Entries))}
	for _, e := range t.Entries {
		if err := checkName(e.Name); err != nil && f.odd == nil {
			f.odd = err
		}
		f.entries = append(f.entries, tree.Entry{Name: e.Name, Kind: kinds(e.Mode), ID: idOf(e.Hash)})
	}
	slices.SortFunc(f.entries, func(a, b tree.Entry) int { return cmp.Compare(a.Name, b.Name) })
	for i := 1; i < len(f.entries) && f.odd == nil; i++ {
		if f.entries[i].Name == f.entries[i-1].Name {
			f.odd = fail(ErrFetchFailed, "a folder of the commit has %q twice", f.entries[i].Name)
		}
	}
	return f, nil
}

func kinds(mode filemode.FileMode) tree.Kind {
	switch mode {
	case filemode.Dir:
		return tree.Directory
	case filemode.Submodule:
		return tree.Submodule
	case filemode.Symlink:
		return tree.Link
	default:
		return tree.Regular
	}
}

// checkName refuses a name that no checkout would make.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == ".." || path.Base(name) != name:
		return fail(ErrFetchFailed, "a folder of the commit has an entry with the impossible name %q", name)
	case !utf8.ValidString(name):
		return fail(ErrFetchFailed, "a folder of the commit has an entry whose name is not UTF-8: %q", name)
	case len(name) > maxPath:
		return fail(ErrTooLarge, "a folder of the commit has a name of more than %d bytes", maxPath)
	}
	return nil
}

// verifier proves that a commit is complete: that the database has every object that its tree names. It
// reads folders only, and of those only the ones that differ from an earlier commit that was complete, so
// that a commit costs what it changes, whatever the size of the repository.
type verifier struct {
	ctx    context.Context //nolint:containedctx // a verifier lives for one call
	sto    storer.EncodedObjectStorer
	limits Limits
	// submodules are those of the earlier commit, and become those of this one.
	submodules map[string]bool
	entries    int
	done       map[plumbing.Hash]bool
}

// folder verifies a folder that was old before; the zero hash for none.
func (v *verifier) folder(dir string, h, old plumbing.Hash, depth int) error {
	if h == old {
		return nil
	}
	if depth > maxDepth {
		return fail(ErrTooLarge, "folders are more than %d deep", maxDepth)
	}
	if err := v.ctx.Err(); err != nil {
		return err
	}
	now, err := v.read(h)
	if err != nil {
		return err
	}
	before := &folder{}
	if !old.IsZero() {
		if before, err = v.read(old); err != nil {
			before = &folder{} // its pack may have gone: then this one is verified in full
		}
	}
	was := make(map[string]tree.Entry, len(before.entries))
	for _, e := range before.entries {
		was[e.Name] = e
		if e.Kind == tree.Submodule {
			delete(v.submodules, path.Join(dir, e.Name))
		}
	}
	for _, e := range now.entries {
		if v.entries++; v.entries > v.limits.Files {
			return fail(ErrTooLarge, "the commit has more than %d files and folders (see --git-max-files)", v.limits.Files)
		}
		if err := v.entry(path.Join(dir, e.Name), e, was[e.Name], depth); err != nil {
			return err
		}
		delete(was, e.Name)
	}
	for name, e := range was {
		if e.Kind == tree.Directory {
			v.dropSubmodules(path.Join(dir, name))
		}
	}
	return nil
}

func (v *verifier) entry(name string, e, was tree.Entry, depth int) error {
	switch {
	case e.Kind == tree.Submodule:
		if utf8.ValidString(name) {
			v.submodules[name] = true
		}
		return nil
	case e.Kind == was.Kind && e.ID == was.ID:
		return nil
	case e.Kind == tree.Directory:
		old := plumbing.ZeroHash
		if was.Kind == tree.Directory {
			old = hashOf(was.ID)
		}
		// A folder that the commit has twice is complete both times, but its submodules have two paths.
		h := hashOf(e.ID)
		if old.IsZero() && v.done[h] && len(v.submodules) == 0 {
			return nil
		}
		if err := v.folder(name, h, old, depth+1); err != nil {
			return err
		}
		v.done[h] = true
		return nil
	case was.Kind == tree.Directory:
		v.dropSubmodules(name)
	}
	if v.sto.HasEncodedObject(hashOf(e.ID)) != nil {
		return fmt.Errorf("%w: object %s is missing", errDamaged, hashOf(e.ID))
	}
	return nil
}

// dropSubmodules drops the submodules below a folder that is no more.
func (v *verifier) dropSubmodules(dir string) {
	for name := range v.submodules {
		if len(name) > len(dir) && name[:len(dir)] == dir && name[len(dir)] == '/' {
			delete(v.submodules, name)
		}
	}
}

func (v *verifier) read(h plumbing.Hash) (*folder, error) {
	o, err := decode(v.sto, plumbing.TreeObject, h)
	if err != nil {
		return nil, err
	}
	return o.(*folder), nil
}
