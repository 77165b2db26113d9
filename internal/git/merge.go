package git

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

const (
	// maxPacks is how many packs may lie side by side: every fetch adds one, and every look-up of an
	// object asks them all.
	maxPacks = 16
	// maxGarbage is by how many bytes what was fetched later may exceed what was fetched first.
	// Beyond it, most of the store is files that no commit in reach has any more.
	maxGarbage = 64 << 20
)

// pack is one pack file; its path has no extension.
type pack struct {
	path string
	size int64
}

// list returns the packs, the largest first.
func (p packs) list() ([]pack, error) {
	names, err := filepath.Glob(filepath.Join(p.dir, "pack-*.pack"))
	if err != nil {
		return nil, disk("list packs", err)
	}
	var found []pack
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return nil, disk("list packs", err)
		}
		found = append(found, pack{strings.TrimSuffix(name, ".pack"), info.Size()})
	}
	slices.SortFunc(found, func(a, b pack) int {
		return cmp.Or(cmp.Compare(b.size, a.size), cmp.Compare(a.path, b.path))
	})
	return found, nil
}

// overgrown means that it is time to fetch anew rather than to add.
func overgrown(found []pack) bool {
	if len(found) == 0 {
		return false
	}
	var rest int64
	for _, pk := range found[1:] {
		rest += pk.size
	}
	return rest > found[0].size+maxGarbage
}

// small is the end of the list, largest first, that is worth merging: each pack in it is at most as
// large as twice all smaller ones together, so that no byte is copied again and again as the store
// grows. The largest, which the first fetch brought, is never in it.
func small(found []pack) []pack {
	from := len(found) - 2
	sum := found[len(found)-1].size
	for ; from > 0 && (found[from].size <= 2*sum || len(found)-from <= maxPacks/2); from-- {
		sum += found[from].size
	}
	return found[from+1:]
}

// merge makes one pack of the given ones and returns those that it replaces, which are still there:
// their readers must be done first.
func (p packs) merge(ctx context.Context, sto storer.EncodedObjectStorer, found []pack) (replaced []pack, err error) {
	var hashes []plumbing.Hash
	for _, pk := range found {
		if hashes, err = appendHashes(hashes, pk); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(hashes, func(a, b plumbing.Hash) int { return bytes.Compare(a[:], b[:]) })
	hashes = slices.Compact(hashes)

	f, err := os.CreateTemp(p.dir, "tmp_merge_")
	if err != nil {
		return nil, disk("merge packs", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := packfile.NewEncoder(toDisk{f}, sto, false).Encode(hashes, 0); err != nil {
		if isTyped(err) {
			return nil, err // of the disk: what is there is whole
		}
		return nil, fmt.Errorf("%w: cannot merge packs: %w", errDamaged, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, disk("merge packs", err)
	}
	before, err := p.list()
	if err != nil {
		return nil, err
	}
	if err := p.add(ctx, f); err != nil {
		return nil, err
	}
	after, err := p.list()
	if err != nil || len(after) == len(before) {
		return nil, err // the merged pack is one of those: nothing to replace
	}
	return found, nil
}

func appendHashes(hashes []plumbing.Hash, pk pack) ([]plumbing.Hash, error) {
	f, err := os.Open(pk.path + ".idx")
	if err != nil {
		return nil, disk("read an index", err)
	}
	defer f.Close()
	index := idxfile.NewMemoryIndex()
	if err := idxfile.NewDecoder(f).Decode(index); err != nil {
		return nil, fmt.Errorf("%w: cannot read an index", errDamaged)
	}
	entries, err := index.Entries()
	if err != nil {
		return nil, fmt.Errorf("%w: cannot read an index", errDamaged)
	}
	for {
		entry, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return hashes, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: cannot read an index", errDamaged)
		}
		hashes = append(hashes, entry.Hash)
	}
}

// remove deletes packs, the pack before its index: an index alone is not looked at.
func (p packs) remove(replaced []pack) error {
	var errs []error
	for _, pk := range replaced {
		errs = append(errs, os.Remove(pk.path+".pack"), os.Remove(pk.path+".idx"))
	}
	if err := errors.Join(errs...); err != nil {
		return disk("remove packs", err)
	}
	return nil
}
