package gateway

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/link"
)

// dial opens a connection to the gateway, over which HTTP/1.1 is spoken by hand.
func (r *rig) dial() *tls.Conn {
	r.t.Helper()
	over, err := r.connectTo(r.t.Context(), "tcp", strings.TrimPrefix(r.base, "https://"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = over.Close() })
	c := tls.Client(over, &tls.Config{RootCAs: r.roots, ServerName: link.ServerName, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}})
	if err := c.HandshakeContext(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) say(c net.Conn, format string, args ...any) {
	r.t.Helper()
	if _, err := fmt.Fprintf(c, format, args...); err != nil {
		r.t.Fatal(err)
	}
}

// TestUnauthenticatedCallersThatSendNothingDoNotLockAgentsOut: more callers than are admitted at a time begin a message, and
// send no more of it.
func TestUnauthenticatedCallersThatSendNothingDoNotLockAgentsOut(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		p := r.joined()
		for range maxUnauthenticatedRequests + 1 {
			r.say(r.dial(), "POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n\x00", link.SessionPath)
		}
		synctest.Wait()
		r.gateway.limits.readers.mu.Lock()
		n := r.gateway.limits.readers.order.Len()
		r.gateway.limits.readers.mu.Unlock()
		if n != maxUnauthenticatedRequests+1 {
			t.Fatalf("%d messages are being read", n)
		}
		p.welcome()
	})
}

// TestEarliestReaderIsAbortedAboveTheLimit, and none that is done.
func TestEarliestReaderIsAbortedAboveTheLimit(t *testing.T) {
	r := newReaders(2)
	var ended []string
	enter := func(name string) func() { return r.add(func() { ended = append(ended, name) }) }
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

func isEnd(err error) bool {
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

// TestUnreadBodyHasADeadline: net/http reads what no handler has read, to the end of the request.
func TestUnreadBodyHasADeadline(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		c := r.dial()
		r.say(c, "GET /v1/bundles/x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n")
		in := bufio.NewReader(c)
		res, err := http.ReadResponse(in, nil)
		if err == nil {
			_ = res.Body.Close()
		}
		_ = c.SetReadDeadline(time.Now().Add(readTimeout))
		if _, err := in.ReadByte(); !isEnd(err) {
			t.Errorf("the connection stands: %v", err)
		}
	})
}

// TestRequestsOfOneAgentAreBounded, over all of its sessions.
func TestRequestsOfOneAgentAreBounded(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		p := r.joined()
		b := configMaps(t, 1, 10)
		r.bundles[b.Digest()] = b
		r.assign(edgeKey, 1, entry("apps", b.Digest()))
		p.welcome()
		a := r.gateway.agentOf(edgeKey)
		for range maxRequestsEach {
			if !a.acquire(&a.requests, maxRequestsEach) {
				t.Fatal("fewer requests than the limit")
			}
		}
		p.welcome() // another session
		if status, _ := p.raw(http.MethodPost, link.ReportPath, encode(t, link.Up{})); status != http.StatusTooManyRequests {
			t.Errorf("one more than the limit: %d", status)
		}
		a.release(&a.requests)
		p.up(link.Up{})
		a.settles(t, &a.requests, maxRequestsEach-1)
		for range maxDownloadsEach {
			a.acquire(&a.downloads, maxDownloadsEach)
		}
		p.welcome()
		if _, status := p.download(t, link.Wanted{Bundle: b.Digest()}); status != http.StatusTooManyRequests {
			t.Errorf("one more download than the limit: %d", status)
		}
		a.release(&a.downloads)
		if _, status := p.download(t, link.Wanted{Bundle: b.Digest()}); status != http.StatusOK {
			t.Errorf("a download within the limit: %d", status)
		}
		a.settles(t, &a.downloads, maxDownloadsEach-1)
	})
}

// settles waits for all that can happen now, and holds a count of what is under way: an answer arrives before its request
// has ended.
func (a *agent) settles(t *testing.T, count *int, want int) {
	t.Helper()
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	if *count != want {
		t.Fatalf("%d are counted, want %d", *count, want)
	}
}

// TestADownloadEndsWithItsSession, also one that its agent does not read.
func TestADownloadEndsWithItsSession(t *testing.T) {
	for name, tt := range map[string]struct {
		http2  bool
		within time.Duration
	}{
		"HTTP/2":   {true, time.Second},
		"HTTP/1.1": {false, 6 * time.Second}, // of which TLS tries for five to send its last alert
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, r *rig) {
				p := r.joined()
				if !tt.http2 {
					transport := &http.Transport{DialContext: r.connectTo, TLSClientConfig: &tls.Config{RootCAs: r.roots, ServerName: link.ServerName, MinVersion: tls.VersionTLS13}}
					t.Cleanup(transport.CloseIdleConnections)
					p.client = &http.Client{Transport: transport}
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
				a := r.gateway.agentOf(edgeKey)
				a.settles(t, &a.downloads, 1)
				p.welcome() // the agent is back, on another connection
				time.Sleep(tt.within)
				a.settles(t, &a.downloads, 0)
				if got, err := io.ReadAll(res.Body); err == nil && bytes.HasSuffix(got, link.EmptyFrame()) {
					t.Errorf("the download was not cut off: %d bytes came", len(got))
				}
			})
		})
	}
}

