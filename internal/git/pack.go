package git

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"

	"github.com/skerry-dev/skerry/internal/recovery"
)

// packs is the folder of pack files of one repository.
type packs struct {
	dir    string
	limits Limits
}

const (
	// largeObject is the size in bytes above which an object counts as large.
	largeObject = 16 << 20
	// deltaShare is by what a limit on an object is divided for one that comes as a delta: to put that
	// together, the parser holds it and what it derives from in memory, several times each.
	deltaShare = 2
)

// large is held while a pack with large objects is indexed, since go-git's parser holds each of them in
// memory: one such pack at a time, whatever the number of repositories.
var large = make(chan struct{}, 1)

// add receives a pack, checks that it keeps to the limits, indexes it and puts it beside the others.
// A pack without objects adds nothing, and what fails leaves nothing behind.
func (p packs) add(ctx context.Context, from io.Reader) (err error) {
	f, err := os.CreateTemp(p.dir, "tmp_pack_")
	if err != nil {
		return disk("keep a pack", err)
	}
	defer os.Remove(f.Name()) // what is kept has another name by then
	defer f.Close()
	defer func() {
		// go-git reads what a stranger made: a panic in there must not take all tenants with it.
		if recover() != nil {
			recovery.CountInput()
			err = errMalformed
		}
	}()
	if _, err := io.Copy(toDisk{f}, from); err != nil {
		return err
	}
	defer working(ctx)()
	count, largest, err := p.scan(ctx, f)
	if err != nil || count == 0 {
		return err
	}
	if largest > largeObject {
		select {
		case large <- struct{}{}:
			defer func() { <-large }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	index, err := p.index(ctx, f)
	if err != nil {
		return err
	}
	return p.keep(f, index)
}

// toDisk distinguishes an error of the disk from one of the server. The file is not embedded:
// its ReadFrom would be used in place of Write, and both would look the same.
type toDisk struct{ file *os.File }

func (d toDisk) Write(b []byte) (int, error) {
	n, err := d.file.Write(b)
	return n, disk("keep a pack", err)
}

// errMalformed leaves out go-git's words, which are about offsets and change from fetch to fetch.
var errMalformed = fail(ErrFetchFailed, "the server sent a malformed pack")

func malformed(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return errMalformed
}

// cancellableReader reads a file until ctx ends.
type cancellableReader struct {
	*os.File
	ctx context.Context
}

func (p cancellableReader) Read(b []byte) (int, error) {
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	return p.File.Read(b)
}

// scan reads the whole pack once, before anything reserves memory by the sizes that the pack claims: a
// few bytes can announce an object of any size. It returns the number of objects and the size of the
// largest.
func (p packs) scan(ctx context.Context, f *os.File) (count uint32, largest int64, err error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, 0, disk("read a pack", err)
	}
	s := packfile.NewScanner(cancellableReader{f, ctx})
	_, count, err = s.Header()
	if err != nil {
		return 0, 0, malformed(ctx)
	}
	if int64(count) > p.limits.Objects {
		return 0, 0, fail(ErrTooLarge, "the fetch has more than %d objects (see --git-max-files)", p.limits.Objects)
	}
	var inflated int64
	for range count {
		length, err := p.objectSize(s)
		if err != nil {
			return 0, 0, errors.Join(ctx.Err(), err)
		}
		largest = max(largest, length)
		if inflated += length; inflated > p.limits.Inflated {
			return 0, 0, fail(ErrTooLarge, "the objects of the fetch exceed the limit of %s (see --git-max-fetch-size)", size(p.limits.Inflated))
		}
	}
	if _, err := s.Checksum(); err != nil {
		return 0, 0, malformed(ctx)
	}
	return count, largest, nil
}

// objectSize is how many bytes the next object has when it is complete.
func (p packs) objectSize(s *packfile.Scanner) (int64, error) {
	header, err := s.NextObjectHeader()
	if err != nil {
		return 0, errMalformed
	}
	if t := header.Type; !t.IsDelta() && (t < plumbing.CommitObject || t > plumbing.TagObject) {
		return 0, errMalformed
	}
	length, limit := header.Length, p.limits.Object
	if header.Type.IsDelta() && 0 <= length && length <= limit {
		limit /= deltaShare
		if length, err = deltaTarget(s); err != nil {
			return 0, err
		}
	}
	if length < 0 || length > limit {
		return 0, fail(ErrTooLarge, "the fetch has an object above the limit of %s (see --git-max-file-size)", size(limit))
	}
	return length, nil
}

// deltaTarget reads the delta that comes next and returns the size of what it makes, which stands
// second at its beginning, behind the size of what it starts from.
func deltaTarget(s *packfile.Scanner) (int64, error) {
	var head prefix
	if _, _, err := s.NextObject(&head); err != nil {
		return 0, errMalformed
	}
	r := bytes.NewReader(head.kept)
	if _, err := binary.ReadUvarint(r); err != nil {
		return 0, errMalformed
	}
	target, err := binary.ReadUvarint(r)
	if err != nil {
		return 0, errMalformed
	}
	return int64(target), nil
}

// prefix keeps the beginning of what is written to it.
type prefix struct{ kept []byte }

func (p *prefix) Write(b []byte) (int, error) {
	if room := 2*binary.MaxVarintLen64 - len(p.kept); room > 0 {
		p.kept = append(p.kept, b[:min(room, len(b))]...)
	}
	return len(b), nil
}

func (p packs) index(ctx context.Context, f *os.File) (*idxfile.MemoryIndex, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, disk("read a pack", err)
	}
	var w idxfile.Writer
	parser, err := packfile.NewParser(packfile.NewScanner(cancellableReader{f, ctx}), &w)
	if err != nil {
		return nil, malformed(ctx)
	}
	if _, err := parser.Parse(); err != nil {
		return nil, malformed(ctx)
	}
	return w.Index()
}

// keep gives the pack and its index their names, the index first: a pack counts once it is there.
func (p packs) keep(f *os.File, index *idxfile.MemoryIndex) error {
	base := filepath.Join(p.dir, fmt.Sprintf("pack-%x", index.PackfileChecksum))
	idx, err := os.CreateTemp(p.dir, "tmp_idx_")
	if err != nil {
		return disk("keep an index", err)
	}
	defer os.Remove(idx.Name())
	_, err = idxfile.NewEncoder(idx).Encode(index)
	if err := errors.Join(err, idx.Close()); err != nil {
		return disk("keep an index", err)
	}
	if err := os.Rename(idx.Name(), base+".idx"); err != nil {
		return disk("keep an index", err)
	}
	if err := os.Rename(f.Name(), base+".pack"); err != nil {
		return disk("keep a pack", err)
	}
	return nil
}
