package git

import (
	"sync"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/skerry-dev/skerry/internal/lru"
)

// objects keeps the folders and files in memory that were read last, of all repositories, as far as the
// budget goes. What two commits have in common is there once. Keys are parted by repository: a server
// could otherwise name, in a tree of its own, a file that only another repository has.
type objects struct {
	mu     sync.Mutex
	cached *lru.Cache[objectKey, any] // of *folder and []byte; guarded by mu
}

type objectKey struct {
	repository string
	hash       plumbing.Hash
}

func newObjects(budget int64) *objects {
	return &objects{cached: lru.New[objectKey, any](budget)}
}

func (o *objects) get(key objectKey) (any, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.cached.Get(key)
}

// put keeps a *folder or a []byte, unless it alone exceeds the budget.
func (o *objects) put(key objectKey, value any) {
	size := int64(100)
	switch v := value.(type) {
	case *folder:
		size += v.size()
	case []byte:
		size += int64(len(v))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.cached.Put(key, value, size)
}

// forget drops what is kept of one repository.
func (o *objects) forget(repository string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.cached.RemoveFunc(func(key objectKey) bool { return key.repository == repository })
}
