// Package guard asks a fence before anything goes out. It is apart from the lease of the hub, whose client an agent
// does not link.
package guard

import (
	"context"
	"net"
	"net/http"
)

// Fence reports whether this process may still act. A process that was suspended for a while (SIGSTOP, a
// paused virtual machine), and whose place another process has taken meanwhile, does not notice: it goes on
// at the instruction where it was stopped. So the fence is asked right before each write, and not when the
// write is decided.
type Fence interface {
	// Leading is nil while this process may write.
	Leading() error
	// Lost is nil unless this process was allowed to write once and is not now: then it sends nothing at
	// all, until it may again.
	Lost() error
}

// Guard returns a transport that refuses writes while the fence does.
func Guard(next http.RoundTripper, f Fence) http.RoundTripper { return &guarded{next, f} }

type guarded struct {
	next  http.RoundTripper
	fence Fence
}

func (g *guarded) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead && req.Method != http.MethodOptions {
		if err := g.fence.Leading(); err != nil {
			return nil, err
		}
	}
	return g.next.RoundTrip(req)
}

// WrappedRoundTripper lets client-go find the transport below.
func (g *guarded) WrappedRoundTripper() http.RoundTripper { return g.next }

// Dial is how a transport makes its connections.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// GuardDial returns a dialer whose connections send nothing more once the fence is lost. Between this
// and the network there is only the kernel: a request that was on its way through the layers above
// when the process was stopped ends here.
func GuardDial(dial Dial, f Fence) Dial {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if err := f.Lost(); err != nil {
			return nil, err
		}
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &guardedConn{conn, f}, nil
	}
}

type guardedConn struct {
	net.Conn
	fence Fence
}

func (c *guardedConn) Write(p []byte) (int, error) {
	if err := c.fence.Lost(); err != nil {
		_ = c.Close()
		return 0, err
	}
	return c.Conn.Write(p)
}
