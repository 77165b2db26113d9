package gateway

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"slices"
	"sync"

	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/object"
)

// batchSize is how much of a bundle goes into one frame, so that small objects are compressed together.
const batchSize = 64 << 10

// bundle returns a bundle that the Assignment of the Cluster names. It answers itself when there is none.
func (g *Gateway) bundle(ctx context.Context, w http.ResponseWriter, s *session, digest string) *object.Bundle {
	if !s.agent.mayRead(digest) {
		w.WriteHeader(http.StatusNotFound)
		return nil
	}
	b, err := g.o.Bundles.Get(ctx, digest)
	switch {
	case errors.Is(err, fs.ErrNotExist): // it is rendered again
		later(w, http.StatusServiceUnavailable, 2)
		return nil
	case err != nil:
		g.o.Log.Error(err, "cannot serve a bundle", "cluster", s.agent.key)
		later(w, http.StatusServiceUnavailable, unprovenRetry)
		return nil
	}
	return b
}

func (a *agent) mayRead(digest string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.digests[digest]
}

// manifest says what a bundle consists of.
func (g *Gateway) manifest(w http.ResponseWriter, r *http.Request, s *session) {
	end, ok := g.beginDownload(w, s)
	if !ok {
		return
	}
	defer end()
	digest := r.PathValue("digest")
	b := g.bundle(r.Context(), w, s, digest)
	if b == nil {
		return
	}
	m := link.NewManifest(digest, b)
	m.Signature = g.sign(link.BundleTranscript(g.o.Hub.ID, s.agent.key.String(), m))
	g.write(w, m)
}

// objects sends objects of a bundle.
func (g *Gateway) objects(w http.ResponseWriter, r *http.Request, s *session) {
	var want link.Wanted
	if !g.read(r, link.MaxMessage, &want) {
		refuse(w)
		return
	}
	g.setReadDeadline(w, 0) // that of the body would end the connection
	defer g.setReadDeadline(w, readTimeout)
	end, ok := g.beginDownload(w, s)
	if !ok {
		return
	}
	defer end()
	b := g.bundle(r.Context(), w, s, want.Bundle)
	if b == nil {
		return
	}
	list, ok := chosen(b, want)
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	g.send(w, s, list, want.From)
}

// chosen returns the bodies that are wanted, in the order asked for, each once; false when one is not in the bundle.
func chosen(b *object.Bundle, want link.Wanted) ([]body, bool) {
	lines := b.Lines()
	byID := make(map[link.ObjectID][]byte, len(lines))
	all := make(link.ObjectIDs, 0, len(lines))
	for _, line := range lines {
		id := link.IDOf(line)
		byID[id] = line
		all = append(all, id)
	}
	ids := want.Objects
	if len(ids) == 0 {
		ids = all
	}
	var list []body
	listed := make(map[link.ObjectID]bool, len(byID))
	for _, id := range ids {
		data, there := byID[id]
		if !there {
			return nil, false
		}
		if !listed[id] {
			listed[id] = true
			list = append(list, body{id, data})
		}
	}
	return list, want.From >= 0 && (want.From == 0 || len(list) > 0 && want.From <= int64(len(list[0].data)))
}

type body struct {
	id   link.ObjectID
	data []byte
}

// send writes the bodies in chunks, and an empty frame at the end. from is where the first begins. It ends with the
// session.
func (g *Gateway) send(w http.ResponseWriter, s *session, list []body, from int64) {
	out := http.NewResponseController(w)
	ended := whenDone(s, func() { _ = out.SetWriteDeadline(longAgo) })
	defer ended()
	w.Header().Set("Content-Type", link.ContentType)
	w.Header().Set("X-Accel-Buffering", "no")
	flush := func(payload []byte) bool {
		frame, err := link.AppendFrame(nil, payload)
		if err != nil {
			return false
		}
		for part := range slices.Chunk(frame, writePart) {
			_ = out.SetWriteDeadline(g.o.Now().Add(objectTimeout)) // a recorder of tests has none
			if s.isDone() {                                        // after the deadline was set, so that the end of the session is not overwritten
				return false
			}
			if _, err = w.Write(part); err != nil {
				return false
			}
		}
		return out.Flush() == nil
	}
	var batch []byte
	for i, b := range list {
		offset := int64(0)
		if i == 0 {
			offset = from
		}
		for first := true; first || offset < int64(len(b.data)); first = false {
			n := min(int64(len(b.data))-offset, link.MaxChunk)
			batch = link.AppendChunk(batch, link.Chunk{ID: b.id, Size: int64(len(b.data)), Offset: offset, Data: b.data[offset : offset+n]})
			offset += n
			if len(batch) >= batchSize {
				if !flush(batch) {
					return
				}
				batch = batch[:0]
			}
		}
	}
	if len(batch) > 0 && !flush(batch) {
		return
	}
	_, _ = w.Write(link.EmptyFrame()) // an agent that is gone asks again
}

// beginDownload gives an agent one of the places for what is read from the store, or answers itself. end is to be
// called when it returns true.
func (g *Gateway) beginDownload(w http.ResponseWriter, s *session) (end func(), ok bool) {
	if !s.agent.begin(&s.agent.downloads, maxDownloadsEach) {
		later(w, http.StatusTooManyRequests, 1)
		return nil, false
	}
	select {
	case g.limits.downloads <- struct{}{}:
		return func() { <-g.limits.downloads; s.agent.end(&s.agent.downloads) }, true
	default:
		s.agent.end(&s.agent.downloads)
		later(w, http.StatusServiceUnavailable, unprovenRetry)
		return nil, false
	}
}

// isDone reports whether the session has ended.
func (s *session) isDone() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// whenDone calls f when the session ends. After stop has returned, f is not called any more.
func whenDone(s *session, f func()) (stop func()) {
	stopped := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { // ends with stop
		select {
		case <-s.done:
			f()
		case <-stopped:
		}
	})
	return func() { close(stopped); watch.Wait() }
}
