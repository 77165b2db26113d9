package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io/fs"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/object"
)

// batchSize is how much of a bundle goes into one frame, so that small objects are compressed together.
const batchSize = 64 << 10

// unavailable is an answer without a body: a status, and when to ask again, in seconds, unless it is 0.
type unavailable struct{ status, retryAfter int }

func (u unavailable) answer(w http.ResponseWriter) {
	if u.retryAfter > 0 {
		later(w, u.status, u.retryAfter)
		return
	}
	w.WriteHeader(u.status)
}

// bundle reads a bundle. The error is one of the answers.
func (g *Gateway) bundle(ctx context.Context, s *session, digest string) (*object.Bundle, *unavailable) {
	b, err := g.o.Bundles.Get(ctx, digest)
	switch {
	case errors.Is(err, fs.ErrNotExist): // it is rendered again
		return nil, &unavailable{http.StatusServiceUnavailable, 2}
	case err != nil:
		g.o.Log.Error(err, "cannot serve a bundle", "cluster", s.agent.key)
		return nil, &unavailable{http.StatusServiceUnavailable, unprovenRetry}
	}
	return b, nil
}

// mayRead reports whether the Assignment of the Cluster names a bundle.
func (a *agent) mayRead(digest string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, named := slices.BinarySearch(a.bundles, digest)
	return named
}

// manifest says what a bundle consists of.
func (g *Gateway) manifest(w http.ResponseWriter, r *http.Request, s *session) {
	if !s.agent.begin(&s.agent.downloads, maxDownloadsEach) {
		later(w, http.StatusTooManyRequests, 1)
		return
	}
	defer s.agent.end(&s.agent.downloads)
	m, no := g.makeManifest(r.Context(), s, r.PathValue("digest"))
	if no != nil {
		no.answer(w)
		return
	}
	g.write(w, m)
}

func (g *Gateway) makeManifest(ctx context.Context, s *session, digest string) (link.Manifest, *unavailable) {
	if !s.agent.mayRead(digest) {
		return link.Manifest{}, &unavailable{status: http.StatusNotFound}
	}
	if m, ok := g.made.manifest(digest, g.o.Now()); ok {
		return g.signManifest(s, m), nil
	}
	leave, no := g.beginReading(ctx, s)
	if no != nil {
		return link.Manifest{}, no
	}
	defer leave()
	b, no := g.bundle(ctx, s, digest)
	if no != nil {
		return link.Manifest{}, no
	}
	m := link.NewManifest(digest, b)
	g.made.putManifest(m, g.o.Now())
	return g.signManifest(s, m), nil
}

// signManifest returns the manifest for the agent of a session; the one that it is given is for all.
func (g *Gateway) signManifest(s *session, m link.Manifest) link.Manifest {
	m.Signature = g.sign(link.BundleTranscript(g.o.Hub.ID, s.agent.key.String(), m))
	return m
}

// beginReading gives a download one of the places for reading the store, in its turn. leave is to be called when the
// bundle that was read is not needed any more, and before what was made of it is sent: a peer takes its time for that.
func (g *Gateway) beginReading(ctx context.Context, s *session) (leave func(), no *unavailable) {
	waited := time.NewTimer(readingWait)
	defer waited.Stop()
	select {
	case g.limits.reading <- struct{}{}:
		return func() { <-g.limits.reading }, nil
	case <-waited.C:
	case <-ctx.Done():
	case <-s.done:
	}
	return nil, &unavailable{http.StatusServiceUnavailable, unprovenRetry}
}

