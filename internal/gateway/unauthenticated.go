package gateway

import (
	"container/heap"
	"container/list"
	"net/netip"
	"time"
)

// unauthenticatedConns are the connections on which no key was proven, by origin. It is not safe for concurrent use.
type unauthenticatedConns struct {
	origins map[netip.Prefix]*origin
	order   originHeap
	n       int
}

// origin is an IPv4 address, or an IPv6 network, with its connections.
type origin struct {
	from  netip.Prefix
	conns *list.List // of *trackedConn, the earliest first
	index int        // in the heap
}

func (o *origin) earliest() *trackedConn {
	conn, _ := o.conns.Front().Value.(*trackedConn)
	return conn
}

func newUnauthenticatedConns() unauthenticatedConns {
	return unauthenticatedConns{origins: map[netip.Prefix]*origin{}}
}

func (c *unauthenticatedConns) add(conn *trackedConn) {
	o := c.origins[conn.origin]
	if o == nil {
		o = &origin{from: conn.origin, conns: list.New()}
		conn.element = o.conns.PushBack(conn)
		c.origins[conn.origin] = o
		heap.Push(&c.order, o)
	} else {
		conn.element = o.conns.PushBack(conn)
		heap.Fix(&c.order, o.index)
	}
	c.n++
}

func (c *unauthenticatedConns) remove(conn *trackedConn) {
	o := c.origins[conn.origin]
	if o.conns.Len() == 1 { // before it is empty: originHeap compares the earliest
		heap.Remove(&c.order, o.index)
		delete(c.origins, conn.origin)
		o.conns.Remove(conn.element)
	} else {
		o.conns.Remove(conn.element)
		heap.Fix(&c.order, o.index)
	}
	conn.element = nil
	c.n--
}

// connToClose returns the connection that is closed in favour of the next one. It is of the origin that has most connections;
// of origins that have as many, of the one with the earliest. Of that origin it is the earliest connection, which has had
// most time to prove a key, if it had unauthenticatedGrace, and else the last: of many agents that connect at once, those
// that were first would be closed before their handshakes. The time in which a handshake is queued does not count.
//
// Example: 12,000 unauthenticated connections are from one address, and 288 of agents from as many others. Wherever the
// next one is from, one of the 12,000 is closed. When a NAT hides all of them, all have one origin: those that have been
// open for 5 s are closed first.
func (c *unauthenticatedConns) connToClose(now time.Time) *trackedConn {
	o := c.order[0]
	if conn := o.earliest(); !conn.queued && now.Sub(conn.since) >= unauthenticatedGrace {
		return conn
	}
	conn, _ := o.conns.Back().Value.(*trackedConn)
	return conn
}

// originHeap is a heap of origins, the one with most connections first.
type originHeap []*origin

func (h originHeap) Len() int { return len(h) }

func (h originHeap) Less(i, j int) bool {
	if a, b := h[i].conns.Len(), h[j].conns.Len(); a != b {
		return a > b
	}
	return h[i].earliest().number < h[j].earliest().number
}

func (h originHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *originHeap) Push(x any) {
	o, _ := x.(*origin)
	o.index = len(*h)
	*h = append(*h, o)
}

// Pop implements heap.Interface.
func (h *originHeap) Pop() any {
	last := len(*h) - 1
	o := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return o
}
