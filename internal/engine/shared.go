package engine

import (
	"runtime"
	"sync"
	"weak"

	"github.com/skerry-dev/skerry/internal/object"
)

// sharedBundles are the bundles that engines of a pool have loaded: those of one digest share what a bundle is looked up
// by, which takes as much memory as the rest of an entry. A bundle that no engine has any more is forgotten.
type sharedBundles struct {
	mu     sync.Mutex
	loaded map[string]weak.Pointer[bundle] // by digest
}

func newSharedBundles() *sharedBundles {
	return &sharedBundles{loaded: map[string]weak.Pointer[bundle]{}}
}

// load makes a bundle of one as it was rendered, or returns the one that there is of the digest.
func (s *sharedBundles) load(digest string, of *object.Bundle) bundle {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.loaded[digest].Value()
	if first == nil {
		first = new(loadBundle(digest, of))
		s.loaded[digest] = weak.Make(first)
		runtime.AddCleanup(first, s.forget, digest)
	}
	b := *first
	b.shared = first
	return b
}

// forget forgets a bundle of which nothing is left, unless it was loaded again since.
func (s *sharedBundles) forget(digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loaded[digest].Value() == nil {
		delete(s.loaded, digest)
	}
}
