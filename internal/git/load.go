package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"

	"github.com/skerry-dev/skerry/internal/tree"
)

const (
	maxPath  = 4096 // bytes of a path, and of a symbolic link's target, as in a kernel
	maxDepth = 128  // folders in folders
)

// loader reads one commit out of an object database. Its errors are ErrTooLarge, ErrFetchFailed and
// ErrReferenceNotFound for what the commit holds, errDamaged for what the database should hold and
// does not, and those of ctx.
type loader struct {
	ctx    context.Context //nolint:containedctx // a loader lives for one call
	sto    storer.EncodedObjectStorer
	limits Limits
	// old is another commit of the same repository, or empty: what it has is not read again.
	old, new *snapshot

	files   map[string]tree.File
	entries int
	size    int64
}

func load(ctx context.Context, sto storer.EncodedObjectStorer, limits Limits, hash plumbing.Hash, old *snapshot) (*snapshot, error) {
	if old == nil {
		old = &snapshot{}
	}
	l := &loader{
		ctx: ctx, sto: sto, limits: limits, old: old, files: map[string]tree.File{},
		new: &snapshot{hash: hash, folders: map[plumbing.Hash][]object.TreeEntry{}, blobs: map[plumbing.Hash][]byte{}},
	}
	encoded, err := l.object(plumbing.AnyObject, hash)
	if err != nil {
		return nil, err
	}
	if encoded.Type() != plumbing.CommitObject {
		return nil, fail(ErrReferenceNotFound, "%s is a %s, not a commit", hash, encoded.Type())
	}
	commit, err := object.DecodeCommit(sto, encoded)
	if err != nil {
		return nil, fmt.Errorf("%w: cannot decode commit %s", errDamaged, hash)
	}
	if err := l.folder(".", commit.TreeHash, 0); err != nil {
		return nil, err
	}
	l.new.author, l.new.time = oneLine(commit.Author.Name), commit.Committer.When.UTC()
	first, _, _ := strings.Cut(strings.TrimSpace(commit.Message), "\n")
	l.new.subject = oneLine(first)
	slices.Sort(l.new.submodules)
	if l.new.tree, err = tree.New("sha1:"+commit.TreeHash.String(), l.files); err != nil {
		return nil, fail(ErrFetchFailed, "commit %s: %v", hash, err)
	}
	return l.new, nil
}

// object reads an object, or says that the store is damaged.
func (l *loader) object(t plumbing.ObjectType, h plumbing.Hash) (plumbing.EncodedObject, error) {
	if err := l.ctx.Err(); err != nil {
		return nil, err
	}
	o, err := l.sto.EncodedObject(t, h)
	if err != nil {
		return nil, fmt.Errorf("%w: cannot read object %s", errDamaged, h)
	}
	return o, nil
}

func (l *loader) folder(dir string, h plumbing.Hash, depth int) error {
	if depth > maxDepth {
		return fail(ErrTooLarge, "folders are more than %d deep", maxDepth)
	}
	entries, err := l.folderEntries(h)
	if err != nil {
		return err
	}
	seen := make(map[string]bool, len(entries))
	for _, e := range entries {
		if l.entries++; l.entries > l.limits.Files {
			return fail(ErrTooLarge, "the commit has more than %d files and folders", l.limits.Files)
		}
		name := path.Join(dir, e.Name)
		if err := checkEntry(dir, e.Name, name); err != nil {
			return err
		}
		if seen[e.Name] {
			return fail(ErrFetchFailed, "the commit has %q twice", name)
		}
		seen[e.Name] = true
		if err := l.entry(name, e, depth); err != nil {
			return err
		}
	}
	return nil
}

// checkEntry refuses what no checkout would make either. A name that is not UTF-8 is refused as
// well: left out, it could be a manifest, and what it holds would be pruned.
func checkEntry(dir, name, joined string) error {
	switch {
	case name == "" || name == "." || name == ".." || path.Base(joined) != name:
		return fail(ErrFetchFailed, "folder %q has an entry with the impossible name %q", dir, name)
	case !utf8.ValidString(name):
		return fail(ErrFetchFailed, "folder %q has an entry whose name is not UTF-8: %q", dir, name)
	case len(joined) > maxPath:
		return fail(ErrTooLarge, "folder %q has a path of more than %d bytes", dir, maxPath)
	}
	return nil
}

func (l *loader) entry(name string, e object.TreeEntry, depth int) error {
	switch e.Mode {
	case filemode.Dir:
		return l.folder(name, e.Hash, depth+1)
	case filemode.Submodule:
		l.new.submodules = append(l.new.submodules, name)
		return nil
	default:
	}
	data, err := l.blob(e.Hash)
	if err != nil {
		return err
	}
	if l.size += int64(len(data)); l.size > l.limits.Tree {
		return l.tooLarge()
	}
	link := e.Mode == filemode.Symlink
	if link && len(data) > maxPath {
		return fail(ErrTooLarge, "symbolic link %q is longer than %d bytes", name, maxPath)
	}
	l.files[name] = tree.File{Data: data, Link: link}
	return nil
}

func (l *loader) tooLarge() error {
	return fail(ErrTooLarge, "the files of the commit exceed the limit of %s", size(l.limits.Tree))
}

// folderEntries returns a tree object's entries, from memory if an earlier commit had it.
func (l *loader) folderEntries(h plumbing.Hash) ([]object.TreeEntry, error) {
	for _, known := range []*snapshot{l.new, l.old} {
		if entries, ok := known.folders[h]; ok {
			l.new.folders[h] = entries
			return entries, nil
		}
	}
	o, err := l.object(plumbing.TreeObject, h)
	if err != nil {
		return nil, err
	}
	t, err := object.DecodeTree(l.sto, o)
	if err != nil || t.Hash != h {
		return nil, fmt.Errorf("%w: cannot decode tree %s", errDamaged, h)
	}
	l.new.folders[h] = t.Entries
	return t.Entries, nil
}

// blob returns a file's content, from memory if an earlier commit had it. What is read is checked
// against its hash, so that a flipped bit on the disk never reaches a cluster.
func (l *loader) blob(h plumbing.Hash) ([]byte, error) {
	for _, known := range []*snapshot{l.new, l.old} {
		if data, ok := known.blobs[h]; ok {
			l.new.blobs[h] = data
			return data, nil
		}
	}
	o, err := l.object(plumbing.BlobObject, h)
	if err != nil {
		return nil, err
	}
	if l.size+o.Size() > l.limits.Tree {
		return nil, l.tooLarge()
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
	l.new.blobs[h] = data
	return data, nil
}
