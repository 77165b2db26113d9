package gateway

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// strangers closes connections on which nothing is proven for a while: those that are open are limited in sum, and who
// proves nothing is not to keep agents out by holding them.
type strangers struct {
	net.Listener
	life time.Duration
}

// stranger is a connection on which nothing is proven yet.
type stranger struct {
	net.Conn
	timer *time.Timer
}

// Accept implements net.Listener.
func (l strangers) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &stranger{Conn: c, timer: time.AfterFunc(l.life, func() { _ = c.Close() })}, nil
}

// Close implements net.Conn.
func (c *stranger) Close() error {
	c.timer.Stop()
	return c.Conn.Close()
}

type strangerKey struct{}

// withStranger lets markProven find the connection of a request.
func withStranger(ctx context.Context, c net.Conn) context.Context {
	if over, ok := c.(*tls.Conn); ok {
		c = over.NetConn()
	}
	return context.WithValue(ctx, strangerKey{}, c)
}

// markProven lets the connection of a request stand.
func markProven(ctx context.Context) {
	if c, ok := ctx.Value(strangerKey{}).(*stranger); ok {
		c.timer.Stop()
	}
}
