package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/semaphore"
)

const (
	// handshakesPerProcessor is how many TLS handshakes are computed at a time for each processor.
	handshakesPerProcessor = 2
	// handshakeTimeout bounds how long the first message of a handshake may take to arrive, and how long the rest of it
	// may take from when it gets a slot.
	handshakeTimeout = 10 * time.Second
)

// errPeerClosed is returned for a peer that closed its connection before its handshake got a slot.
var errPeerClosed = errors.New("the peer closed the connection while it waited for its turn")

// tlsListener does the TLS handshakes of the connections of a limitListener, a few at a time, in the order in which their
// first messages arrived: thousands that start at once would share the processors until all of them time out. A handshake
// holds a slot while the answer to the first message is computed, which is what costs processor time, and not while it
// waits for its peer: a peer that sends nothing holds no slot, and neither does a slow one.
//
// Example: 10,000 agents connect at once, and a handshake takes 1 ms of one of two processors. The last one waits for 5 s,
// its peer reads the answer right after it was computed, and none of them takes longer than its link.
//
// Handshakes run on goroutines of their own, so that those of net/http, which live as long as the connection, keep small
// stacks.
type tlsListener struct {
	listener     *limitListener
	config       *tls.Config
	log          logr.Logger
	slots        *semaphore.Weighted
	completed    chan *tls.Conn // whose handshakes are done
	acceptErrors chan error     // of the listener's Accept

	ctx     context.Context // done when the listener is closed
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// newTLSListener accepts connections of a listener until it is closed; the end of ctx does not end it. slots is how many
// handshakes are computed at a time.
func newTLSListener(ctx context.Context, inner *limitListener, config *tls.Config, slots int, log logr.Logger) *tlsListener {
	l := &tlsListener{listener: inner, config: config.Clone(), log: log, slots: semaphore.NewWeighted(int64(slots)), completed: make(chan *tls.Conn), acceptErrors: make(chan error)}
	l.ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	l.config.GetConfigForClient = l.acquireSlot
	l.config.GetCertificate = l.reacquireSlot(config.GetCertificate) //nolint:contextcheck // it is that of the hello
	l.running.Go(l.accept)
	return l
}

// handshakeSlots returns how many handshakes are computed at a time.
func handshakeSlots() int { return handshakesPerProcessor * runtime.GOMAXPROCS(0) }

// accept starts a handshake for each connection. It ends with the listener.
func (l *tlsListener) accept() {
	for l.ctx.Err() == nil {
		conn, err := l.listener.accept()
		if err != nil {
			select {
			case l.acceptErrors <- err: // net/http retries after a temporary one
			case <-l.ctx.Done():
			}
			continue
		}
		l.running.Go(func() { l.serveHandshake(conn) }) // ends with the handshake, the connection or the listener
	}
}

// serveHandshake does the handshake of a connection, and hands it to Accept.
func (l *tlsListener) serveHandshake(conn *trackedConn) {
	c := tls.Server(conn, l.config)
	defer func() {
		if failure := recover(); failure != nil { // as in net/http: one connection does not end the hub
			l.log.Error(fmt.Errorf("%v", failure), "a TLS handshake panicked", "from", conn.RemoteAddr())
			_ = conn.Close()
		}
	}()
	err := l.handshake(c, conn)
	if err == nil {
		select {
		case l.completed <- c:
			return
		case <-l.ctx.Done():
			err = net.ErrClosed
		}
	}
	answerPlainHTTP(err)
	_ = conn.Close()
	l.log.V(1).Info("a TLS handshake failed", "from", conn.RemoteAddr().String(), "error", err.Error()) // an unauthenticated caller can cause it at will
}

// handshake does a handshake. When it returns, the connection has no deadline.
func (l *tlsListener) handshake(c *tls.Conn, conn *trackedConn) error {
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	l.listener.setOnClosed(conn, cancel)
	defer l.listener.setOnClosed(conn, nil)
	defer conn.freeSlot()
	_ = conn.SetDeadline(l.listener.now().Add(handshakeTimeout))
	if err := c.HandshakeContext(ctx); err != nil {
		return err
	}
	return conn.SetDeadline(time.Time{})
}

// acquireSlot is called by a handshake that has read its first message, before anything is computed. It returns when it
// holds a slot, which the connection releases when it reads the next message. Later messages cost little, except those of
// a peer that has to send the first one again; see reacquireSlot.
func (l *tlsListener) acquireSlot(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	conn, ok := hello.Conn.(*trackedConn)
	if !ok {
		return nil, errors.New("the connection is not one of the limiting listener")
	}
	l.listener.pauseTimeout(conn)
	if err := l.slots.Acquire(hello.Context(), 1); err != nil {
		return nil, err
	}
	conn.releaseSlot = func() { l.slots.Release(1) }
	if !l.listener.resumeTimeout(conn) || peerClosed(conn.Conn) {
		return nil, errPeerClosed
	}
	return nil, conn.SetDeadline(l.listener.now().Add(handshakeTimeout))
}

// reacquireSlot waits for a slot again where the peer had to send its first message twice, as no agent has, and so released
// its slot: the signature for it costs as much as for others. The wait counts towards its timeout.
func (l *tlsListener) reacquireSlot(certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if conn, ok := hello.Conn.(*trackedConn); ok && conn.releaseSlot == nil {
			if err := l.slots.Acquire(hello.Context(), 1); err != nil {
				return nil, err
			}
			conn.releaseSlot = func() { l.slots.Release(1) }
		}
		return certificate(hello)
	}
}

// answerPlainHTTP sends an error to a peer that speaks plain HTTP, such as an ingress that is set up to terminate TLS.
func answerPlainHTTP(err error) {
	not, ok := errors.AsType[tls.RecordHeaderError](err)
	if !ok || not.Conn == nil {
		return
	}
	switch string(not.RecordHeader[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "PRI *":
		_, _ = io.WriteString(not.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nThe gateway speaks HTTPS here.\n")
	}
}

// Accept implements net.Listener: it returns connections whose handshakes are done, each a *tls.Conn.
func (l *tlsListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.completed:
		return c, nil
	case err := <-l.acceptErrors:
		return nil, err
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It ends all handshakes, and returns when they have ended.
func (l *tlsListener) Close() error {
	l.cancel()
	err := l.listener.Close()
	l.running.Wait()
	return err
}

// Addr implements net.Listener.
func (l *tlsListener) Addr() net.Addr { return l.listener.Addr() }
