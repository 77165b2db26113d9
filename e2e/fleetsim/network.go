package fleetsim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// network is the edge's side of its address.
type network struct {
	changing sync.Mutex // of faults

	sync.Mutex
	listener *net.TCPListener
	conns    map[*conn]bool
	waiting  map[net.Conn]bool // accepted while the edge is silent
	holder   int               // socket that keeps the port while the edge does not listen; 0: none
	fillers  []net.Conn        // that take all places of the queue of connections
	stopped  bool
}

// reusable lets a second socket be bound to the port, which keeps it while the edge does not listen.
func reusable(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
	return errors.Join(err, failed)
}

// listen gives the edge an address of its own and answers there.
func (e *Edge) listen(address string) error {
	lc := net.ListenConfig{KeepAlive: -1, Control: reusable}
	l, err := lc.Listen(context.Background(), "tcp", address)
	if err != nil {
		return fmt.Errorf("cannot listen for %s: %w", e.Name, err)
	}
	e.net.Lock()
	defer e.net.Unlock()
	e.net.listener = l.(*net.TCPListener)
	if e.address == "" {
		e.address = l.Addr().String()
		e.net.conns, e.net.waiting = map[*conn]bool{}, map[net.Conn]bool{}
	}
	e.fleet.running.Go(func() { e.accept(l.(*net.TCPListener)) })
	return nil
}

func (e *Edge) accept(l *net.TCPListener) {
	for {
		nc, err := l.Accept()
		f := e.fault.Load()
		if err == nil {
			e.count.Connections.Add(1)
			e.fleet.running.Go(func() { e.converse(nc) })
			continue
		}
		if f == nil || f.Kind != Dropped || !errors.Is(err, os.ErrDeadlineExceeded) {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				continue // the fault was lifted just now
			}
			return
		}
		<-f.lifted
	}
}

const handshakeTimeout = 30 * time.Second

func (e *Edge) converse(nc net.Conn) {
	defer nc.Close()
	if e.fault.Load().mutes() {
		e.swallow(nc)
		return
	}
	t := tls.Server(nc, e.fleet.tls)
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	err := t.HandshakeContext(ctx)
	cancel()
	if err == nil && t.ConnectionState().NegotiatedProtocol == "h2" {
		e.serveConn(t)
	}
}

// swallow takes what a client sends until it gives up or the edge is not silent any more.
func (e *Edge) swallow(nc net.Conn) {
	e.net.Lock()
	e.net.waiting[nc] = true
	e.net.Unlock()
	defer func() {
		e.net.Lock()
		defer e.net.Unlock()
		delete(e.net.waiting, nc)
	}()
	if e.fault.Load().mutes() { // still: the lifting closes what is in the map
		_, _ = io.Copy(io.Discard, nc)
	}
}

// hold keeps a connection from going on while the edge is silent.
func (e *Edge) hold() {
	for f := e.fault.Load(); f.mutes(); f = e.fault.Load() {
		<-f.lifted
	}
}

func (e *Edge) opened(c *conn) {
	e.net.Lock()
	defer e.net.Unlock()
	e.net.conns[c] = true
	if e.net.stopped {
		c.net.NetConn().Close()
	}
}

func (e *Edge) closed(c *conn) {
	e.net.Lock()
	defer e.net.Unlock()
	delete(e.net.conns, c)
}

func (e *Edge) open() []*conn {
	e.net.Lock()
	defer e.net.Unlock()
	all := make([]*conn, 0, len(e.net.conns))
	for c := range e.net.conns {
		all = append(all, c)
	}
	return all
}

// hangUp closes all connections.
func (e *Edge) hangUp() {
	for _, c := range e.open() {
		c.net.NetConn().Close()
	}
}

// block brings a fault into force.
func (e *Edge) block(f *activeFault) error {
	switch f.Kind {
	case Silent, Dropped:
		for _, c := range e.open() {
			c.mute(true)
		}
		if f.Kind == Dropped {
			return e.closeQueue()
		}
	case Refused:
		return e.close()
	case Flap:
		if err := e.close(); err != nil {
			return err
		}
		e.fleet.running.Go(func() { e.flap(f) })
	case Slow, Busy:
	default:
		e.endWatches()
	}
	return nil
}