// objects sends objects of a bundle, window by window: each is made while the bundle is in memory, and sent after that.
func (g *Gateway) objects(w http.ResponseWriter, r *http.Request, s *session) {
	var want link.Wanted
	if !g.read(r, link.MaxMessage, &want) {
		refuse(w)
		return
	}
	g.setReadDeadline(w, 0) // that of the body would end the connection
	defer g.setReadDeadline(w, readTimeout)
	if !s.agent.begin(&s.agent.downloads, maxDownloadsEach) {
		later(w, http.StatusTooManyRequests, 1)
		return
	}
	defer s.agent.end(&s.agent.downloads)
	if !s.agent.mayRead(want.Bundle) {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	ended := whenDone(s, func() { _ = http.NewResponseController(w).SetWriteDeadline(longAgo) })
	defer ended()
	d := newDownload(want)
	for begun := false; !d.ended; begun = true {
		no, err := g.sendWindow(w, r, s, d)
		if no != nil && !begun {
			no.answer(w)
		}
		if no != nil || err != nil { // without the empty frame, the agent notices that it was cut off, and asks for the rest
			return
		}
	}
}

// sendWindow makes and sends what comes next of a download.
func (g *Gateway) sendWindow(w http.ResponseWriter, r *http.Request, s *session, d *download) (*unavailable, error) {
	frames, sent, no := g.makeWindow(r.Context(), s, d)
	if no != nil {
		return no, nil
	}
	defer sent()
	w.Header().Set("Content-Type", link.ContentType)
	w.Header().Set("X-Accel-Buffering", "no")
	out := http.NewResponseController(w)
	deadline := func() {
		_ = out.SetWriteDeadline(g.o.Now().Add(objectTimeout)) // a recorder of tests has none
		if s.isDone() {                                        // after the deadline was set, so that the end of the session is not overwritten
			_ = out.SetWriteDeadline(longAgo)
		}
	}
	if err := writeParts(w, frames, deadline); err != nil {
		return nil, err
	}
	return nil, out.Flush()
}

// makeWindow makes the next frames of a download, or takes those that were made for another agent; they must not be
// changed. sent is to be called when they are.
func (g *Gateway) makeWindow(ctx context.Context, s *session, d *download) (frames []byte, sent func(), no *unavailable) {
	if frames, sent = g.takeMade(d); frames != nil {
		return frames, sent, nil
	}
	leave, no := g.beginReading(ctx, s)
	if no != nil {
		return nil, nil, no
	}
	defer leave()
	if frames, sent = g.takeMade(d); frames != nil { // while this one waited for its turn
		return frames, sent, nil
	}
	b, no := g.bundle(ctx, s, d.want.Bundle)
	if no != nil {
		return nil, nil, no
	}
	list, ok := chosen(b, d.want)
	if !ok {
		return nil, nil, &unavailable{status: http.StatusNotFound}
	}
	size := g.limits.windows.take()
	at := d.position
	frames, err := d.next(list, size)
	if err != nil {
		g.limits.windows.give(size)
		g.o.Log.Error(err, "cannot serve a bundle", "cluster", s.agent.key)
		return nil, nil, &unavailable{http.StatusServiceUnavailable, unprovenRetry}
	}
	g.made.putWindow(windowKey{d.asked, at, size}, window{frames, d.position}, g.o.Now())
	return frames, func() { g.limits.windows.give(size) }, nil
}

// takeMade returns the next frames of a download if they were made for another one, and moves on; nil else. They count as
// what was made for this one: they stay in memory until they are sent.
func (g *Gateway) takeMade(d *download) (frames []byte, sent func()) {
	size := g.limits.windows.take()
	w, ok := g.made.window(windowKey{d.asked, d.position, size}, g.o.Now())
	if !ok {
		g.limits.windows.give(size)
		return nil, nil
	}
	d.position = w.next
	return w.frames, func() { g.limits.windows.give(size) }
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

// download is how far objects are that are on their way to an agent.
type download struct {
	want  link.Wanted
	asked [sha256.Size]byte // stands for want
	position
}

// position is a place in what is wanted.
type position struct {
	object int   // of those wanted: the one that comes next
	offset int64 // in its body
	ended  bool  // the empty frame was made
}

func newDownload(want link.Wanted) *download {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(want.Bundle)))) // a digest takes everything
	h.Write([]byte(want.Bundle))
	for _, id := range want.Objects {
		h.Write(id[:])
	}
	return &download{want: want, asked: [sha256.Size]byte(h.Sum(nil)), position: position{offset: want.From}}
}

// next returns the next frames of the bodies that are wanted, in chunks, and moves on: size bytes of them, and at the most
// as many again where they cannot be compressed. After the last body comes an empty frame.
func (d *download) next(list []body, size int) (frames []byte, err error) {
	limit := min(batchSize, size/2)
	var batch []byte
	for d.object < len(list) && len(frames) < size {
		b := list[d.object]
		n := min(int64(len(b.data))-d.offset, link.MaxChunk, int64(size/2))
		batch = link.AppendChunk(batch, link.Chunk{ID: b.id, Size: int64(len(b.data)), Offset: d.offset, Data: b.data[d.offset : d.offset+n]})
		if d.offset += n; d.offset == int64(len(b.data)) {
			d.object, d.offset = d.object+1, 0
		}
		if len(batch) >= limit {
			if frames, err = link.AppendFrame(frames, batch); err != nil {
				return nil, err
			}
			batch = batch[:0]
		}
	}
	if len(batch) > 0 {
		if frames, err = link.AppendFrame(frames, batch); err != nil {
			return nil, err
		}
	}
	if d.object == len(list) {
		d.ended, frames = true, append(frames, link.EmptyFrame()...)
	}
	return frames, nil
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
