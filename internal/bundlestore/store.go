// Package bundlestore keeps rendered bundles on disk, by the digest of their content.
//
// It promises that what Get returns is what its digest says, whatever became of the disk: a file
// that is cut off or changed is removed and reported as missing, and is rendered again. A process that is killed at any point leaves whole files, or files that the next Open
// removes. Only the owner of the process can read them. A bundle that holds Secrets, or what came from
// one, is sealed, and its name is a digest by which nothing of it can be guessed: with the key that the hub
// keeps on its API server, and without it the disk tells nothing. A bundle whose key was lost is missing,
// and rendered again.
package bundlestore

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
	"syscall"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/skerry-dev/skerry/internal/lru"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/ownfiles"
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
	// Key seals bundles that are confidential; nil stores them as they are.
	Key *Key
	// Now is the clock.
	Now func() time.Time
	// ReadOnly is for a process that only reads what another one stores: it leaves the folder as it is,
	// and finds what comes into it later.
	ReadOnly bool
}

// Store is a folder of bundles. It is safe for concurrent use; one process stores and collects in one
// folder, others may read there.
type Store struct {
	dir   string
	now   func() time.Time
	grace time.Duration
	reads singleflight.Group
	only  bool // reading
	key   *Key // nil: nothing is sealed

	// opening is held while the folder is looked for anew.
	opening sync.Mutex

	mu    sync.Mutex
	root  *os.Root                           // the folder as it was when it was opened
	used  map[string]time.Time               // every bundle on disk, by digest, and when it was last stored or asked for
	cache *lru.Cache[string, *object.Bundle] // of bundles as they are decoded, by digest
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
	s := &Store{dir: dir, now: o.Now, grace: o.Grace, only: o.ReadOnly, key: o.Key, used: map[string]time.Time{}, cache: lru.New[string, *object.Bundle](o.CacheBytes)}
	root, used, err := s.openFolder()
	if err != nil {
		return nil, err
	}
	s.root, s.used = root, used
	return s, nil
}

// openFolder opens the folder, which it creates, and lists the bundles in it.
func (s *Store) openFolder() (*os.Root, map[string]time.Time, error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("cannot create bundle store: %w", err)
	}
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot open bundle store: %w", err)
	}
	used := map[string]time.Time{}
	if s.only {
		return root, used, nil // another process writes there: what is half-written is its own
	}
	if err := ownfiles.Restrict(s.dir); err != nil {
		return nil, nil, errors.Join(err, root.Close())
	}
	if err := load(root, s.now(), used); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("cannot read bundle store: %w", err), root.Close())
	}
	return root, used, nil
}

// load lists the bundles of a folder, and removes what was never written to its end.
func load(root *os.Root, now time.Time, used map[string]time.Time) error {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		digest := digestPrefix + e.Name()
		switch {
		case strings.HasPrefix(e.Name(), tempPrefix):
			if err := root.Remove(e.Name()); err != nil {
				return err
			}
		case valid(digest) && e.Type().IsRegular():
			used[digest] = now
		}
	}
	return nil
}

// folder returns the folder at the Store's path. Where that is another one than before, because it was
// removed, moved away or mounted over, it is opened and made if need be, and what it lacks is forgotten,
// so that it is stored again.
func (s *Store) folder() (*os.Root, error) {
	s.opening.Lock()
	defer s.opening.Unlock()
	s.mu.Lock()
	root := s.root
	s.mu.Unlock()
	if opened, err := root.Stat("."); err == nil {
		if there, err := os.Stat(s.dir); err == nil && os.SameFile(opened, there) {
			return root, nil
		}
	}
	fresh, used, err := s.openFolder()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.root, s.used = fresh, used
	return fresh, root.Close()
}

// Close releases the folder.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.root.Close()
}

