package git

import (
	"bytes"
	"errors"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/memory"
)

// keep puts an object into a database in memory.
func keep(t *testing.T, sto *memory.Storage, kind plumbing.ObjectType, content []byte) plumbing.Hash {
	t.Helper()
	o := sto.NewEncodedObject()
	o.SetType(kind)
	w, err := o.Writer()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	h, err := sto.SetEncodedObject(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// folderOf makes a tree object.
func folderOf(t *testing.T, sto *memory.Storage, entries ...object.TreeEntry) plumbing.Hash {
	t.Helper()
	var b bytes.Buffer
	for _, e := range entries {
		b.WriteString(modeText[e.Mode] + " " + e.Name + "\x00")
		b.Write(e.Hash[:])
	}
	return keep(t, sto, plumbing.TreeObject, b.Bytes())
}

var modeText = map[filemode.FileMode]string{filemode.Regular: "100644", filemode.Dir: "40000", filemode.Symlink: "120000", filemode.Submodule: "160000"}

func newVerifier(t *testing.T, sto *memory.Storage) *verifier {
	t.Helper()
	return &verifier{
		ctx: t.Context(), sto: sto, limits: Limits{}.withDefaults(),
		submodules: map[string]bool{}, done: map[plumbing.Hash]bool{},
	}
}

// TestCommitThatLacksAnObjectIsNotComplete: a pack may be well-formed and not hold what its commits name.
func TestCommitThatLacksAnObjectIsNotComplete(t *testing.T) {
	missing := plumbing.NewHash("1111111111111111111111111111111111111111")
	for name, e := range map[string]object.TreeEntry{
		"file":   {Name: "f", Mode: filemode.Regular, Hash: missing},
		"link":   {Name: "f", Mode: filemode.Symlink, Hash: missing},
		"folder": {Name: "f", Mode: filemode.Dir, Hash: missing},
	} {
		t.Run(name, func(t *testing.T) {
			sto := memory.NewStorage()
			good := keep(t, sto, plumbing.BlobObject, []byte("x"))
			before := folderOf(t, sto, object.TreeEntry{Name: "a", Mode: filemode.Regular, Hash: good})
			deep := folderOf(t, sto, e)
			now := folderOf(t, sto, object.TreeEntry{Name: "a", Mode: filemode.Regular, Hash: good}, object.TreeEntry{Name: "d", Mode: filemode.Dir, Hash: deep})
			for _, old := range []plumbing.Hash{plumbing.ZeroHash, before} {
				if err := newVerifier(t, sto).folder("", now, old, 0); !errors.Is(err, errDamaged) {
					t.Errorf("against %s: got %v", old, err)
				}
			}
			if err := newVerifier(t, sto).folder("", before, plumbing.ZeroHash, 0); err != nil {
				t.Errorf("a complete one: %v", err)
			}
		})
	}
}

// TestVerifyingReadsWhatChanged has a folder that is not there and that both commits have.
func TestVerifyingReadsWhatChanged(t *testing.T) {
	sto := memory.NewStorage()
	unread := object.TreeEntry{Name: "unread", Mode: filemode.Dir, Hash: plumbing.NewHash("2222222222222222222222222222222222222222")}
	one, two := keep(t, sto, plumbing.BlobObject, []byte("1")), keep(t, sto, plumbing.BlobObject, []byte("2"))
	before := folderOf(t, sto, object.TreeEntry{Name: "f", Mode: filemode.Regular, Hash: one}, unread)
	now := folderOf(t, sto, object.TreeEntry{Name: "f", Mode: filemode.Regular, Hash: two}, unread)
	v := newVerifier(t, sto)
	if err := v.folder("", now, before, 0); err != nil || v.entries != 2 {
		t.Errorf("looked at %d entries: %v", v.entries, err)
	}
}

// TestTreeOfTreesIsVerifiedOnce: folders that name one folder twice, 40 deep, have 2^40 paths.
func TestTreeOfTreesIsVerifiedOnce(t *testing.T) {
	sto := memory.NewStorage()
	h := folderOf(t, sto, object.TreeEntry{Name: "f", Mode: filemode.Regular, Hash: keep(t, sto, plumbing.BlobObject, []byte("1"))})
	for range 40 {
		h = folderOf(t, sto, object.TreeEntry{Name: "a", Mode: filemode.Dir, Hash: h}, object.TreeEntry{Name: "b", Mode: filemode.Dir, Hash: h})
	}
	v := newVerifier(t, sto)
	if err := v.folder("", h, plumbing.ZeroHash, 0); err != nil || v.entries > 100 {
		t.Errorf("looked at %d entries: %v", v.entries, err)
	}
}

func TestObjectsOfRepositoriesAreApart(t *testing.T) {
	o := newObjects(1000)
	h := plumbing.NewHash("3333333333333333333333333333333333333333")
	o.put(objectKey{"a", h}, []byte("of a"))
	if got, ok := o.get(objectKey{"b", h}); ok {
		t.Errorf("b is given %q", got)
	}
	o.put(objectKey{"b", h}, make([]byte, 600))
	o.put(objectKey{"c", h}, make([]byte, 600))
	if _, ok := o.get(objectKey{"a", h}); ok || o.cached.Size() > 1000 {
		t.Errorf("%d bytes are kept", o.cached.Size())
	}
	o.put(objectKey{"d", h}, make([]byte, 2000))
	o.forget("c")
	if o.cached.Len() != 0 || o.cached.Size() != 0 {
		t.Errorf("kept %d objects of %d bytes", o.cached.Len(), o.cached.Size())
	}
}
