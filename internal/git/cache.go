package git

import (
	"container/list"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
)

// objects keeps the folders and files in memory that were read last, of all repositories, as far as the
// budget goes. What two commits have in common is there once. Keys are parted by repository: a server
// could otherwise name, in a tree of its own, a file that only another repository has.
type objects struct {
	budget int64

	mu    sync.Mutex
	used  int64     // guarded by mu
	order list.List // of *cached, the one used last in front; guarded by mu
	byKey map[objectKey]*list.Element
}

type objectKey struct {
	repository string
	hash       plumbing.Hash
}

type cached struct {
	key   objectKey
	value any
	size  int64
}

func newObjects(budget int64) *objects {
	return &objects{budget: budget, byKey: map[objectKey]*list.Element{}}
}

func (o *objects) get(key objectKey) (any, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	e, ok := o.byKey[key]
	if !ok {
		return nil, false
	}
	o.order.MoveToFront(e)
	return e.Value.(*cached).value, true
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
	if _, ok := o.byKey[key]; ok || size > o.budget {
		return
	}
	o.byKey[key] = o.order.PushFront(&cached{key, value, size})
	o.used += size
	for o.used > o.budget {
		o.drop(o.order.Back())
	}
}

// forget drops what is kept of one repository.
func (o *objects) forget(repository string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key, e := range o.byKey {
		if key.repository == repository {
			o.drop(e)
		}
	}
}

// drop removes one. The caller holds mu.
func (o *objects) drop(e *list.Element) {
	c := o.order.Remove(e).(*cached)
	delete(o.byKey, c.key)
	o.used -= c.size
}
