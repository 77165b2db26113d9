// Package linkproxy is a TCP proxy that fails as the links of edges do: it cuts connections, leaves them half-open,
// delays and throttles what goes through, and counts it.
package linkproxy

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy leads TCP connections to one address.
type Proxy struct {
	listener net.Listener
	to       string
	up, down atomic.Int64
	wg       sync.WaitGroup

	mu       sync.Mutex // guards what follows
	conns    map[net.Conn]bool
	closed   bool
	refuses  bool
	halfOpen bool
	delay    time.Duration
	rate     int // bytes a second and direction; 0: unbounded
	changed  chan struct{}
}

// Listen starts a proxy to an address. Close ends it.
func Listen(to string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, to: to, conns: map[net.Conn]bool{}, changed: make(chan struct{})}
	p.wg.Go(p.accept) // ends with Close
	return p, nil
}

// Address is "host:port" of the proxy.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Bytes returns how many bytes went up to the address, and how many came down.
func (p *Proxy) Bytes() (up, down int64) { return p.up.Load(), p.down.Load() }

// Heal lets everything through again.
func (p *Proxy) Heal() { p.set(func() { p.refuses, p.halfOpen, p.delay, p.rate = false, false, 0, 0 }) }

// Cut closes all connections, and refuses new ones.
func (p *Proxy) Cut() {
	p.set(func() { p.refuses = true })
	p.Reset()
}

// Reset closes all connections.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// HalfOpen lets connections stand, and nothing through: what was sent arrives when the link is healed.
func (p *Proxy) HalfOpen() { p.set(func() { p.halfOpen = true }) }

// Delay holds everything back for a while.
func (p *Proxy) Delay(d time.Duration) { p.set(func() { p.delay = d }) }

// Throttle bounds the bytes a second in each direction of a connection.
func (p *Proxy) Throttle(rate int) { p.set(func() { p.rate = rate }) }

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.changed)
	p.changed = make(chan struct{})
}

// Close ends the proxy and all connections.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.set(func() { p.closed, p.refuses = true, true })
	p.Reset()
	p.wg.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(c) }) // ends with the connection
	}
}

func (p *Proxy) serve(c net.Conn) {
	defer c.Close()
	if !p.add(c) {
		return
	}
	defer p.remove(c)
	out, err := net.DialTimeout("tcp", p.to, 10*time.Second)
	if err != nil {
		return
	}
	defer out.Close()
	if !p.add(out) {
		return
	}
	defer p.remove(out)
	var both sync.WaitGroup
	both.Go(func() { p.copy(out, c, &p.up); _ = out.Close(); _ = c.Close() })
	both.Go(func() { p.copy(c, out, &p.down); _ = out.Close(); _ = c.Close() })
	both.Wait()
}

func (p *Proxy) add(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuses {
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) remove(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *Proxy) copy(to io.Writer, from io.Reader, count *atomic.Int64) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !p.hold(n) {
				return
			}
			count.Add(int64(n))
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// hold waits as the link asks for, and returns false when the proxy ends.
func (p *Proxy) hold(n int) bool {
	began := time.Now()
	for {
		p.mu.Lock()
		closed, halfOpen, changed := p.closed, p.halfOpen, p.changed
		wait := p.delay - time.Since(began)
		if p.rate > 0 {
			wait = max(wait, time.Duration(n)*time.Second/time.Duration(p.rate)-time.Since(began))
		}
		p.mu.Unlock()
		switch {
		case closed:
			return false
		case halfOpen:
			<-changed
		case wait > 0:
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-changed:
			}
			timer.Stop()
		default:
			return true
		}
	}
}
