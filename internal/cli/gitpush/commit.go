package gitpush

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// Author is who wrote a commit, and when.
type Author struct {
	Name, Email string
	When        time.Time
	// Sign returns the armored signature of a commit, which is given as it is without one; nil signs none.
	Sign Signer
}

// Write returns the snapshot with the files put in, by path, as one commit on top. Whatever else the
// branch holds stays as it is, bit by bit. When the files are there already it is the same snapshot.
func (s *Snapshot) Write(files map[string][]byte, author Author, message string) (*Snapshot, error) {
	next := *s
	next.fresh = slices.Clone(s.fresh)
	root, err := next.edit(s.root, "", files)
	if err != nil {
		return nil, err
	}
	if root == s.root {
		return s, nil
	}
	next.root = root
	signature := object.Signature{Name: author.Name, Email: author.Email, When: author.When}
	commit := &object.Commit{Author: signature, Committer: signature, Message: message + "\n", TreeHash: root}
	if !s.commit.IsZero() {
		commit.ParentHashes = []plumbing.Hash{s.commit}
	}
	if author.Sign != nil {
		if commit.PGPSignature, err = signatureOf(commit, author.Sign); err != nil {
			return nil, err
		}
	}
	if next.commit, err = next.keep(commit.Encode); err != nil {
		return nil, err
	}
	return &next, nil
}

// signatureOf signs what Git verifies: the commit without the signature.
func signatureOf(commit *object.Commit, sign Signer) (string, error) {
	unsigned := &plumbing.MemoryObject{}
	if err := commit.EncodeWithoutSignature(unsigned); err != nil {
		return "", fmt.Errorf("cannot write the commit that is to be signed: %w", err)
	}
	r, err := unsigned.Reader()
	if err != nil {
		return "", fmt.Errorf("cannot write the commit that is to be signed: %w", err)
	}
	signed, err := sign(r)
	if err != nil {
		return "", fmt.Errorf("cannot sign the commit: %w", err)
	}
	return string(signed), nil
}

// edit returns the tree with the files put in, which are named relative to it. The tree of hash zero
// is empty.
func (s *Snapshot) edit(hash plumbing.Hash, at string, files map[string][]byte) (plumbing.Hash, error) {
	var entries []object.TreeEntry
	if !hash.IsZero() {
		old, err := object.GetTree(s.store, hash)
		if err != nil {
			return hash, fmt.Errorf("cannot read folder %q: %w", at, err)
		}
		entries = slices.Clone(old.Entries)
	}
	here, below := split(files)
	for _, name := range slices.Sorted(maps.Keys(here)) {
		blob, err := s.keepBlob(here[name])
		if err != nil {
			return hash, err
		}
		if entries, err = put(entries, at, object.TreeEntry{Name: name, Mode: filemode.Regular, Hash: blob}); err != nil {
			return hash, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(below)) {
		sub := plumbing.ZeroHash
		if i := slices.IndexFunc(entries, func(e object.TreeEntry) bool { return e.Name == name && e.Mode == filemode.Dir }); i >= 0 {
			sub = entries[i].Hash
		}
		changed, err := s.edit(sub, at+name+"/", below[name])
		if err != nil {
			return hash, err
		}
		if entries, err = put(entries, at, object.TreeEntry{Name: name, Mode: filemode.Dir, Hash: changed}); err != nil {
			return hash, err
		}
	}
	sort.Sort(object.TreeEntrySorter(entries))
	return s.keep((&object.Tree{Entries: entries}).Encode)
}

// split parts files that lie in a folder from those in folders below it.
func split(files map[string][]byte) (here map[string][]byte, below map[string]map[string][]byte) {
	here, below = map[string][]byte{}, map[string]map[string][]byte{}
	for name, data := range files {
		first, rest, deeper := strings.Cut(name, "/")
		if !deeper {
			here[name] = data
			continue
		}
		if below[first] == nil {
			below[first] = map[string][]byte{}
		}
		below[first][rest] = data
	}
	return here, below
}

// put replaces an entry by one of the same sort, or adds it. Something else in its place, a link or
// a submodule perhaps, was put there by a user and stays.
func put(entries []object.TreeEntry, at string, e object.TreeEntry) ([]object.TreeEntry, error) {
	for i, old := range entries {
		if old.Name != e.Name {
			continue
		}
		if old.Mode.IsFile() != e.Mode.IsFile() || old.Mode == filemode.Symlink || old.Mode == filemode.Submodule {
			return nil, fmt.Errorf("cannot write %s%s: something of another sort is there", at, e.Name)
		}
		if e.Mode.IsFile() {
			e.Mode = old.Mode
		}
		entries[i] = e
		return entries, nil
	}
	return append(entries, e), nil
}

func (s *Snapshot) keepBlob(data []byte) (plumbing.Hash, error) {
	return s.keep(func(o plumbing.EncodedObject) error {
		o.SetType(plumbing.BlobObject)
		w, err := o.Writer()
		if err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
		return w.Close()
	})
}

// keep stores an object, and remembers it for the push unless the server has it.
func (s *Snapshot) keep(encode func(plumbing.EncodedObject) error) (plumbing.Hash, error) {
	o := s.store.NewEncodedObject()
	if err := encode(o); err != nil {
		return plumbing.ZeroHash, fmt.Errorf("cannot write an object: %w", err)
	}
	if s.store.HasEncodedObject(o.Hash()) != nil {
		if _, err := s.store.SetEncodedObject(o); err != nil {
			return plumbing.ZeroHash, fmt.Errorf("cannot write an object: %w", err)
		}
		s.made[o.Hash()] = true
	}
	if s.made[o.Hash()] && !slices.Contains(s.fresh, o.Hash()) {
		s.fresh = append(s.fresh, o.Hash())
	}
	return o.Hash(), nil
}
