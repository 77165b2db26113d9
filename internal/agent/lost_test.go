package agent

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/skerry-dev/skerry/internal/link"
)

// network is one whose connections can be lost without a word, as those of a Pod are that gets another address, or of a
// machine that moves to another network: what is sent goes nowhere, and nothing comes. New ones work.
type network struct {
	full bool // of the kernel's buffer: what is sent waits

	mu    sync.Mutex // guards what follows
	conns []*lossy
}

type lossy struct {
	net.Conn
	full   bool
	lost   chan struct{} // closed when it is
	closed chan struct{}
	lose   func()
	end    func()
}

func (n *network) dial(ctx context.Context, protocol, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, protocol, address)
	if err != nil {
		return nil, err
	}
	l := &lossy{Conn: c, full: n.full, lost: make(chan struct{}), closed: make(chan struct{})}
	l.lose, l.end = sync.OnceFunc(func() { close(l.lost) }), sync.OnceFunc(func() { close(l.closed) })
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, l)
	return l, nil
}

// lose loses all connections that stand, and returns them.
func (n *network) lose() []*lossy {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		c.lose()
	}
	return n.conns
}

func (l *lossy) isLost() bool {
	select {
	case <-l.lost:
		return true
	default:
		return false
	}
}

func (l *lossy) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if l.isLost() {
		<-l.closed
		return 0, net.ErrClosed
	}
	return n, err
}

func (l *lossy) Write(p []byte) (int, error) {
	if !l.isLost() {
		return l.Conn.Write(p)
	}
	if l.full {
		<-l.closed
		return 0, net.ErrClosed
	}
	return len(p), nil
}

func (l *lossy) Close() error {
	l.end()
	return l.Conn.Close()
}

// TestAnAgentWhoseConnectionIsLostWithoutAWordIsBack within two and a half keepalives and a moment, on a connection of its
// own, and the old one is closed.
func TestAnAgentWhoseConnectionIsLostWithoutAWordIsBack(t *testing.T) {
	for name, tt := range map[string]struct{ http2, full bool }{
		"HTTP/2":                        {true, false},
		"HTTP/1.1":                      {false, false},
		"HTTP/2, and nothing is sent":   {true, true},
		"HTTP/1.1, and nothing is sent": {false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each waits for silence
			h := startHubOf(t, longAgo, tt.http2)
			h.settings = link.Settings{KeepAlive: 1}
			h.assign(entryOf("apps", h.bundle(configMap("a", "1"))))
			e := newSite(t)
			n := &network{full: tt.full}
			e.dial = n.dial
			e.api.enroll(t, h.enroll)
			e.start()
			eventually(t, "apps is ready", h.reported("apps", "Ready"))
			h.assign(entryOf("apps", h.bundle(configMap("a", "1"))), entryOf("more", h.bundle(configMap("b", "2"))))
			lost := n.lose()
			eventually(t, "more is ready", h.reported("more", "Ready"))
			eventually(t, "what was lost is closed", func() bool {
				for _, c := range lost {
					select {
					case <-c.closed:
					default:
						return false
					}
				}
				return true
			})
		})
	}
}
