package gateway

import (
	"net/http"
	"time"

	"github.com/skerry-dev/skerry/internal/link"
)

// stream sends changes for as long as the connection lasts. The goroutine of the request only waits, and other goroutines
// do the work: it lives as long as its agent is connected, and its stack stays as large as it ever was.
func (g *Gateway) stream(w http.ResponseWriter, r *http.Request, s *session) {
	defer carryStream(r.Context())()
	left := r.Context().Done() // nothing needs the request below, so that it does not stay as long as the stream
	var st *stream
	onNewGoroutine(func() { st = g.startStream(w, r, s) })
	if st == nil {
		return
	}
	defer func() {
		s.agent.endStream(s, st, g.o.Now())
		g.o.OnChange(s.agent.key)
	}()
	onNewGoroutine(func() { g.o.OnChange(s.agent.key) })
	g.setReadDeadline(w, 0) // that of the body would end the connection
	defer g.setReadDeadline(w, readTimeout)
	w.Header().Set("Content-Type", link.ContentType)
	w.Header().Set("X-Accel-Buffering", "no") // nginx would collect frames
	keepAlive := time.NewTimer(0)
	defer keepAlive.Stop()
	for empty := true; ; { // the first frame is, so that the agent knows that the stream is open
		goesOn := false
		onNewGoroutine(func() {
			goesOn = (!empty || g.sendFrame(w, s, link.EmptyFrame())) && g.sendChanges(w, s, st)
		})
		if !goesOn {
			return
		}
		keepAlive.Reset(s.agent.keepAlive())
		select {
		case <-st.wake:
			empty = false
		case <-keepAlive.C:
			empty = true
		case <-left:
			return
		}
	}
}

// onNewGoroutine runs f on a new goroutine, and returns when f has. A goroutine that lives long after that would keep the
// stack that f needs: a stack shrinks only when less than a quarter is in use.
func onNewGoroutine(f func()) {
	done := make(chan any)
	go func() { // ends with f
		defer func() { done <- recover() }()
		f()
	}()
	if failure := <-done; failure != nil {
		panic(failure)
	}
}

// startStream reads what the agent has, and returns a new stream, or nil after it has answered.
func (g *Gateway) startStream(w http.ResponseWriter, r *http.Request, s *session) *stream {
	var hello link.Hello
	if !g.read(r, link.MaxMessage, &hello) {
		refuse(w)
		return nil
	}
	_ = r.Body.Close() // else what it was read into stays as long as the stream
	st := s.agent.startStream(s, hello.Assignment, g.o.Now())
	if st == nil {
		refuse(w)
		return nil
	}
	return st
}

// sendChanges sends what has changed, and reports whether the stream goes on.
func (g *Gateway) sendChanges(w http.ResponseWriter, s *session, st *stream) bool {
	down, last := s.agent.nextFrame(s, st, g.o.Now)
	if down == nil {
		return !last
	}
	g.signDown(s, down)
	frame, err := link.EncodeFrame(down)
	if err != nil {
		g.o.Log.Error(err, "cannot send an Assignment", "cluster", s.agent.key)
		return false
	}
	return g.sendFrame(w, s, frame) && !last
}

// sendFrame sends one frame of a stream. When the session ends meanwhile, what is left and the last frame have a moment:
// an agent whose key is revoked does not keep its stream by not reading it.
func (g *Gateway) sendFrame(w http.ResponseWriter, s *session, frame []byte) bool {
	out := http.NewResponseController(w)
	within := func(d time.Duration) { _ = out.SetWriteDeadline(g.o.Now().Add(d)) } // a recorder of tests has none
	ended := whenDone(s, func() { within(goAwayTimeout) })
	deadline := func() {
		within(writeTimeout)
		if s.isDone() { // after the deadline was set, so that the end of the session is not overwritten
			within(goAwayTimeout)
		}
	}
	err := writeChunks(w, frame, deadline)
	if err == nil {
		deadline()
		err = out.Flush()
	}
	ended()
	_ = out.SetWriteDeadline(time.Time{}) // HTTP/2 would end a stream that is idle
	return err == nil
}

// signDown signs a frame for its session, and its request to finalize with a signature of its own, which agents of the
// first version verify too.
func (g *Gateway) signDown(s *session, d *link.Down) {
	cluster := s.agent.key.String()
	if d.Finalize != "" {
		d.FinalizeSignature = g.sign(link.FinalizeTranscript(g.o.Hub.ID, cluster, s.publicKey, d.Finalize))
	}
	d.Signature = g.sign(link.DownTranscript(g.o.Hub.ID, cluster, s.publicKey, s.nonce, *d))
}

func (a *agent) keepAlive() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.settings().KeepAliveInterval()
}