// unblock takes a fault away.
func (e *Edge) unblock(f *activeFault) error {
	switch f.Kind {
	case Silent, Dropped:
		e.net.Lock()
		for nc := range e.net.waiting {
			nc.Close()
		}
		e.net.Unlock()
		if f.Kind == Dropped {
			if err := e.openQueue(); err != nil {
				return err
			}
		}
		for _, c := range e.open() {
			c.mute(false)
		}
	case Refused, Flap:
		return e.reopen()
	default:
	}
	return nil
}

func (c *conn) mute(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.muted = on
	c.flush()
}

func (e *Edge) flap(f *activeFault) {
	t := time.NewTicker(f.Every)
	defer t.Stop()
	for down := true; ; {
		select {
		case <-f.lifted:
			return
		case <-t.C:
		}
		e.net.changing.Lock()
		var err error
		if e.fault.Load() == f {
			if down = !down; down {
				err = e.close()
			} else {
				err = e.reopen()
			}
		}
		e.net.changing.Unlock()
		if err != nil {
			e.fleet.fault(err)
			return
		}
	}
}

// close stops listening at the edge's address, which no other process can take all the same.
func (e *Edge) close() error {
	e.net.Lock()
	if e.net.holder == 0 {
		holder, err := hold(e.net.listener.Addr().(*net.TCPAddr))
		if err != nil {
			e.net.Unlock()
			return fmt.Errorf("cannot keep the port of %s: %w", e.Name, err)
		}
		e.net.holder = holder
		e.net.listener.Close()
	}
	e.net.Unlock()
	e.hangUp()
	return nil
}

func hold(a *net.TCPAddr) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())}))
	if err != nil {
		unix.Close(fd)
	}
	return fd, err
}

func (e *Edge) reopen() error {
	e.net.Lock()
	holder := e.net.holder
	e.net.holder = 0
	e.net.Unlock()
	if holder == 0 {
		return nil
	}
	defer unix.Close(holder)
	return e.listen(e.address)
}

// closeQueue has the kernel drop what asks for a connection: the queue of those that are not
// accepted yet is made as short as can be and filled.
func (e *Edge) closeQueue() error {
	if err := e.net.listener.SetDeadline(time.Unix(1, 0)); err != nil {
		return fmt.Errorf("cannot stop %s from accepting: %w", e.Name, err)
	}
	if err := e.backlog(0); err != nil {
		return err
	}
	for range 8 {
		full, err := e.queueIsFull()
		if full || err != nil {
			return err
		}
		if nc := e.knock(); nc != nil {
			e.net.fillers = append(e.net.fillers, nc)
		}
	}
	return fmt.Errorf("%s takes connections that nobody accepts", e.Name)
}

// queueIsFull asks the kernel, which for a socket that listens reports as unacknowledged how many connections wait to be accepted,
// and as selectively acknowledged how many may (tcp_get_info of Linux). It drops what comes when there are more. That a connection
// is not answered in time says less: the machine may be busy.
func (e *Edge) queueIsFull() (full bool, err error) {
	raw, err := e.net.listener.SyscallConn()
	if err != nil {
		return false, fmt.Errorf("cannot reach the socket of %s: %w", e.Name, err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		var info *unix.TCPInfo
		if info, failed = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); failed == nil {
			full = info.Unacked > info.Sacked
		}
	})
	if err := errors.Join(err, failed); err != nil {
		return false, fmt.Errorf("cannot ask for the queue of %s: %w", e.Name, err)
	}
	return full, nil
}

// knock connects to the edge; nil: it does not answer at once.
func (e *Edge) knock() net.Conn {
	d := net.Dialer{Timeout: 50 * time.Millisecond}
	nc, err := d.DialContext(context.Background(), "tcp", e.address)
	if err != nil {
		return nil
	}
	return nc
}

func (e *Edge) openQueue() error {
	for _, nc := range e.net.fillers {
		nc.Close()
	}
	e.net.fillers = nil
	if err := e.net.listener.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("cannot have %s accept again: %w", e.Name, err)
	}
	return e.backlog(unix.SOMAXCONN)
}

func (e *Edge) backlog(n int) error {
	raw, err := e.net.listener.SyscallConn()
	if err != nil {
		return fmt.Errorf("cannot reach the socket of %s: %w", e.Name, err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = unix.Listen(int(fd), n) })
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("cannot change the queue of %s: %w", e.Name, err)
	}
	return nil
}

// shut ends all that the edge does.
func (e *Edge) shut() {
	e.net.Lock()
	e.net.stopped = true
	e.net.listener.Close()
	e.net.Unlock()
	e.hangUp()
}
