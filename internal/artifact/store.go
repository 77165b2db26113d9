// Package artifact keeps rendered bundles on disk, by the digest of their content.
//
// It promises that what Get returns is what its digest says, whatever became of the disk: a file
// that is cut off or changed is removed and reported as missing, and whoever rendered it renders it
// again. A process that is killed at any point leaves whole files, or files that the next Open
// removes. Nobody but the owner of the process reads them: a bundle may hold Secrets.
package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/skerry-dev/skerry/internal/object"
)

const (
	defaultCacheBytes = 32 << 20
	defaultGrace      = 10 * time.Minute
	digestPrefix      = "sha256:"
	tempPrefix        = "tmp-"
)

var errReadOnly = errors.New("the bundle store is for reading only")

// Options of a Store.
type Options struct {
	// CacheBytes bounds the decoded bundles kept in memory; 32 MiB when zero.
	CacheBytes int64
	// Grace is how long Collect leaves a bundle that was stored or asked for, so that there is time
	// to write down that it is used; 10 minutes when zero.
	Grace time.Duration
	// Now is the clock.
	Now func() time.Time
	// ReadOnly is for a process that only reads what another one stores: it leaves the folder as it is,
	// and finds what comes into it later.
	ReadOnly bool
}

// Store is a folder of bundles. It is safe for concurrent use; one process stores and collects in one
// folder, others may read there.
type Store struct {
	root  *os.Root
	now   func() time.Time
	grace time.Duration
	reads singleflight.Group
	only  bool // reading

	mu    sync.Mutex
	used  map[string]time.Time // every bundle on disk, by digest, and when it was last stored or asked for
	cache *cache
	temps int
}

// Open opens the folder, which it creates, and removes what an earlier process left half-written.
func Open(dir string, o Options) (*Store, error) {
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.Grace == 0 {
		o.Grace = defaultGrace
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot create bundle store: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open bundle store: %w", err)
	}
	s := &Store{root: root, now: o.Now, grace: o.Grace, only: o.ReadOnly, used: map[string]time.Time{}, cache: newCache(o.CacheBytes)}
	if s.only {
		return s, nil // what is half-written is somebody else's
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot read bundle store: %w", err), root.Close())
	}
	return s, nil
}

func (s *Store) load() error {
	entries, err := fs.ReadDir(s.root.FS(), ".")
	if err != nil {
		return err
	}
	now := s.now()
	for _, e := range entries {
		digest := digestPrefix + e.Name()
		switch {
		case strings.HasPrefix(e.Name(), tempPrefix):
			if err := s.root.Remove(e.Name()); err != nil {
				return err
			}
		case valid(digest) && e.Type().IsRegular():
			s.used[digest] = now
		}
	}
	return nil
}

// Close releases the folder.
func (s *Store) Close() error { return s.root.Close() }

// Has says whether a bundle is there, and keeps it from being collected for the time of grace. A store
// that is for reading only cannot promise that.
func (s *Store) Has(digest string) bool {
	if s.only {
		if !valid(digest) {
			return false
		}
		_, err := s.root.Stat(name(digest))
		return err == nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.used[digest]; !ok {
		return false
	}
	s.used[digest] = s.now()
	return true
}

// Put stores a bundle, which must not be changed afterwards, and returns its digest. When it
// returns, the bundle has reached the disk.
func (s *Store) Put(b *object.Bundle) (string, error) {
	digest := b.Digest()
	if s.only {
		return "", fmt.Errorf("cannot store bundle %s: %w", digest, errReadOnly)
	}
	if s.Has(digest) {
		return digest, nil
	}
	if err := s.write(name(digest), b.Encode()); err != nil {
		return "", fmt.Errorf("cannot store bundle %s: %w", digest, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used[digest] = s.now()
	s.cache.add(digest, b)
	return digest, nil
}

// Get returns a bundle, which nobody may change. The error wraps fs.ErrNotExist when the bundle is
// not there, or no longer whole.
func (s *Store) Get(ctx context.Context, digest string) (*object.Bundle, error) {
	if !valid(digest) {
		return nil, fmt.Errorf("cannot read bundle %.80q: %w", digest, fs.ErrNotExist)
	}
	s.mu.Lock()
	b := s.cache.get(digest)
	s.mu.Unlock()
	if b != nil {
		return b, nil
	}
	read := s.reads.DoChan(digest, func() (any, error) { return s.read(digest) })
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("cannot read bundle %s: %w", digest, ctx.Err())
	case res := <-read:
		if res.Err != nil {
			return nil, fmt.Errorf("cannot read bundle %s: %w", digest, res.Err)
		}
		return res.Val.(*object.Bundle), nil
	}
}

// Verify looks at what is on the disk, whatever is in memory, and forgets a bundle that is damaged or gone:
// Has says so from then on.
func (s *Store) Verify(digest string) {
	if valid(digest) {
		_, _ = s.read(digest) // that draws the consequence
	}
}

func (s *Store) read(digest string) (*object.Bundle, error) {
	data, err := s.root.ReadFile(name(digest))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			s.forget(digest)
		}
		return nil, err
	}
	sum := sha256.Sum256(data)
	b, err := object.DecodeBundle(data)
	if hex.EncodeToString(sum[:]) != name(digest) || err != nil {
		s.forget(digest)
		if s.only {
			return nil, fmt.Errorf("the file is damaged: %w", fs.ErrNotExist)
		}
		if err := s.root.Remove(name(digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("cannot remove a file that is damaged: %w", err)
		}
		return nil, fmt.Errorf("the file was damaged and is removed: %w", fs.ErrNotExist)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cache.add(digest, &b)
	return &b, nil
}

func (s *Store) forget(digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.used, digest)
	s.cache.remove(digest)
}

// Collect removes every bundle that keep does not hold and that nobody stored or asked for within
// the time of grace. It returns how many it removed, and the first error after trying all.
func (s *Store) Collect(keep map[string]struct{}) (int, error) {
	if s.only {
		return 0, errReadOnly
	}
	removed := 0
	var failed error
	for _, digest := range s.unused(keep) {
		// Held while removing, so that a Has in between cannot promise what is about to go.
		s.mu.Lock()
		if s.now().Sub(s.used[digest]) < s.grace {
			s.mu.Unlock()
			continue
		}
		err := s.root.Remove(name(digest))
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			delete(s.used, digest)
			s.cache.remove(digest)
			removed++
		} else if failed == nil {
			failed = fmt.Errorf("cannot remove bundle %s: %w", digest, err)
		}
		s.mu.Unlock()
	}
	return removed, failed
}

func (s *Store) unused(keep map[string]struct{}) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var digests []string
	for digest, at := range s.used {
		if _, ok := keep[digest]; !ok && s.now().Sub(at) >= s.grace {
			digests = append(digests, digest)
		}
	}
	return digests
}

func valid(digest string) bool {
	hexed, ok := strings.CutPrefix(digest, digestPrefix)
	return ok && len(hexed) == 2*sha256.Size && strings.Trim(hexed, "0123456789abcdef") == ""
}

func name(digest string) string { return strings.TrimPrefix(digest, digestPrefix) }
