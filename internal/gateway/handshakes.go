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
	// may take from its turn on.
	handshakeTimeout = 10 * time.Second
)

// errLeft says that a peer did not wait for its turn.
var errLeft = errors.New("the peer has gone while it waited for its turn")

// handshakes is a listener that does the TLS handshakes of a door's connections, in the order in which their first
// messages have arrived, a few at a time: thousands that come at once do not share the processors until all are too late.
// A place is held while the answer to the first message is computed, which is what costs processor time, and not while
// anything is awaited: who sends nothing takes no place, and neither does who is slow.
//
// Example: 10,000 agents come at once, and a handshake takes 1 ms of one of two processors. The last one waits for 5 s, its
// peer reads the answer right after it was computed, and none of them takes longer than its link.
//
// Handshakes have goroutines of their own, so that those of net/http, which stay, keep small stacks.
type handshakes struct {
	door   *door
	config *tls.Config
	log    logr.Logger
	places *semaphore.Weighted
	shaken chan *tls.Conn // whose handshakes are done
	failed chan error     // of the door's Accept

	ctx     context.Context // done when the listener is closed
	end     context.CancelFunc
	running sync.WaitGroup
}

// newHandshakes takes connections from d until it is closed; the end of ctx does not end it. Places are how many
// handshakes are computed at a time.
func newHandshakes(ctx context.Context, d *door, config *tls.Config, places int, log logr.Logger) *handshakes {
	h := &handshakes{door: d, config: config.Clone(), log: log, places: semaphore.NewWeighted(int64(places)), shaken: make(chan *tls.Conn), failed: make(chan error)}
	h.ctx, h.end = context.WithCancel(context.WithoutCancel(ctx))
	h.config.GetConfigForClient = h.awaitTurn
	h.config.GetCertificate = h.keepPlace(config.GetCertificate) //nolint:contextcheck // it is that of the hello
	h.running.Go(h.accept)
	return h
}

// places returns how many handshakes are computed at a time.
func places() int { return handshakesPerProcessor * runtime.GOMAXPROCS(0) }

// accept begins the handshakes of the door's connections. It ends with the listener.
func (h *handshakes) accept() {
	for h.ctx.Err() == nil {
		v, err := h.door.accept()
		if err != nil {
			select {
			case h.failed <- err: // the server waits where that may pass, and comes back
			case <-h.ctx.Done():
			}
			continue
		}
		h.running.Go(func() { h.handshake(v) }) // ends with the handshake, the connection or the listener
	}
}

// handshake hands a connection to Accept when its handshake is done.
func (h *handshakes) handshake(v *visitor) {
	c := tls.Server(v, h.config)
	defer func() {
		if failure := recover(); failure != nil { // as in net/http: one connection does not end the hub
			h.log.Error(fmt.Errorf("%v", failure), "a TLS handshake panicked", "from", v.RemoteAddr())
			_ = v.Close()
		}
	}()
	err := h.shake(c, v)
	if err == nil {
		dropHandshakeBuffers(c)
		select {
		case h.shaken <- c:
			return
		case <-h.ctx.Done():
			err = net.ErrClosed
		}
	}
	answerPlainHTTP(err)
	_ = v.Close()
	h.log.V(1).Info("a TLS handshake failed", "from", v.RemoteAddr().String(), "error", err.Error()) // strangers are no news
}

// shake does a handshake. When it returns, the connection has no deadline.
func (h *handshakes) shake(c *tls.Conn, v *visitor) error {
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	h.door.whenGone(v, cancel)
	defer h.door.whenGone(v, nil)
	defer v.leavePlace()
	_ = v.SetDeadline(h.door.now().Add(handshakeTimeout))
	if err := c.HandshakeContext(ctx); err != nil {
		return err
	}
	return v.SetDeadline(time.Time{})
}

// awaitTurn is called by a handshake when it has read its first message, and before anything is computed. It returns when
// there is a place, which the visitor leaves when the next message is awaited. What later messages cost is little, but of
// a peer that has to send the first one again; see keepPlace.
func (h *handshakes) awaitTurn(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	v, ok := hello.Conn.(*visitor)
	if !ok {
		return nil, errors.New("the connection is not of the door")
	}
	h.door.wait(v)
	if err := h.places.Acquire(hello.Context(), 1); err != nil {
		return nil, err
	}
	v.leave = func() { h.places.Release(1) }
	if !h.door.letIn(v) || hasLeft(v.Conn) {
		return nil, errLeft
	}
	return nil, v.SetDeadline(h.door.now().Add(handshakeTimeout))
}

// keepPlace has a peer wait for a place again that had to send its first message twice, as none of ours has, and left its
// place meanwhile: what is signed for it costs as much as for others. That takes of its own time.
func (h *handshakes) keepPlace(certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if v, ok := hello.Conn.(*visitor); ok && v.leave == nil {
			if err := h.places.Acquire(hello.Context(), 1); err != nil {
				return nil, err
			}
			v.leave = func() { h.places.Release(1) }
		}
		return certificate(hello)
	}
}

// answerPlainHTTP tells a peer that does not speak TLS so, as an ingress that is set up to end it.
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
func (h *handshakes) Accept() (net.Conn, error) {
	select {
	case c := <-h.shaken:
		return c, nil
	case err := <-h.failed:
		return nil, err
	case <-h.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It ends all handshakes, and returns when they have ended.
func (h *handshakes) Close() error {
	h.end()
	err := h.door.Close()
	h.running.Wait()
	return err
}

// Addr implements net.Listener.
func (h *handshakes) Addr() net.Addr { return h.door.Addr() }
