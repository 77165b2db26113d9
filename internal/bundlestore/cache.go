package bundlestore

import (
	"container/list"

	"github.com/skerry-dev/skerry/internal/object"
)

// cache holds decoded bundles, the least recently used one goes first. Its user locks.
type cache struct {
	limit, size int64
	order       *list.List // of *cached, the most recently used first
	byDigest    map[string]*list.Element
}

type cached struct {
	digest string
	bundle *object.Bundle
	size   int64
}

func newCache(limit int64) *cache {
	return &cache{limit: limit, order: list.New(), byDigest: map[string]*list.Element{}}
}

func (c *cache) get(digest string) *object.Bundle {
	e, ok := c.byDigest[digest]
	if !ok {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached).bundle
}

// add keeps the bundle unless it alone is larger than the limit.
func (c *cache) add(digest string, b *object.Bundle) {
	c.remove(digest)
	one := &cached{digest: digest, bundle: b, size: int64(b.Size())}
	if one.size > c.limit {
		return
	}
	c.byDigest[digest] = c.order.PushFront(one)
	c.size += one.size
	for c.size > c.limit {
		c.remove(c.order.Back().Value.(*cached).digest)
	}
}

func (c *cache) remove(digest string) {
	e, ok := c.byDigest[digest]
	if !ok {
		return
	}
	c.order.Remove(e)
	delete(c.byDigest, digest)
	c.size -= e.Value.(*cached).size
}
