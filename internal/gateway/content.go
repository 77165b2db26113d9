package gateway

import (
	"context"
	"errors"
	"io/fs"
	"net/http"

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
	if !g.read(w, r, link.MaxMessage, &want) {
		refuse(w)
		return
	}
	if !s.agent.beginDownload(s) {
		later(w, http.StatusTooManyRequests, 1)
		return
	}
	defer s.agent.endDownload(s)
	select {
	case g.limits.downloads <- struct{}{}:
		defer func() { <-g.limits.downloads }()
	default:
		later(w, http.StatusServiceUnavailable, unprovenRetry)
		return
	}
	b := g.bundle(r.Context(), w, s, want.Bundle)
	if b == nil {
		return
	}
	list, ok := chosen(b, want)
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	g.send(w, list, want.From)
}

// chosen returns the bodies that are wanted, in the order asked for, each once; false when one is not in the bundle.
func chosen(b *object.Bundle, want link.Wanted) ([]body, bool) {
	byID := make(map[link.ObjectID][]byte, len(b.Objects))
	all := make(link.ObjectIDs, 0, len(b.Objects))
	for i := range b.Objects {
		id := link.IDOf(b.Objects[i].Body)
		byID[id] = b.Objects[i].Body
		all = append(all, id)
	}
	ids := want.Objects
	if len(ids) == 0 {
		ids = all
	}
	var list []body
	for _, id := range ids {
		data, there := byID[id]
		if !there {
			if sent(list, id) {
				continue
			}
			return nil, false
		}
		delete(byID, id)
		list = append(list, body{id, data})
	}
	return list, want.From >= 0 && (want.From == 0 || len(list) > 0 && want.From <= int64(len(list[0].data)))
}

type body struct {
	id   link.ObjectID
	data []byte
}

func sent(list []body, id link.ObjectID) bool {
	for _, b := range list {
		if b.id == id {
			return true
		}
	}
	return false
}

// send writes the bodies in chunks, and an empty frame at the end. from is where the first begins.
func (g *Gateway) send(w http.ResponseWriter, list []body, from int64) {
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", link.ContentType)
	w.Header().Set("X-Accel-Buffering", "no")
	flush := func(payload []byte) bool {
		frame, err := link.AppendFrame(nil, payload)
		if err != nil {
			return false
		}
		_ = out.SetWriteDeadline(g.o.Now().Add(objectTimeout)) // a recorder of tests has none
		_, err = w.Write(frame)
		return err == nil && out.Flush() == nil
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

func (a *agent) beginDownload(s *session) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.ended || s.downloads >= maxDownloadsEach {
		return false
	}
	s.downloads++
	return true
}

func (a *agent) endDownload(s *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s.downloads--
}
