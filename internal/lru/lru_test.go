package lru

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestTheLeastRecentlyUsedGoesFirst(t *testing.T) {
	c := New[string, int](10)
	c.Put("a", 1, 4)
	c.Put("b", 2, 4)
	c.Get("a")
	c.Put("c", 3, 4)
	if _, ok := c.Get("b"); ok {
		t.Error("what was not used for the longest time is kept")
	}
	if v, ok := c.Get("a"); !ok || v != 1 {
		t.Error("what was used is gone")
	}
	c.Put("d", 4, 11)
	if _, ok := c.Get("d"); ok || c.Len() != 2 {
		t.Errorf("one that exceeds the limit is kept, or others went for it: %d are left", c.Len())
	}
	c.Put("a", 5, 1)
	if v, _ := c.Get("a"); v != 5 || c.Size() != 5 {
		t.Errorf("replaced by %d, %d bytes", v, c.Size())
	}
	c.RemoveFunc(func(key string) bool { return key == "a" })
	c.Remove("c")
	c.Remove("none")
	if c.Len() != 0 || c.Size() != 0 || c.order.Len() != 0 {
		t.Errorf("%d values and %d bytes are left", c.Len(), c.Size())
	}
}

func TestTheLimitHoldsWhateverHappens(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 1))
		c := New[int, string](1000)
		for range 500 {
			key := random.IntN(40)
			switch random.IntN(4) {
			case 0:
				c.Remove(key)
			case 1:
				c.Get(key)
			default:
				c.Put(key, fmt.Sprint(key), random.Int64N(1200))
			}
			sum := int64(0)
			for e := c.order.Front(); e != nil; e = e.Next() {
				sum += e.Value.(entry[int, string]).size
			}
			if sum != c.Size() || sum > 1000 || c.order.Len() != c.Len() {
				t.Fatalf("seed %d: %d bytes counted as %d, %d entries as %d", seed, sum, c.Size(), c.order.Len(), c.Len())
			}
		}
	}
}
