package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/link"
)

// queue is a tlsListener in a bubble, and what a test needs to connect to it. Each connection that it accepts is sent a byte.
type queue struct {
	t       *testing.T
	in      *pipes
	limited *limitListener
	*tlsListener
	client *tls.Config

	failures atomic.Int32

	mu    sync.Mutex
	order []string // the servers that are asked for, in the order in which their handshakes are computed
}

func newQueue(t *testing.T, places int, limits connLimits) *queue {
	t.Helper()
	ca, caKey, err := NewCA()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := ServerCertificate(ca, caKey)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	q := &queue{t: t, in: newPipes(), client: &tls.Config{RootCAs: roots, ServerName: link.ServerName, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}}}
	q.limited = newLimitListener(q.in, limits, time.Now)
	config := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.order = append(q.order, hello.SupportedProtos[len(hello.SupportedProtos)-1])
		return certificate, nil
	}}
	q.tlsListener = newTLSListener(t.Context(), q.limited, config, places, funcr.New(func(string, string) { q.failures.Add(1) }, funcr.Options{Verbosity: 1}))
	accepting := make(chan struct{})
	go func() { // ends with the listener
		defer close(accepting)
		for {
			c, err := q.Accept()
			if err != nil {
				return
			}
			over, ok := c.(*tls.Conn)
			if !ok || !over.ConnectionState().HandshakeComplete || over.ConnectionState().NegotiatedProtocol != "h2" {
				t.Errorf("%T is accepted whose handshake is not done", c)
			}
			go func() { // ends with the client
				_, _ = c.Write([]byte{1})
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}()
		}
	}()
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		<-accepting
	})
	return q
}

// dial connects to the listener.
func (q *queue) dial() net.Conn {
	near, far := net.Pipe()
	q.in.in <- near
	q.t.Cleanup(func() { _ = far.Close() })
	return far
}

// connect does a handshake at a connection, and waits for a word. The name, if there is one, is in the order.
func (q *queue) connect(over net.Conn, name string) error {
	config := q.client.Clone()
	if name != "" {
		config.NextProtos = append(config.NextProtos, name)
	}
	c := tls.Client(over, config)
	if err := c.HandshakeContext(context.WithoutCancel(q.t.Context())); err != nil {
		return err
	}
	_, err := c.Read(make([]byte, 1))
	return err
}

// hold holds all slots, as handshakes that are computed do, until release is called.
func (q *queue) hold(places int) (release func()) {
	if err := q.slots.Acquire(q.t.Context(), int64(places)); err != nil {
		q.t.Fatal(err)
	}
	return func() { q.slots.Release(int64(places)) }
}

func (q *queue) computed() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.order)
}

// TestManyHandshakesSucceedInTurn, also those whose turn comes after the time of a handshake, and of a stranger.
func TestManyHandshakesSucceedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, 2, defaultConnLimits)
		release := q.hold(2)
		const peers = 400 // 200 for each slot; the clock stands still while they are computed, so that more take no longer
		ended := make(chan error, peers)
		for range peers {
			c := q.dial()
			go func() { ended <- q.connect(c, "") }()
		}
		time.Sleep(handshakeTimeout + unauthenticatedTimeout)
		if n := len(ended); n > 0 {
			t.Fatalf("%d have not waited for their turn, the first with %v", n, <-ended)
		}
		release()
		for range peers {
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestWaitingHandshakeHoldsNoSlot: neither that of a peer that sends nothing, or half of its first message, nor that of one
// that does not send its second.
func TestWaitingHandshakeHoldsNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, 1, defaultConnLimits)
		for range 10 {
			q.dial()
			half := q.dial()
			go func() { _, _ = half.Write([]byte{22, 3, 1, 4, 0, 1}) }()
			slow := q.dial()
			go func() {
				_ = tls.Client(&mute{Conn: slow, after: 1}, q.client).HandshakeContext(context.WithoutCancel(t.Context()))
			}()
		}
		synctest.Wait()
		for range 3 {
			began := time.Now()
			if err := q.connect(q.dial(), ""); err != nil {
				t.Fatal(err)
			}
			if waited := time.Since(began); waited > 0 {
				t.Errorf("it had to wait for %s", waited)
			}
		}
		time.Sleep(handshakeTimeout)
		synctest.Wait()
		q.limited.mu.Lock()
		defer q.limited.mu.Unlock()
		if q.limited.open != 3 {
			t.Errorf("%d connections are open after the time of a handshake, 3 have done theirs", q.limited.open)
		}
	})
}

// mute is a connection that sends a few times, and then nothing.
type mute struct {
	net.Conn
	after int
}

func (m *mute) Write(b []byte) (int, error) {
	if m.after--; m.after < 0 {
		return len(b), nil
	}
	return m.Conn.Write(b)
}

