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
	out := http.NewResponseController(w)
	g.setReadDeadline(w, 0) // that of the body would end the connection
	defer g.setReadDeadline(w, readTimeout)
	w.Header().Set("Content-Type", link.ContentType)
	w.Header().Set("X-Accel-Buffering", "no") // nginx would collect frames
	send := func(frame []byte) bool {
		err := g.writeAll(w, frame)
		if err == nil {
			err = out.Flush()
		}
		_ = out.SetWriteDeadline(time.Time{}) // HTTP/2 would end a stream that is idle
		return err == nil
	}
	if !send(link.EmptyFrame()) { // so that the agent knows that the stream stands
		return
	}
	keepAlive := time.NewTimer(0)
	defer keepAlive.Stop()
	for {
		down, last := s.agent.next(s, st)
		if down != nil {
			if down.Finalize != "" {
				down.FinalizeSignature = g.sign(link.FinalizeTranscript(g.o.Hub.ID, s.agent.key.String(), s.public, down.Finalize))
			}
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

func (a *agent) keepAlive() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.settings().KeepAliveInterval()
}
