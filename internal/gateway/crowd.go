package gateway

import (
	"container/heap"
	"container/list"
	"net/netip"
	"time"
)

// crowd is the connections on which nothing is proven, by where they come from. It is not safe for concurrent use.
type crowd struct {
	origins map[netip.Prefix]*origin
	order   byCrowding
	n       int
}

// origin is an address, or network, that connections come from.
type origin struct {
	from  netip.Prefix
	all   *list.List // of *visitor, the earliest first
	index int        // in the heap
}

func (o *origin) earliest() *visitor {
	v, _ := o.all.Front().Value.(*visitor)
	return v
}

func newCrowd() crowd { return crowd{origins: map[netip.Prefix]*origin{}} }

func (c *crowd) add(v *visitor) {
	o := c.origins[v.from]
	if o == nil {
		o = &origin{from: v.from, all: list.New()}
		v.place = o.all.PushBack(v)
		c.origins[v.from] = o
		heap.Push(&c.order, o)
	} else {
		v.place = o.all.PushBack(v)
		heap.Fix(&c.order, o.index)
	}
	c.n++
}

func (c *crowd) remove(v *visitor) {
	o := c.origins[v.from]
	if o.all.Len() == 1 { // before it is empty: the order looks at the earliest
		heap.Remove(&c.order, o.index)
		delete(c.origins, v.from)
		o.all.Remove(v.place)
	} else {
		o.all.Remove(v.place)
		heap.Fix(&c.order, o.index)
	}
	v.place = nil
	c.n--
}

// worst returns the one that makes room for the next. It is of the origin that has most; of origins that have as many, of
// the one with the earliest. There it is the earliest, which has had the longest time to prove its key, or the last where
// no time was: if many agents come at once, those that came first are not to go before they had their turn.
// The time in which one waits for the turn of its handshake is not its own.
//
// Example: 12,000 strangers from one address, and 288 agents from as many others, are at the door. Whoever comes next, it
// is one of the 12,000 that goes. Behind a NAT that hides all of them, all are of one origin: those that have been there
// for 5 s go first.
func (c *crowd) worst(now time.Time) *visitor {
	o := c.order[0]
	if v := o.earliest(); !v.waiting && now.Sub(v.since) >= strangerGrace {
		return v
	}
	v, _ := o.all.Back().Value.(*visitor)
	return v
}

// byCrowding is a heap of origins, the one with most connections first.
type byCrowding []*origin

func (h byCrowding) Len() int { return len(h) }

func (h byCrowding) Less(i, j int) bool {
	if a, b := h[i].all.Len(), h[j].all.Len(); a != b {
		return a > b
	}
	return h[i].earliest().number < h[j].earliest().number
}

func (h byCrowding) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *byCrowding) Push(x any) {
	o, _ := x.(*origin)
	o.index = len(*h)
	*h = append(*h, o)
}

// Pop implements heap.Interface.
func (h *byCrowding) Pop() any {
	last := len(*h) - 1
	o := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return o
}
