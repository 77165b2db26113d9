package gateway

import (
	"net/http"
	"time"

	"github.com/skerry-dev/skerry/internal/link"
)

// stream sends what changes for as long as the connection lasts.
func (g *Gateway) stream(w http.ResponseWriter, r *http.Request, s *session) {
	var hello link.Hello
	if !g.read(r, link.MaxMessage, &hello) {
		refuse(w)
		return
	}
	st := s.agent.attach(s, hello.Assignment, g.o.Now())
	if st == nil {
		refuse(w)
		return
	}
	defer func() {
		s.agent.detach(s, st, g.o.Now())
		g.o.OnChange(s.agent.key)
	}()
	g.o.OnChange(s.agent.key)
	g.setReadDeadline(w, 0) // that of the body would end the connection
	defer g.setReadDeadline(w, readTimeout)
	w.Header().Set("Content-Type", link.ContentType)
	w.Header().Set("X-Accel-Buffering", "no") // nginx would collect frames
	send := func(frame []byte) bool { return g.sendFrame(w, s, frame) }
	if !send(link.EmptyFrame()) { // so that the agent knows that the stream stands
		return
	}
	keepAlive := time.NewTimer(0)
	defer keepAlive.Stop()
	for {
		down, last := s.agent.next(s, st, g.o.Now)
		if down != nil {
			g.signDown(s, down)
			frame, err := link.EncodeFrame(down)
			if err != nil {
				g.o.Log.Error(err, "cannot send an Assignment", "cluster", s.agent.key)
				return
			}
			if !send(frame) {
				return
			}
		}
		if last {
			return
		}
		keepAlive.Reset(s.agent.keepAlive())
		select {
		case <-st.wake:
		case <-keepAlive.C:
			if !send(link.EmptyFrame()) {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

// sendFrame sends one frame of a stream. When the session ends meanwhile, what is left and the last frame have a moment:
// an agent whose key is revoked does not keep its stream by not reading it.
func (g *Gateway) sendFrame(w http.ResponseWriter, s *session, frame []byte) bool {
	out := http.NewResponseController(w)
	within := func(d time.Duration) { _ = out.SetWriteDeadline(g.o.Now().Add(d)) } // a recorder of tests has none
	ended := whenDone(s, func() { within(byeTimeout) })
	deadline := func() {
		within(writeTimeout)
		if s.isDone() { // after the deadline was set, so that the end of the session is not overwritten
			within(byeTimeout)
		}
	}
	err := writeParts(w, frame, deadline)
	if err == nil {
		deadline()
		err = out.Flush()
	}
	ended()
	_ = out.SetWriteDeadline(time.Time{}) // HTTP/2 would end a stream that is idle
	return err == nil
}

// signDown signs a frame for its session, and a request that an agent of the first version is to carry out for itself.
func (g *Gateway) signDown(s *session, d *link.Down) {
	cluster := s.agent.key.String()
	if d.Finalize != "" {
		d.FinalizeSignature = g.sign(link.FinalizeTranscript(g.o.Hub.ID, cluster, s.public, d.Finalize))
	}
	d.Signature = g.sign(link.DownTranscript(g.o.Hub.ID, cluster, s.public, s.nonce, *d))
}

func (a *agent) keepAlive() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.settings().KeepAliveInterval()
}
