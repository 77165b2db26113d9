package gateway

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/skerry-dev/skerry/internal/engine"
)

const (
	// maxConnections bounds those that are open: two for each of 10,000 agents whose path speaks HTTP/1.1, and more.
	maxConnections = 32768
	// maxStrangers bounds those of them on which nothing is proven: 10,000 agents that lost their hub may come at once,
	// and from behind one NAT. strangerLife bounds how long one may be that: a handshake, a challenge and a proof take
	// three round trips, or 15 s on a link of 9,600 bit/s. For strangerGrace none makes room for another one of its origin.
	maxStrangers  = 12288
	strangerLife  = 30 * time.Second
	strangerGrace = 5 * time.Second
	// maxConnectionsEach bounds those on which one agent alone has proven its key: a stream, a report, two downloads, and
	// as many that a broken link has left behind.
	maxConnectionsEach = 8
)

// doorLimits are the limits of a door; see the constants.
type doorLimits struct {
	all, strangers, each int
	life                 time.Duration
}

var defaultDoor = doorLimits{all: maxConnections, strangers: maxStrangers, each: maxConnectionsEach, life: strangerLife}

// door is a listener that takes in every connection at once, and closes another one instead when there are too many.
// Who proves nothing cannot keep agents out: strangers have a share of their own, and the one that makes room for the
// next comes from where most of them come from. An agent that has too many makes room itself for its next connection, and
// keeps the one that carries its stream.
type door struct {
	net.Listener
	limits doorLimits
	now    func() time.Time

	mu     sync.Mutex // guards what follows, and the fields of visitors that say so
	open   int
	next   uint64 // of visitor.number
	crowd  crowd
	agents map[engine.Key]*list.List // of *visitor: the connections of one agent alone, the earliest first
}

func newDoor(inner net.Listener, limits doorLimits, now func() time.Time) *door {
	return &door{Listener: inner, limits: limits, now: now, crowd: newCrowd(), agents: map[engine.Key]*list.List{}}
}

// standing is what is known of a connection.
type standing int

const (
	isStranger standing = iota // nothing is proven on it
	isAgents                   // one agent has proven its key
	isShared                   // several have, as through an ingress; or another part of the hub
	isGone
)

// visitor is a connection.
type visitor struct {
	net.Conn
	door   *door
	number uint64
	from   netip.Prefix
	timer  *time.Timer // ends a stranger; nil when it is none any more

	// leave gives back the place in which a TLS handshake is computed; nil for none. It is used by the goroutine of the
	// handshake alone, before there is another one.
	leave func()

	// guarded by the door's mutex
	standing standing
	place    *list.Element // in the crowd, or among those of its agent
	agent    engine.Key
	streams  int       // requests in flight on it that carry the stream of an agent
	since    time.Time // it came, or its handshake had its turn
	waiting  bool      // for that turn
	onGone   func()    // called when it is gone, and must not wait; nil for nobody
}

// Accept implements net.Listener. It does not wait for room.
func (d *door) Accept() (net.Conn, error) {
	v, err := d.accept()
	if err != nil {
		return nil, err
	}
	return v, nil
}

func (d *door) accept() (*visitor, error) {
	c, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	v := &visitor{Conn: c, door: d, from: originOf(c.RemoteAddr()), since: d.now()}
	for _, out := range d.enter(v) {
		_ = out.Conn.Close() // its server notices, and has nothing to say to it
	}
	return v, nil
}

// originOf is where a connection comes from: one address, or one network of IPv6.
func originOf(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	address := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := 32
	if address.Is6() {
		bits = 64
	}
	origin, err := address.Prefix(bits)
	if err != nil { // there is no address
		return netip.Prefix{}
	}
	return origin
}

// enter takes in a stranger, and returns those that make room for it, maybe itself.
func (d *door) enter(v *visitor) (out []*visitor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next++
	v.number = d.next
	v.timer = time.AfterFunc(d.limits.life, v.expire) // which waits for the mutex: none ends before it is in the crowd
	d.open++
	d.crowd.add(v)
	for d.crowd.n > d.limits.strangers || d.open > d.limits.all && d.crowd.n > 0 {
		worst := d.crowd.worst(v.since)
		d.remove(worst)
		out = append(out, worst)
	}
	return out
}

// remove forgets a connection; the mutex is held.
func (d *door) remove(v *visitor) {
	switch v.standing {
	case isGone:
		return
	case isStranger:
		d.crowd.remove(v)
	case isAgents:
		d.takeFrom(v)
	case isShared:
	}
	d.open--
	v.standing = isGone
	if v.timer != nil {
		v.timer.Stop()
	}
	if v.onGone != nil {
		v.onGone()
	}
}

