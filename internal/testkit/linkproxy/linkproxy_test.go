package linkproxy

import (
	"io"
	"net"
	"testing"
	"time"
)

func echo(t *testing.T) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	p, err := Listen(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// says sends a word and returns whether it comes back in time.
func says(t *testing.T, c net.Conn, patience time.Duration) bool {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte("word")); err != nil {
		return false
	}
	_, err := io.ReadFull(c, make([]byte, 4))
	return err == nil
}

func TestALinkFailsAsItIsTold(t *testing.T) {
	p := echo(t)
	dial := func() net.Conn {
		c, err := net.Dial("tcp", p.Address())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	c := dial()
	if !says(t, c, 5*time.Second) {
		t.Fatal("a whole link lets nothing through")
	}
	if up, down := p.Bytes(); up != 4 || down != 4 {
		t.Errorf("%d bytes up, %d down; want 4 and 4", up, down)
	}
	p.HalfOpen()
	if says(t, c, 50*time.Millisecond) {
		t.Error("a half-open link lets something through")
	}
	p.Heal()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
		t.Errorf("what was sent while the link was half-open does not arrive: %v", err)
	}
	p.Throttle(20)
	began := time.Now()
	if !says(t, c, 5*time.Second) || time.Since(began) < 350*time.Millisecond {
		t.Errorf("four bytes there and back at 20 a second took %s", time.Since(began))
	}
	p.Heal()
	p.Cut()
	if says(t, c, 5*time.Second) || says(t, dial(), 5*time.Second) {
		t.Error("a link that is cut lets something through")
	}
	p.Heal()
	if !says(t, dial(), 5*time.Second) {
		t.Error("a healed link lets nothing through")
	}
}
