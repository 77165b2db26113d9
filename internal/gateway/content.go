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

// unavailable is an answer without a body: an HTTP status, and Retry-After in seconds, unless it is 0.
type unavailable struct{ status, retryAfter int }

func (u unavailable) answer(w http.ResponseWriter) {
	if u.retryAfter > 0 {
		retryLater(w, u.status, u.retryAfter)
		return
	}
	w.WriteHeader(u.status)
}

// bundle reads a bundle, or returns the answer to a request for it.
func (g *Gateway) bundle(ctx context.Context, s *session, digest string) (*object.Bundle, *unavailable) {
	b, err := g.o.Bundles.Get(ctx, digest)
	switch {
	case errors.Is(err, fs.ErrNotExist): // it is rendered again
		return nil, &unavailable{http.StatusServiceUnavailable, 2}
	case err != nil:
		g.o.Log.Error(err, "cannot serve a bundle", "cluster", s.agent.key)
		return nil, &unavailable{http.StatusServiceUnavailable, busyRetryAfter}
	}
	return b, nil
}

// mayDownload reports whether the Assignment of the Cluster names a bundle.
func (a *agent) mayDownload(digest string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, named := slices.BinarySearch(a.bundles, digest)
	return named
}

// manifest answers with the manifest of a bundle.
func (g *Gateway) manifest(w http.ResponseWriter, r *http.Request, s *session) {
	if !s.agent.acquire(&s.agent.downloads, maxDownloadsEach) {
		retryLater(w, http.StatusTooManyRequests, 1)
		return
	}
	defer s.agent.release(&s.agent.downloads)
	m, refused := g.makeManifest(r.Context(), s, r.PathValue("digest"))
	if refused != nil {
		refused.answer(w)
		return
	}
	g.write(w, m)
}

func (g *Gateway) makeManifest(ctx context.Context, s *session, digest string) (link.Manifest, *unavailable) {
	if !s.agent.mayDownload(digest) {
		return link.Manifest{}, &unavailable{status: http.StatusNotFound}
	}
	if m, ok := g.cache.manifest(digest, g.o.Now()); ok {
		return g.signManifest(s, m), nil
	}
	release, refused := g.acquireRead(ctx, s)
	if refused != nil {
		return link.Manifest{}, refused
	}
	defer release()
	b, refused := g.bundle(ctx, s, digest)
	if refused != nil {
		return link.Manifest{}, refused
	}
	m := link.NewManifest(digest, b)
	g.cache.putManifest(m, g.o.Now())
	return g.signManifest(s, m), nil
}

// signManifest returns the manifest for the agent of a session; the one that it is given is for all.
func (g *Gateway) signManifest(s *session, m link.Manifest) link.Manifest {
	m.Signature = g.sign(link.BundleTranscript(g.o.Hub.ID, s.agent.key.String(), m))
	return m
}

// acquireRead waits for one of the places for reading the store. The caller releases it when it needs the bundle no more,
// and before it sends what it made of it: a peer may be slow to receive that.
func (g *Gateway) acquireRead(ctx context.Context, s *session) (release func(), refused *unavailable) {
	waited := time.NewTimer(readingWait)
	defer waited.Stop()
	select {
	case g.limits.reading <- struct{}{}:
		return func() { <-g.limits.reading }, nil
	case <-waited.C:
	case <-ctx.Done():
	case <-s.done:
	}
	return nil, &unavailable{http.StatusServiceUnavailable, busyRetryAfter}
}

