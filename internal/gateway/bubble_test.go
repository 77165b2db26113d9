package gateway

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
)

// inBubble runs a test with a rig whose connections are in memory, in time that goes by when nothing is left to do. change may
// change the gateway before it listens.
func inBubble(t *testing.T, change func(*Gateway), test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newRigOver(t, newPipes(), change)) })
}

// pipes are a listener to which a test brings connections in memory.
type pipes struct {
	in   chan net.Conn
	done chan struct{}
	once sync.Once
}

func newPipes() *pipes { return &pipes{in: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.in:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443} }

// pipeBuffer is how many writes a connection of dial holds that the other end has not read, as the buffers of a kernel do.
const pipeBuffer = 8

// dial connects to the listener, as net.Dialer does.
func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	client, near := net.Pipe()
	far, server := net.Pipe()
	go carry(near, far) // ends with either, as the other one
	go carry(far, near)
	select {
	case p.in <- server:
		return client, nil
	case <-p.done:
		return nil, errors.Join(net.ErrClosed, near.Close(), far.Close())
	}
}

func carry(from, to net.Conn) {
	queued := make(chan []byte, pipeBuffer)
	go func() { // ends with the queue
		for data := range queued {
			if _, err := to.Write(data); err != nil {
				_ = from.Close()
			}
		}
		_ = to.Close()
	}()
	defer close(queued)
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			queued <- bytes.Clone(buf[:n])
		}
		if err != nil {
			return
		}
	}
}
