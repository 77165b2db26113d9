package gateway

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/lru"
)

const (
	// maxMadeWindows and maxMadeManifests bound what is kept of what was made for agents, in bytes, and madeFor how
	// long that is kept after the last of it was used: for as long as agents follow one another that ask for the same.
	maxMadeWindows   = 4 << 20
	maxMadeManifests = 1 << 20
	madeFor          = time.Minute
	// madeSize is what a value is in memory beside its bytes, about.
	madeSize = 512
)

// made keeps what was made for one agent for those that ask for the same: of a commit to thousands of clusters, all ask
// for the objects that it has changed, and compressing them is most of what a download costs. It knows nothing of who may
// have what: that is decided before it is asked.
type made struct {
	mu        sync.Mutex // guards what follows
	windows   *lru.Cache[windowKey, window]
	manifests *lru.Cache[string, link.Manifest]
	used      time.Time
}

// windowKey is what is asked for, a place in it, and how much was to be made at once.
type windowKey struct {
	asked [sha256.Size]byte
	at    position
	size  int
}

// window is what was made: frames, which are not changed, and the place after them.
type window struct {
	frames []byte
	next   position
}

func newMade() *made {
	m := &made{}
	m.clear()
	return m
}

// clear forgets everything. The mutex is held, or m is new.
func (m *made) clear() {
	m.windows = lru.New[windowKey, window](maxMadeWindows)
	m.manifests = lru.New[string, link.Manifest](maxMadeManifests)
}

// window returns one that was put.
func (m *made) window(key windowKey, now time.Time) (window, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w, ok := m.windows.Get(key)
	if ok {
		m.used = now
	}
	return w, ok
}

func (m *made) putWindow(key windowKey, w window, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used = now
	m.windows.Put(key, w, int64(cap(w.frames)+madeSize))
}

// manifest returns one that was put, without a signature.
func (m *made) manifest(digest string, now time.Time) (link.Manifest, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	manifest, ok := m.manifests.Get(digest)
	if ok {
		m.used = now
	}
	return manifest, ok
}

func (m *made) putManifest(manifest link.Manifest, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used = now
	m.manifests.Put(manifest.Digest, manifest, int64(cap(manifest.Objects)*len(link.ObjectID{})+madeSize))
}

// forget forgets everything that nobody has asked for lately.
func (m *made) forget(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Sub(m.used) >= madeFor && m.windows.Len()+m.manifests.Len() > 0 {
		m.clear()
	}
}