// slowPeer is an agent of its own Cluster whose client reads no more than it is asked to.
func (r *rig) slowPeer(i int, digest string) *peer {
	r.t.Helper()
	p, k := r.peer(), key(i)
	p.cluster, p.who.ClusterUID = k.String(), k.Name
	transport := p.client.Transport.(*http.Transport)
	transport.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerConnection: 64 << 10, MaxReceiveBufferPerStream: 64 << 10}
	r.add(k, func(a *v1alpha1.Agent) { a.PublicKey = link.EncodeKey(p.public()) })
	r.assign(k, 1, entry("apps", digest))
	p.welcome()
	return p
}

// begin sends a request, and reads nothing of the answer but its head.
func (p *peer) begin(path string, message any) *http.Response {
	p.r.t.Helper()
	req, err := http.NewRequestWithContext(p.r.t.Context(), http.MethodPost, p.r.base+path, bytes.NewReader(encode(p.r.t, message)))
	if err != nil {
		p.r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	res, err := p.client.Do(req)
	if err != nil {
		p.r.t.Fatal(err)
	}
	p.r.t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		p.r.t.Fatalf("%s: %s", path, res.Status)
	}
	return res
}

// TestSlowDownloadsDoNotDelayOthers: more agents than may read at a time begin a download, and read nothing of it.
func TestSlowDownloadsDoNotDelayOthers(t *testing.T) {
	inBubble(t, func(g *Gateway) { g.limits.reading = make(chan struct{}, 1) }, func(t *testing.T, r *rig) {
		large, small := configMaps(t, 40, 50_000), configMaps(t, 3, 50)
		r.bundles[large.Digest()], r.bundles[small.Digest()] = large, small
		var answers []*http.Response
		for i := range 4 {
			answers = append(answers, r.slowPeer(i, large.Digest()).begin(link.ObjectsPath, link.Wanted{Bundle: large.Digest()})) //nolint:bodyclose // begin closes it in the end
		}
		p := r.slowPeer(9, small.Digest())
		p.client.Timeout = time.Minute
		if got, status := p.download(t, link.Wanted{Bundle: small.Digest()}); status != http.StatusOK || len(got) != 3 {
			t.Errorf("the download of another agent: %d, %d objects", status, len(got))
		}
		for _, res := range answers { // they get all of it in the end, at their own pace
			got, err := io.ReadAll(res.Body)
			if err != nil || !bytes.HasSuffix(got, link.EmptyFrame()) {
				t.Errorf("a slow download: %d bytes, %v", len(got), err)
			}
		}
		synctest.Wait()
		windows := &r.gateway.limits.windows
		windows.mu.Lock()
		defer windows.mu.Unlock()
		if windows.left != maxWindows {
			t.Errorf("%d bytes are left of the windows", windows.left)
		}
	})
}

func TestWindowSizeShrinksWithWhatIsLeft(t *testing.T) {
	for _, tt := range []struct{ left, want int }{
		{maxWindows, maxWindow},
		{16 * maxWindow, maxWindow},
		{16*maxWindow - 1, maxWindow / 2},
		{1 << 20, 64 << 10},
		{16 * minWindow, minWindow},
		{0, minWindow},
		{-80 << 20, minWindow},
	} {
		if got := windowSize(tt.left); got != tt.want {
			t.Errorf("%d bytes left: a window of %d, want %d", tt.left, got, tt.want)
		}
	}
}

// TestWindowsShrinkAndAreBounded.
func TestWindowsShrinkAndAreBounded(t *testing.T) {
	w := windowBudget{left: maxWindows}
	const agents = 20_000
	var taken []int
	sum := 0
	for range agents {
		size := w.acquire()
		taken, sum = append(taken, size), sum+size
	}
	if taken[0] != maxWindow || taken[agents-1] != minWindow || !slices.IsSortedFunc(taken, func(a, b int) int { return b - a }) {
		t.Errorf("windows of %d to %d bytes", taken[0], taken[agents-1])
	}
	if limit := maxWindows + agents*minWindow; sum > limit {
		t.Errorf("%d bytes in sum, and at most %d", sum, limit)
	}
	for _, size := range taken {
		w.release(size)
	}
	if w.left != maxWindows {
		t.Errorf("%d bytes are left", w.left)
	}
}