// Has reports whether a bundle is there, and keeps it from being collected for the time of grace. A store
// that is for reading only cannot promise that.
func (s *Store) Has(digest string) bool {
	if s.only {
		if !valid(digest) {
			return false
		}
		root, err := s.folder()
		if err == nil {
			_, err = root.Stat(name(digest))
		}
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
	digest := b.KeyedDigest(s.key.Digest())
	if s.only {
		return "", fmt.Errorf("cannot store bundle %s: %w", digest, errReadOnly)
	}
	root, err := s.folder()
	if err == nil && s.Has(digest) {
		return digest, nil
	}
	if err == nil {
		err = s.writeBundle(root, name(digest), b.Encode(), b.Confidential)
	}
	if err != nil {
		return "", fmt.Errorf("cannot store bundle %s: %w%s", digest, nameless(err), remedy(err, s.dir))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used[digest] = s.now()
	s.keep(digest, s.withSeal(*b))
	return digest, nil
}

// nameless leaves out the name of the file, which is another at each attempt: the same failure is told in
// the same words.
func nameless(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}

// remedy describes what helps when a bundle cannot be stored.
func remedy(err error, dir string) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ": free space below --storage-path, or give it a larger volume"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Sprintf(": make %s writable for the hub", dir)
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrExist):
		return fmt.Sprintf(": remove what is in the place of the folder %s", dir)
	}
	return fmt.Sprintf(": check that %s is a folder in which the hub can make files", dir)
}

// keep keeps a bundle in memory. The caller holds the lock.
func (s *Store) keep(digest string, b *object.Bundle) { s.cache.Put(digest, b, int64(b.Size())) }

// Get returns a bundle, which must not be changed. The error wraps fs.ErrNotExist when the bundle is
// not there, or no longer whole.
func (s *Store) Get(ctx context.Context, digest string) (*object.Bundle, error) {
	if !valid(digest) {
		return nil, fmt.Errorf("cannot read bundle %.80q: %w", digest, fs.ErrNotExist)
	}
	s.mu.Lock()
	b, ok := s.cache.Get(digest)
	s.mu.Unlock()
	if ok {
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
	root, err := s.folder()
	if err != nil {
		return nil, err
	}
	data, err := root.ReadFile(name(digest))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			s.forget(digest)
		}
		return nil, err
	}
	b, whole := s.decode(name(digest), data)
	if !whole {
		s.forget(digest)
		if s.only {
			return nil, fmt.Errorf("the file is damaged: %w", fs.ErrNotExist)
		}
		if err := root.Remove(name(digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("cannot remove a file that is damaged: %w", err)
		}
		return nil, fmt.Errorf("the file was damaged and is removed: %w", fs.ErrNotExist)
	}
	if b.Confidential && !isSealed(data) && s.key != nil && !s.only {
		// Stored before bundles were sealed. Where it cannot be written it is read as it is.
		_ = s.writeBundle(root, name(digest), data, true)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sealed := s.withSeal(b)
	s.keep(digest, sealed)
	return sealed, nil
}

// decode reads a file, and reports whether it is what its name says. A sealed file is bound to its name.
func (s *Store) decode(name string, data []byte) (object.Bundle, bool) {
	sealed := isSealed(data)
	if sealed {
		plain, err := s.key.opened(name, data)
		if err != nil {
			return object.Bundle{}, false
		}
		data = plain
	} else if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != name {
		return object.Bundle{}, false
	}
	b, err := object.DecodeBundle(data)
	if err != nil {
		return object.Bundle{}, false
	}
	b.Confidential = sealed || b.HoldsSecret()
	return b, true
}

// withSeal returns the bundle with its objects under the seal of the key: what Get gives out.
func (s *Store) withSeal(b object.Bundle) *object.Bundle {
	seal := s.key.objectSeal()
	if seal == nil {
		return &b
	}
	objects := make([]object.Object, len(b.Objects))
	for i, o := range b.Objects {
		objects[i] = o.WithSeal(seal, b.Confidential)
	}
	b.Objects = objects
	return &b
}

// writeBundle writes a bundle, sealed if it is confidential.
func (s *Store) writeBundle(root *os.Root, name string, data []byte, confidential bool) error {
	if confidential && s.key != nil {
		var err error
		if data, err = s.key.sealed(name, data); err != nil {
			return err
		}
	}
	return s.write(root, name, data)
}

func (s *Store) forget(digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.used, digest)
	s.cache.Remove(digest)
}

// Collect removes every bundle that keep does not hold and that was not stored or asked for within
// the time of grace. It returns how many it removed, and the first error after trying all.
func (s *Store) Collect(keep map[string]struct{}) (int, error) {
	if s.only {
		return 0, errReadOnly
	}
	root, err := s.folder()
	if err != nil {
		return 0, err
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
		err := root.Remove(name(digest))
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			delete(s.used, digest)
			s.cache.Remove(digest)
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
