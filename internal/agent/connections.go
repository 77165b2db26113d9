package agent

import (
	"context"
	"net"
	"sync"
)

// dialFunc opens a connection.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// connections are those of one session. They end with it: one whose network has gone without a word takes what is sent
// until the kernel's buffer is full, and then every request would wait on it, that which is to end the session as well.
type connections struct {
	mu    sync.Mutex // guards what follows
	open  map[*connection]bool
	ended bool
}

// connection leaves the others of its session when it is closed.
type connection struct {
	net.Conn
	all *connections
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.all.mu.Lock()
	delete(c.all.open, c)
	c.all.mu.Unlock()
	return c.Conn.Close()
}

// wrap returns a dialFunc whose connections end with the others of the session.
func (c *connections) wrap(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		one := &connection{Conn: conn, all: c}
		c.mu.Lock()
		ended := c.ended
		if !ended {
			c.open[one] = true
		}
		c.mu.Unlock()
		if ended {
			_ = conn.Close()
			return nil, net.ErrClosed
		}
		return one, nil
	}
}

// closeAll closes what is open, and what is opened from now on.
func (c *connections) closeAll() {
	c.mu.Lock()
	open := c.open
	c.open, c.ended = map[*connection]bool{}, true
	c.mu.Unlock()
	for one := range open {
		_ = one.Conn.Close()
	}
}
