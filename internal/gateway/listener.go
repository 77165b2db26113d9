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
	// maxConns bounds the open connections: two for each of 10,000 agents whose path speaks HTTP/1.1, and more.
	maxConns = 32768
	// maxUnauthenticatedConns bounds those on which no key was proven: 10,000 agents that lost their hub may connect at
	// once, and from behind one NAT. unauthenticatedTimeout is how long a connection may stay unauthenticated: a handshake,
	// a challenge and a proof take three round trips, or 15 s on a link of 9,600 bit/s. For unauthenticatedGrace it is not
	// closed in favour of another one of its origin.
	maxUnauthenticatedConns = 12288
	unauthenticatedTimeout  = 30 * time.Second
	unauthenticatedGrace    = 5 * time.Second
	// maxConnsPerAgent bounds those on which one agent alone has proven its key: a stream, a report, two downloads, and as
	// many that a broken link has left behind.
	maxConnsPerAgent = 8
)

// connLimits are the limits of a limitListener; see the constants.
type connLimits struct {
	total, unauthenticated, perAgent int
	timeout                          time.Duration
}

var defaultConnLimits = connLimits{total: maxConns, unauthenticated: maxUnauthenticatedConns, perAgent: maxConnsPerAgent, timeout: unauthenticatedTimeout}

// limitListener accepts every connection at once, and closes another one when there are too many. Unauthenticated callers
// cannot lock agents out: their connections have a limit of their own, and the one that is closed is of the origin with
// most of them. When an agent exceeds its own limit, one of its other connections is closed, and not the one that carries
// its stream.
type limitListener struct {
	net.Listener
	limits connLimits
	now    func() time.Time

	mu              sync.Mutex // guards what follows, and the fields of a trackedConn that name it
	open            int
	next            uint64 // of trackedConn.number
	unauthenticated unauthenticatedConns
	agents          map[engine.Key]*list.List // of *trackedConn: those of one agent alone, the earliest first
}

func newLimitListener(inner net.Listener, limits connLimits, now func() time.Time) *limitListener {
	return &limitListener{Listener: inner, limits: limits, now: now, unauthenticated: newUnauthenticatedConns(), agents: map[engine.Key]*list.List{}}
}

// connState is whether and by whom a connection is authenticated.
type connState int

const (
	connUnauthenticated connState = iota // no key was proven on it
	connOfAgent                          // one agent has proven its key
	connShared                           // several agents have, as through an ingress; or another shard of the hub
	connClosed
)

// trackedConn is a connection that a limitListener accepted.
type trackedConn struct {
	net.Conn
	listener *limitListener
	number   uint64
	origin   netip.Prefix
	timer    *time.Timer // calls expire; nil once the connection is authenticated

	// releaseSlot releases the slot of its TLS handshake; nil when it holds none. Only the goroutine of the handshake uses
	// it, before there is another one.
	releaseSlot func()

	// guarded by the listener's mutex
	state    connState
	element  *list.Element // in the list of its origin, or of its agent
	agent    engine.Key
	streams  int       // requests in flight on it that carry the stream of an agent
	since    time.Time // it was accepted, or its handshake got a slot
	queued   bool      // for that slot
	onClosed func()    // called when the connection is closed, and must not block; may be nil
}

// Accept implements net.Listener. It does not wait until another connection is closed.
func (l *limitListener) Accept() (net.Conn, error) {
	conn, err := l.accept()
	if err != nil {
		return nil, err
	}
	return conn, nil
}

func (l *limitListener) accept() (*trackedConn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	conn := &trackedConn{Conn: c, listener: l, origin: originOf(c.RemoteAddr()), since: l.now()}
	for _, out := range l.add(conn) {
		_ = out.Conn.Close() // net/http notices, and has nothing to send
	}
	return conn, nil
}

// originOf returns the origin of a connection: its IPv4 address, or its IPv6 network.
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

// add adds an unauthenticated connection, and returns those that are to be closed for it, which may include it.
func (l *limitListener) add(conn *trackedConn) (out []*trackedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	conn.number = l.next
	conn.timer = time.AfterFunc(l.limits.timeout, conn.expire) // expire waits for the mutex, and so until the connection is added
	l.open++
	l.unauthenticated.add(conn)
	for l.unauthenticated.n > l.limits.unauthenticated || l.open > l.limits.total && l.unauthenticated.n > 0 {
		closed := l.unauthenticated.connToClose(conn.since)
		l.remove(closed)
		out = append(out, closed)
	}
	return out
}

// remove stops tracking a connection; the mutex is held.
func (l *limitListener) remove(conn *trackedConn) {
	switch conn.state {
	case connClosed:
		return
	case connUnauthenticated:
		l.unauthenticated.remove(conn)
	case connOfAgent:
		l.removeFromAgent(conn)
	case connShared:
	}
	l.open--
	conn.state = connClosed
	if conn.timer != nil {
		conn.timer.Stop()
	}
	if conn.onClosed != nil {
		conn.onClosed()
	}
}