// TestHandshakesRunInOrderOfFirstMessage, and not in that of their connections.
func TestHandshakesRunInOrderOfFirstMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, 1, defaultConnLimits)
		release := q.hold(1)
		names := strings.Split("abcdefghij", "")
		var all []net.Conn
		for range names {
			all = append(all, q.dial())
		}
		slices.Reverse(all)
		var running sync.WaitGroup
		for i, name := range names {
			running.Go(func() {
				if err := q.connect(all[i], name); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		release()
		running.Wait()
		if diff := cmp.Diff(names, q.computed()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestClosedConnectionLeavesTheQueue where there are too many unauthenticated ones; those before it keep their turn.
func TestClosedConnectionLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, 1, connLimits{total: 100, unauthenticated: 3, perAgent: 8, timeout: unauthenticatedTimeout})
		release := q.hold(1)
		ended := make([]chan error, 6)
		for i := range ended {
			ended[i] = make(chan error, 1)
			c := q.dial()
			go func() { ended[i] <- q.connect(c, "") }()
			synctest.Wait()
			time.Sleep(unauthenticatedGrace) // those that wait have had no time of their own
		}
		if n := q.failures.Load(); n != 3 {
			t.Errorf("%d handshakes have ended where 3 peers were closed out", n)
		}
		for i := 3; i < 6; i++ {
			select {
			case err := <-ended[i]:
				if err == nil {
					t.Errorf("%d has passed all others", i)
				}
			default:
				t.Errorf("%d waits, and is one too many", i)
			}
		}
		release()
		for i := range 3 {
			if err := <-ended[i]; err != nil {
				t.Errorf("%d has lost its turn: %v", i, err)
			}
		}
		if n := len(q.computed()); n != 3 {
			t.Errorf("%d handshakes were computed", n)
		}
	})
}

// TestClosingTheListenerEndsHandshakes at any of their steps. The bubble sees that no goroutine is left.
func TestClosingTheListenerEndsHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, 1, defaultConnLimits)
		slow := &mute{Conn: q.dial(), after: 1}
		ended := make(chan error, 3)
		go func() {
			ended <- tls.Client(slow, q.client).HandshakeContext(context.WithoutCancel(t.Context()))
			var err error
			for err == nil {
				_, err = slow.Read(make([]byte, 1<<10)) // what is left of the first answer
			}
			ended <- err
		}()
		synctest.Wait()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		release := q.hold(1)
		defer release()
		silent, waiting := q.dial(), q.dial()
		go func() {
			_, err := silent.Read(make([]byte, 1))
			ended <- err
		}()
		go func() { ended <- q.connect(waiting, "") }()
		synctest.Wait()
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := <-ended; err == nil {
				t.Error("a connection goes on")
			}
		}
		if _, err := q.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("it accepts after its end: %v", err)
		}
		q.limited.mu.Lock()
		defer q.limited.mu.Unlock()
		if q.limited.open != 0 || q.limited.unauthenticated.n != 0 {
			t.Errorf("%d are open, %d in the crowd", q.limited.open, q.limited.unauthenticated.n)
		}
	})
}

// TestPanicInAHandshakeEndsOneConnection, which is logged with what it panicked with, and gives its slot back.
func TestPanicInAHandshakeEndsOneConnection(t *testing.T) {
	in, logged := &pipes{in: make(chan net.Conn), done: make(chan struct{})}, make(chan string, 1)
	config := &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { panic("a fault") }}
	l := newTLSListener(t.Context(), newLimitListener(in, defaultConnLimits, time.Now), config, 1, funcr.New(func(_, args string) { logged <- args }, funcr.Options{}))
	for range 2 { // with one slot
		ours, theirs := net.Pipe()
		in.in <- theirs
		if err := tls.Client(ours, &tls.Config{ServerName: link.ServerName, MinVersion: tls.VersionTLS13}).HandshakeContext(t.Context()); err == nil {
			t.Error("the handshake succeeds")
		}
		if args := <-logged; !strings.Contains(args, `"error"="a fault"`) {
			t.Errorf("logged: %s", args)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// TestPlainHTTPIsAnswered, so that a user who sets up an ingress sees what is wrong.
func TestPlainHTTPIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, 1, defaultConnLimits)
		c := q.dial()
		go func() { _, _ = io.WriteString(c, "POST /v1/challenge HTTP/1.1\r\nHost: hub\r\n\r\n") }()
		answer, _ := io.ReadAll(c)
		if !strings.Contains(string(answer), "400 Bad Request") {
			t.Errorf("%q", answer)
		}
	})
}

// TestPeerThatClosedWhileQueuedIsNoticed, and nothing is lost of what another one sends meanwhile.
func TestPeerThatClosedWhileQueuedIsNoticed(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	peer, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if peerClosed(c) {
		t.Error("it is there, and has said nothing")
	}
	if _, err := peer.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if peerClosed(c) {
		t.Error("it is there")
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_ = peer.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if !peerClosed(c) && runtime.GOOS == "linux" {
		t.Error("it has left")
	}
}

// TestHelloRetryReacquiresSlot: a peer that has to send its first message again has released its slot, and acquires and
// releases one for the signature.
func TestHelloRetryReacquiresSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, 1, defaultConnLimits)
		q.config.CurvePreferences = []tls.CurveID{tls.CurveP521}
		q.client.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP521} // it brings a key for the first
		over := &buffered{Conn: q.dial(), out: make(chan []byte, 16), again: make(chan struct{})}
		go over.send() // ends with the test
		defer close(over.out)
		ended := make(chan error, 1)
		go func() { ended <- q.connect(over, "again") }()
		<-over.again
		synctest.Wait()
		release := q.hold(1)
		over.again <- struct{}{}
		synctest.Wait()
		if got := q.computed(); len(got) > 0 {
			t.Errorf("it is signed without a place: %v", got)
		}
		release()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		q.hold(1)()
	})
}

// buffered is a connection that may write while the other end does, as a pipe in memory may not. Its third record, which
// is the first message for the second time, is held back.
type buffered struct {
	net.Conn
	out   chan []byte
	again chan struct{} // unbuffered: it is about to be sent, and may be
}

func (b *buffered) Write(data []byte) (int, error) {
	b.out <- slices.Clone(data)
	return len(data), nil
}

func (b *buffered) send() {
	n := 0
	for data := range b.out {
		if n++; n == 3 {
			b.again <- struct{}{}
			<-b.again
		}
		_, _ = b.Conn.Write(data)
	}
}
