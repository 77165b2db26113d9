// Package lru keeps values in memory up to a number of bytes. It promises that what it holds never exceeds the
// limit, and that the value which was not used for the longest time goes first.
//
// The libraries that are linked already (golang/groupcache) bound the number of entries, and bundles, files and
// renders differ in size by a factor of 100,000.
package lru

import "container/list"

// Cache holds values by key. Its user locks.
type Cache[K comparable, V any] struct {
	limit, size int64
	order       list.List // of entry[K, V], the one used last in front
	byKey       map[K]*list.Element
}

type entry[K comparable, V any] struct {
	key   K
	value V
	size  int64
}

// New returns a Cache that holds at most so many bytes.
func New[K comparable, V any](limit int64) *Cache[K, V] {
	return &Cache[K, V]{limit: limit, byKey: map[K]*list.Element{}}
}

// Get returns a value, and uses it.
func (c *Cache[K, V]) Get(key K) (value V, ok bool) {
	e, ok := c.byKey[key]
	if !ok {
		return value, false
	}
	c.order.MoveToFront(e)
	return e.Value.(entry[K, V]).value, true
}

// Put keeps a value of so many bytes in place of the one of its key, unless it alone exceeds the limit.
func (c *Cache[K, V]) Put(key K, value V, size int64) {
	c.Remove(key)
	if size > c.limit {
		return
	}
	c.byKey[key] = c.order.PushFront(entry[K, V]{key, value, size})
	c.size += size
	for c.size > c.limit {
		c.Remove(c.order.Back().Value.(entry[K, V]).key)
	}
}

// Remove forgets a value.
func (c *Cache[K, V]) Remove(key K) {
	e, ok := c.byKey[key]
	if !ok {
		return
	}
	delete(c.byKey, key)
	c.size -= c.order.Remove(e).(entry[K, V]).size
}

// RemoveFunc forgets the values whose keys match.
func (c *Cache[K, V]) RemoveFunc(match func(K) bool) {
	for key := range c.byKey {
		if match(key) {
			c.Remove(key)
		}
	}
}

// Len returns how many values are held.
func (c *Cache[K, V]) Len() int { return len(c.byKey) }

// Size returns how many bytes are held.
func (c *Cache[K, V]) Size() int64 { return c.size }
