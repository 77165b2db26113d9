package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/skerry-dev/skerry/internal/link"
)

// dial opens a connection to the gateway, over which HTTP/1.1 is spoken by hand.
func (r *rig) dial() *tls.Conn {
	r.t.Helper()
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: r.roots, ServerName: link.ServerName, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}}}
	c, err := dialer.DialContext(r.t.Context(), "tcp", strings.TrimPrefix(r.base, "https://"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	return c.(*tls.Conn)
}

func (r *rig) say(c net.Conn, format string, args ...any) {
	r.t.Helper()
	if _, err := fmt.Fprintf(c, format, args...); err != nil {
		r.t.Fatal(err)
	}
}

// TestStrangersThatSendNothingKeepNobodyOut: more than are judged at a time begin a message and leave it at that.
func TestStrangersThatSendNothingKeepNobodyOut(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	for range maxUnproven + 1 {
		r.say(r.dial(), "POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n\x00", link.SessionPath)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		r.gateway.limits.readers.mu.Lock()
		n := r.gateway.limits.readers.order.Len()
		r.gateway.limits.readers.mu.Unlock()
		if n == maxUnproven+1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d messages are being read", n)
		}
		time.Sleep(time.Millisecond)
	}
	p.welcome()
}

// TestOfTooManyReadersTheEarliestIsEnded, and nothing is ended that has left.
func TestOfTooManyReadersTheEarliestIsEnded(t *testing.T) {
	r := newReaders(2)
	var ended []string
	enter := func(name string) func() { return r.enter(func() { ended = append(ended, name) }) }
	leaveA, leaveB := enter("a"), enter("b")
	leaveC := enter("c")
	leaveB()
	leaveA()
	leaveD, leaveE := enter("d"), enter("e")
	for _, leave := range []func(){leaveC, leaveD, leaveE} {
		leave()
	}
	if got := strings.Join(ended, " "); got != "a c" || r.order.Len() != 0 {
		t.Errorf("ended %s, and %d are left", got, r.order.Len())
	}
}

// TestAConnectionThatProvesNothingIsClosed; one that has proven a key stands.
func TestAConnectionThatProvesNothingIsClosed(t *testing.T) {
	inner, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := strangers{inner, time.Hour}
	t.Cleanup(func() { _ = l.Close() })
	accept := func() (*stranger, net.Conn) {
		theirs, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = theirs.Close() })
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c.(*stranger), theirs
	}
	proven, _ := accept()
	markProven(withStranger(t.Context(), tls.Server(proven, &tls.Config{MinVersion: tls.VersionTLS13})))
	if proven.timer.Stop() {
		t.Error("the connection of an agent would be closed")
	}
	gone, _ := accept()
	_ = gone.Close()
	if gone.timer.Stop() {
		t.Error("a connection that has ended is remembered")
	}
	l.life = time.Millisecond
	_, theirs := accept()
	_ = theirs.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := theirs.Read(make([]byte, 1)); !isEnd(err) {
		t.Errorf("the connection of a stranger: %v", err)
	}
}

func isEnd(err error) bool {
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

// TestABodyThatNobodyReadsHasADeadline: the server itself reads it, to the end of the request.
func TestABodyThatNobodyReadsHasADeadline(t *testing.T) {
	r := newRig(t)
	c := r.dial()
	r.mu.Lock()
	r.skew = time.Second - readTimeout
	r.mu.Unlock()
	r.say(c, "GET /v1/bundles/x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n")
	in := bufio.NewReader(c)
	res, err := http.ReadResponse(in, nil)
	if err == nil {
		_ = res.Body.Close()
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := in.ReadByte(); !isEnd(err) {
		t.Errorf("the connection stands: %v", err)
	}
}

// TestRequestsOfOneAgentAreBounded, over all of its sessions.
func TestRequestsOfOneAgentAreBounded(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	b := configMaps(t, 1, 10)
	r.bundles[b.Digest()] = b
	r.assign(edgeKey, 1, entry("apps", b.Digest()))
	p.welcome()
	a := r.gateway.agentOf(edgeKey)
	for range maxRequestsEach {
		if !a.begin(&a.requests, maxRequestsEach) {
			t.Fatal("fewer requests than the limit")
		}
	}
	p.welcome() // another session
	if status, _ := p.raw(http.MethodPost, link.ReportPath, encode(t, link.Up{})); status != http.StatusTooManyRequests {
		t.Errorf("one more than the limit: %d", status)
	}
	a.end(&a.requests)
	p.up(link.Up{})
	a.settles(t, &a.requests, maxRequestsEach-1)
	for range maxDownloadsEach {
		a.begin(&a.downloads, maxDownloadsEach)
	}
	p.welcome()
	if _, status := p.download(t, link.Wanted{Bundle: b.Digest()}); status != http.StatusTooManyRequests {
		t.Errorf("one more download than the limit: %d", status)
	}
	a.end(&a.downloads)
	if _, status := p.download(t, link.Wanted{Bundle: b.Digest()}); status != http.StatusOK {
		t.Errorf("a download within the limit: %d", status)
	}
	a.settles(t, &a.downloads, maxDownloadsEach-1)
	for range maxDownloads {
		r.gateway.limits.downloads <- struct{}{}
	}
	if status, _ := p.raw(http.MethodGet, link.BundlesPath+b.Digest(), nil); status != http.StatusServiceUnavailable {
		t.Errorf("a manifest while all places are taken: %d", status)
	}
	a.settles(t, &a.downloads, maxDownloadsEach-1)
}

// settles waits until a count of what is under way is what it is to be: an answer arrives before its request has ended.
func (a *agent) settles(t *testing.T, count *int, want int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		a.mu.Lock()
		got := *count
		a.mu.Unlock()
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d are counted, want %d", got, want)
		}
	}
}

// TestADownloadEndsWithItsSession, also one that nobody reads.
func TestADownloadEndsWithItsSession(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/2": true, "HTTP/1.1": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			p := r.joined()
			if !http2 {
				p.client = &http.Client{Transport: &http.Transport{
					TLSClientConfig: &tls.Config{RootCAs: r.roots, ServerName: link.ServerName, MinVersion: tls.VersionTLS13},
					DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
						c, err := (&net.Dialer{}).DialContext(ctx, network, address)
						if tcp, ok := c.(*net.TCPConn); ok {
							err = errors.Join(err, tcp.SetReadBuffer(4096)) // the system would take all of it
						}
						return c, err
					},
				}}
			}
			b := configMaps(t, 40, 400_000) // more than what is buffered on the way
			r.bundles[b.Digest()] = b
			r.assign(edgeKey, 1, entry("apps", b.Digest()))
			p.welcome()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.base+link.ObjectsPath, bytes.NewReader(encode(t, link.Wanted{Bundle: b.Digest()})))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+p.token)
			res, err := p.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if n := len(r.gateway.limits.downloads); n != 1 {
				t.Fatalf("%d downloads are under way", n)
			}
			p.welcome() // the agent is back, on another connection
			for deadline := time.Now().Add(10 * time.Second); len(r.gateway.limits.downloads) > 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the download goes on")
				}
			}
			if got, err := io.ReadAll(res.Body); err == nil && bytes.HasSuffix(got, link.EmptyFrame()) {
				t.Errorf("the download was not cut off: %d bytes came", len(got))
			}
		})
	}
}