// objects sends objects of a bundle, window by window: a window is made while the bundle is in memory, and sent after that.
func (g *Gateway) objects(w http.ResponseWriter, r *http.Request, s *session) {
	var want link.Wanted
	if !g.read(r, link.MaxMessage, &want) {
		refuse(w)
		return
	}
	g.setReadDeadline(w, 0) // that of the body would end the connection
	defer g.setReadDeadline(w, readTimeout)
	if !s.agent.acquire(&s.agent.downloads, maxDownloadsEach) {
		retryLater(w, http.StatusTooManyRequests, 1)
		return
	}
	defer s.agent.release(&s.agent.downloads)
	if !s.agent.mayDownload(want.Bundle) {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	ended := whenDone(s, func() { _ = http.NewResponseController(w).SetWriteDeadline(longAgo) })
	defer ended()
	d := newDownload(want)
	for begun := false; !d.ended; begun = true {
		refused, err := g.sendWindow(w, r, s, d)
		if refused != nil && !begun {
			refused.answer(w)
		}
		if refused != nil || err != nil { // without the empty frame, the agent notices that it was cut off, and asks for the rest
			return
		}
	}
}

// sendWindow makes and sends the next window of a download.
func (g *Gateway) sendWindow(w http.ResponseWriter, r *http.Request, s *session, d *download) (*unavailable, error) {
	frames, sent, refused := g.makeWindow(r.Context(), s, d)
	if refused != nil {
		return refused, nil
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
	if err := writeChunks(w, frames, deadline); err != nil {
		return nil, err
	}
	return nil, out.Flush()
}

// makeWindow makes the next frames of a download, or takes those that were cached for another agent; they must not be
// changed. The caller calls sent once they are sent.
func (g *Gateway) makeWindow(ctx context.Context, s *session, d *download) (frames []byte, sent func(), refused *unavailable) {
	if frames, sent = g.cachedWindow(d); frames != nil {
		return frames, sent, nil
	}
	release, refused := g.acquireRead(ctx, s)
	if refused != nil {
		return nil, nil, refused
	}
	defer release()
	if frames, sent = g.cachedWindow(d); frames != nil { // while this one waited for a place
		return frames, sent, nil
	}
	b, refused := g.bundle(ctx, s, d.want.Bundle)
	if refused != nil {
		return nil, nil, refused
	}
	list, ok := selectBodies(b, d.want)
	if !ok {
		return nil, nil, &unavailable{status: http.StatusNotFound}
	}
	size := g.limits.windows.acquire()
	at := d.position
	frames, err := d.next(list, size)
	if err != nil {
		g.limits.windows.release(size)
		g.o.Log.Error(err, "cannot serve a bundle", "cluster", s.agent.key)
		return nil, nil, &unavailable{http.StatusServiceUnavailable, busyRetryAfter}
	}
	g.cache.putWindow(windowKey{d.wantHash, at, size}, window{frames, d.position}, g.o.Now())
	return frames, func() { g.limits.windows.release(size) }, nil
}

// cachedWindow returns the next frames of a download and advances it if they are in the cache; nil if not. They count
// towards the budget of windows, since they stay in memory until they are sent.
func (g *Gateway) cachedWindow(d *download) (frames []byte, sent func()) {
	size := g.limits.windows.acquire()
	w, ok := g.cache.window(windowKey{d.wantHash, d.position, size}, g.o.Now())
	if !ok {
		g.limits.windows.release(size)
		return nil, nil
	}
	d.position = w.next
	return w.frames, func() { g.limits.windows.release(size) }
}

// selectBodies returns the bodies that were asked for, in that order, each once; false when one is not in the bundle.
func selectBodies(b *object.Bundle, want link.Wanted) ([]body, bool) {
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

// download is a request for objects, and how much of it was sent.
type download struct {
	want     link.Wanted
	wantHash [sha256.Size]byte // of want, without From
	position
}

// position is how far a download is.
type position struct {
	object int   // index of the next one to send
	offset int64 // in its body
	ended  bool  // the empty frame at the end was made
}

func newDownload(want link.Wanted) *download {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(want.Bundle)))) // a digest takes everything
	h.Write([]byte(want.Bundle))
	for _, id := range want.Objects {
		h.Write(id[:])
	}
	return &download{want: want, wantHash: [sha256.Size]byte(h.Sum(nil)), position: position{offset: want.From}}
}

// next returns the next frames of the bodies and advances: size bytes of them, and up to twice that where they cannot be
// compressed. An empty frame follows the last body.
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