// setOnClosed has f called when a connection is closed, or at once when it is closed already; f may be nil.
func (l *limitListener) setOnClosed(conn *trackedConn, f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	conn.onClosed = f
	if f != nil && conn.state == connClosed {
		f()
	}
}

// pauseTimeout stops the timeout of a connection whose handshake is queued for a slot: its peer has done its part. The
// limit of unauthenticated connections bounds the queue, and so how long it waits.
func (l *limitListener) pauseTimeout(conn *trackedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	conn.queued = true
	conn.timer.Stop()
}

// resumeTimeout starts the timeout of a connection again, and reports whether the connection is still open.
func (l *limitListener) resumeTimeout(conn *trackedConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	conn.queued, conn.since = false, l.now()
	if conn.state == connUnauthenticated {
		conn.timer.Reset(l.limits.timeout)
	}
	return conn.state != connClosed
}

// removeFromAgent removes a connection from the list of its agent; the mutex is held.
func (l *limitListener) removeFromAgent(conn *trackedConn) {
	all := l.agents[conn.agent]
	all.Remove(conn.element)
	if all.Len() == 0 {
		delete(l.agents, conn.agent)
	}
}

// authenticate records that the agent of a Cluster has proven its key on a connection, or for the zero key that another
// shard of the hub has. It returns the connection of the same agent that is to be closed for it, or nil.
func (l *limitListener) authenticate(conn *trackedConn, of engine.Key) (out *trackedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case conn.state == connUnauthenticated:
		conn.timer.Stop()
		conn.timer = nil // it would stay in memory as long as the connection
		l.unauthenticated.remove(conn)
		if conn.state = connShared; of == (engine.Key{}) {
			return nil
		}
		conn.state, conn.agent = connOfAgent, of
		all := l.agents[of]
		if all == nil {
			all = list.New()
			l.agents[of] = all
		}
		conn.element = all.PushBack(conn)
		if all.Len() > l.limits.perAgent {
			out = connToClose(all)
			l.remove(out)
		}
	case conn.state == connOfAgent && conn.agent != of:
		l.removeFromAgent(conn)
		conn.state = connShared
	}
	return out
}

// connToClose returns which connection of an agent is closed in favour of its last one: the earliest that carries no
// stream, or the earliest when all do.
//
// Example: an ingress pools its connections, and opened the first for the stream of a lone agent. When the agent proves its
// key on the ninth, the second is closed, and the stream goes on.
func connToClose(of *list.List) *trackedConn {
	earliest, _ := of.Front().Value.(*trackedConn)
	for e := of.Front(); e != of.Back(); e = e.Next() {
		if conn, _ := e.Value.(*trackedConn); conn.streams == 0 {
			return conn
		}
	}
	return earliest
}

// expire closes a connection that is still unauthenticated.
func (conn *trackedConn) expire() {
	conn.listener.mu.Lock()
	stranger := conn.state == connUnauthenticated && !conn.queued
	if stranger {
		conn.listener.remove(conn)
	}
	conn.listener.mu.Unlock()
	if stranger {
		_ = conn.Conn.Close()
	}
}

// Read implements net.Conn. A handshake that waits for its peer holds no slot.
func (conn *trackedConn) Read(b []byte) (int, error) {
	conn.freeSlot()
	return conn.Conn.Read(b)
}

func (conn *trackedConn) freeSlot() {
	if conn.releaseSlot != nil {
		conn.releaseSlot()
		conn.releaseSlot = nil
	}
}

// Close implements net.Conn.
func (conn *trackedConn) Close() error {
	conn.listener.mu.Lock()
	conn.listener.remove(conn)
	conn.listener.mu.Unlock()
	return conn.Conn.Close()
}

type connKey struct{}

// withConn adds the connection of a request to its context, for markAuthenticated and carryStream.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if over, ok := c.(*tls.Conn); ok {
		c = over.NetConn()
	}
	return context.WithValue(ctx, connKey{}, c)
}

// carryStream marks the connection of a request as one that carries a stream, until end is called.
func carryStream(ctx context.Context) (end func()) {
	conn, ok := ctx.Value(connKey{}).(*trackedConn)
	if !ok {
		return func() {}
	}
	conn.addStreams(1)
	return func() { conn.addStreams(-1) }
}

func (conn *trackedConn) addStreams(n int) {
	conn.listener.mu.Lock()
	defer conn.listener.mu.Unlock()
	conn.streams += n
}

// markAuthenticated authenticates the connection of a request: the agent of a Cluster has proven its key, or a user has
// sent the ticket of the Cluster; or, for the zero key, another shard of the hub has proven that it has the hub's key.
func markAuthenticated(ctx context.Context, of engine.Key) {
	conn, ok := ctx.Value(connKey{}).(*trackedConn)
	if !ok {
		return
	}
	if out := conn.listener.authenticate(conn, of); out != nil {
		_ = out.Conn.Close()
	}
}