// TestADownloadIsTheSameInWindowsOfAnySize, from any byte on, and no window is much larger than it is to be.
func TestADownloadIsTheSameInWindowsOfAnySize(t *testing.T) {
	list := make([]body, 0, 8)
	for _, size := range []int{0, 1, 300, 70_000, link.MaxChunk, 0, 5, 200_000} {
		data := randomBytes(t, size)
		list = append(list, body{link.ObjectID{byte(len(list))}, data})
	}
	for _, size := range []int{minWindow, 20_000, maxWindow} {
		for _, from := range []int64{0, 1, 299, 300} {
			d := &download{position: position{offset: from, object: 2}}
			got := map[link.ObjectID][]byte{}
			for !d.ended {
				frames, err := d.next(list, size)
				if err != nil {
					t.Fatal(err)
				}
				if len(frames) > 2*size+100 {
					t.Errorf("a window of %d bytes for %d", len(frames), size)
				}
				collect(t, frames, got)
			}
			for i, b := range list[2:] {
				want := b.data
				if i == 0 {
					want = b.data[from:]
				}
				if have, came := got[b.id]; !came || !bytes.Equal(have, want) {
					t.Errorf("windows of %d from %d: object %d has %d bytes, want %d", size, from, i+2, len(have), len(want))
				}
			}
		}
	}
}

// collect adds the chunks of some frames to what is there.
func collect(t *testing.T, frames []byte, got map[link.ObjectID][]byte) {
	t.Helper()
	for in := bytes.NewReader(frames); in.Len() > 0; {
		payload, err := link.ReadFrame(in, link.MaxMessage)
		if err != nil {
			t.Fatal(err)
		}
		chunks, err := link.ParseChunks(payload)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range chunks {
			got[c.ID] = append(got[c.ID], c.Data...)
		}
	}
}

// TestAStreamThatNobodyReadsEndsWithItsKey: as one that is read does, and not when the write that nobody reads times
// out.
func TestAStreamThatNobodyReadsEndsWithItsKey(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		p := r.slowPeer(1, "sha256:1")
		large := entry("apps", "sha256:1")
		for range 4 {
			large.KeepFor = append(large.KeepFor, fmt.Sprintf("%x", randomBytes(t, 500_000))) // more than what is buffered on the way
		}
		r.assign(key(1), 2, large)
		p.begin(link.StreamPath, link.Hello{}) //nolint:bodyclose // begin closes it in the end
		a := r.gateway.agentOf(key(1))
		a.settles(t, &a.requests, 1)
		r.change(key(1), func(c *v1alpha1.Cluster) { c.Spec.Agent.PublicKey = "" })
		time.Sleep(time.Second)
		a.settles(t, &a.requests, 0)
	})
}

// TestAnAgentThatSaysAnotherThingEachTimeCostsFewWrites: each state of its cluster or its disk that is shown is one of the
// Cluster. The last is shown all the same, and a real agent's changes are at once.
func TestAnAgentThatSaysAnotherThingEachTimeCostsFewWrites(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		p := r.joined()
		p.welcome()
		p.stream(link.Have{})
		shown, last := 0, ""
		look := func() {
			if state, _ := r.gateway.State(edgeKey); state.Message+state.Agent.DiskMessage != last {
				shown, last = shown+1, state.Message+state.Agent.DiskMessage
			}
		}
		for i := range reportBurst {
			up := link.Up{Seq: uint64(i + 1), Disk: &link.Disk{Reason: "DiskFull", Message: fmt.Sprint(i)}}
			if i%2 == 0 {
				up = link.Up{Seq: uint64(i + 1), State: &link.State{Reachable: true, Usable: false, Reason: "Failed", Message: fmt.Sprint(i)}}
			}
			p.up(up)
			look()
			if i < stateBurst && shown != i+1 {
				t.Errorf("change %d is not shown at once", i)
			}
		}
		if shown > stateBurst+1 {
			t.Errorf("%d of %d changes are shown at once", shown, reportBurst)
		}
		r.pass(stateEvery)
		look()
		if want := fmt.Sprint(reportBurst-2, reportBurst-1); last != strings.ReplaceAll(want, " ", "") {
			t.Errorf("at last it shows %q, and not %s", last, want)
		}
		status := http.StatusOK
		for range requestBurst - 1 { // fewer than all of its requests
			if status, _ = p.raw("POST", link.ReportPath, encode(t, link.Up{})); status != http.StatusOK {
				break
			}
		}
		if status == http.StatusOK {
			t.Error("it may report as often as it likes")
		}
	})
}

// writes records how long each is.
type writes struct {
	http.ResponseWriter
	lengths []int
}

func (w *writes) Write(p []byte) (int, error) {
	w.lengths = append(w.lengths, len(p))
	return len(p), nil
}

// TestWritesFitTheBufferOfNetHTTP: a longer write becomes a longer frame, and the connection keeps a buffer for it.
func TestWritesFitTheBufferOfNetHTTP(t *testing.T) {
	for _, n := range []int{0, 100, maxDataFrame, writeChunk + maxDataFrame + 1, 100_000} {
		w, deadlines := &writes{}, 0
		if err := writeChunks(w, make([]byte, n), func() { deadlines++ }); err != nil {
			t.Fatal(err)
		}
		sum := 0
		for _, length := range w.lengths {
			if sum += length; length > 4<<10 {
				t.Errorf("of %d bytes, %d were written at a time", n, length)
			}
		}
		if want := (n + writeChunk - 1) / writeChunk; sum != n || deadlines != want {
			t.Errorf("of %d bytes, %d were written, with %d deadlines of %d", n, sum, deadlines, want)
		}
	}
}
