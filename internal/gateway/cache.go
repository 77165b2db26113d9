package gateway

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/lru"
)

const (
	// maxCachedWindows and maxCachedManifests bound the cache, in bytes. cacheTTL is how long it is kept after its last
	// use: as long as agents follow one another that ask for the same.
	maxCachedWindows   = 4 << 20
	maxCachedManifests = 1 << 20
	cacheTTL           = time.Minute
	// cacheOverhead is about what a value takes beside its bytes.
	cacheOverhead = 512
)

// downloadCache keeps manifests and compressed objects that were made for one agent for others that ask for the same: after
// a commit to thousands of clusters, all ask for the objects that it changed, and compressing them is most of what a
// download costs. It does not check what an agent may download: its callers do, before.
type downloadCache struct {
	mu        sync.Mutex // guards what follows
	windows   *lru.Cache[windowKey, window]
	manifests *lru.Cache[string, link.Manifest]
	used      time.Time
}

// windowKey is a request, a position in it, and the size of the window.
type windowKey struct {
	wantHash [sha256.Size]byte
	at       position
	size     int
}

// window is frames, which must not be changed, and the position after them.
type window struct {
	frames []byte
	next   position
}

func newDownloadCache() *downloadCache {
	m := &downloadCache{}
	m.clear()
	return m
}

// clear empties the cache. The mutex is held, or m is new.
func (m *downloadCache) clear() {
	m.windows = lru.New[windowKey, window](maxCachedWindows)
	m.manifests = lru.New[string, link.Manifest](maxCachedManifests)
}

// window returns a cached window.
func (m *downloadCache) window(key windowKey, now time.Time) (window, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w, ok := m.windows.Get(key)
	if ok {
		m.used = now
	}
	return w, ok
}

func (m *downloadCache) putWindow(key windowKey, w window, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used = now
	m.windows.Put(key, w, int64(cap(w.frames)+cacheOverhead))
}

// manifest returns a cached manifest, without a signature.
func (m *downloadCache) manifest(digest string, now time.Time) (link.Manifest, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	manifest, ok := m.manifests.Get(digest)
	if ok {
		m.used = now
	}
	return manifest, ok
}

func (m *downloadCache) putManifest(manifest link.Manifest, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used = now
	m.manifests.Put(manifest.Digest, manifest, int64(cap(manifest.Objects)*len(link.ObjectID{})+cacheOverhead))
}

// forget empties the cache when it was not used for cacheTTL.
func (m *downloadCache) forget(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Sub(m.used) >= cacheTTL && m.windows.Len()+m.manifests.Len() > 0 {
		m.clear()
	}
}