// whenGone has f called when a connection is gone, which may be at once; nil for nothing.
func (d *door) whenGone(v *visitor, f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v.onGone = f
	if f != nil && v.standing == isGone {
		f()
	}
}

// wait stops the time of a connection that has done its part, and waits for its turn. How many wait is bounded, as they
// are strangers, and so is how long.
func (d *door) wait(v *visitor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v.waiting = true
	v.timer.Stop()
}

// letIn begins the time of a connection anew, and reports whether it is still there.
func (d *door) letIn(v *visitor) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	v.waiting, v.since = false, d.now()
	if v.standing == isStranger {
		v.timer.Reset(d.limits.life)
	}
	return v.standing != isGone
}

// takeFrom takes a connection from those of its agent; the mutex is held.
func (d *door) takeFrom(v *visitor) {
	all := d.agents[v.agent]
	all.Remove(v.place)
	if all.Len() == 0 {
		delete(d.agents, v.agent)
	}
}

// prove lets a connection stand on which a key was proven: that of an agent, or of nobody in particular when it is the
// zero key. It returns the connection of the same agent that makes room for it, or nil.
func (d *door) prove(v *visitor, of engine.Key) (out *visitor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case v.standing == isStranger:
		v.timer.Stop()
		v.timer = nil // it would be kept as long as the connection
		d.crowd.remove(v)
		if v.standing = isShared; of == (engine.Key{}) {
			return nil
		}
		v.standing, v.agent = isAgents, of
		all := d.agents[of]
		if all == nil {
			all = list.New()
			d.agents[of] = all
		}
		v.place = all.PushBack(v)
		if all.Len() > d.limits.each {
			out = idlest(all)
			d.remove(out)
		}
	case v.standing == isAgents && v.agent != of:
		d.takeFrom(v)
		v.standing = isShared
	}
	return out
}

// idlest returns the connection of an agent that is closed for its last one: the earliest that carries no stream, else the
// earliest.
//
// Example: an ingress pools its connections, and opened the first for the stream of a lone agent. When the agent proves its
// key on the ninth, the second is closed, and the stream goes on.
func idlest(of *list.List) *visitor {
	earliest, _ := of.Front().Value.(*visitor)
	for e := of.Front(); e != of.Back(); e = e.Next() {
		if v, _ := e.Value.(*visitor); v.streams == 0 {
			return v
		}
	}
	return earliest
}

// expire ends a connection on which nothing was proven.
func (v *visitor) expire() {
	v.door.mu.Lock()
	stranger := v.standing == isStranger && !v.waiting
	if stranger {
		v.door.remove(v)
	}
	v.door.mu.Unlock()
	if stranger {
		_ = v.Conn.Close()
	}
}

// Read implements net.Conn. Who awaits something leaves its place.
func (v *visitor) Read(b []byte) (int, error) {
	v.leavePlace()
	return v.Conn.Read(b)
}

func (v *visitor) leavePlace() {
	if v.leave != nil {
		v.leave()
		v.leave = nil
	}
}

// Close implements net.Conn.
func (v *visitor) Close() error {
	v.door.mu.Lock()
	v.door.remove(v)
	v.door.mu.Unlock()
	return v.Conn.Close()
}

type visitorKey struct{}

// withVisitor lets markProven find the connection of a request.
func withVisitor(ctx context.Context, c net.Conn) context.Context {
	if over, ok := c.(*tls.Conn); ok {
		c = over.NetConn()
	}
	return context.WithValue(ctx, visitorKey{}, c)
}

// carryStream marks the connection of a request as one that carries a stream, until end is called.
func carryStream(ctx context.Context) (end func()) {
	v, ok := ctx.Value(visitorKey{}).(*visitor)
	if !ok {
		return func() {}
	}
	v.addStreams(1)
	return func() { v.addStreams(-1) }
}

func (v *visitor) addStreams(n int) {
	v.door.mu.Lock()
	defer v.door.mu.Unlock()
	v.streams += n
}

// markProven lets the connection of a request stand: the agent of a Cluster has proven its key, or a user has shown the
// ticket of one; or another part of the hub that it has the hub's, for the zero key.
func markProven(ctx context.Context, of engine.Key) {
	v, ok := ctx.Value(visitorKey{}).(*visitor)
	if !ok {
		return
	}
	if out := v.door.prove(v, of); out != nil {
		_ = out.Conn.Close()
	}
}
