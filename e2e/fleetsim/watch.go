package fleetsim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
)

// filter says which objects of a kind a list or a watch is about.
type filter struct {
	namespace, name string // empty: all
	labels          labels.Selector
}

func (f *filter) matches(o *instance) bool {
	return o != nil && (f.namespace == "" || f.namespace == o.c.namespace) && (f.name == "" || f.name == o.c.name) &&
		(f.labels == nil || f.labels.Matches(labels.Set(o.c.labels)))
}

// watcher is one open watch. It has no goroutine: who changes an object puts the event into the
// buffer of its connection.
type watcher struct {
	edge   *Edge
	kind   *kind
	filter filter
	form   form
	stream *stream
	// bookmarks are sent when due, and the watch ends at its end.
	bookmarks bool
	next, end time.Time
}

// tell sends a change as this watch sees it: an object that ceases to match is deleted.
func (w *watcher) tell(c *change) {
	was, is := w.filter.matches(c.old), w.filter.matches(c.now)
	switch {
	case is && was:
		w.event("MODIFIED", c.now)
	case is:
		w.event("ADDED", c.now)
	case was:
		gone := *c.old
		gone.version = c.version
		w.event("DELETED", &gone)
	}
}

func (w *watcher) event(kind string, o *instance) {
	b := takeBuffer()
	b = append(b, `{"type":"`...)
	b = append(b, kind...)
	b = append(b, `","object":`...)
	b = w.edge.writer.append(b, o, w.form)
	b = append(b, '}', '\n')
	w.stream.send(b)
	giveBuffer(b)
	w.edge.count.Events.Add(1)
}

// bookmark says up to where the watch has seen everything.
func (w *watcher) bookmark(initialEnd bool) {
	b := takeBuffer()
	kind, version := w.kind.gvk.Kind, w.kind.apiVersion
	if w.form == metadataOnly {
		kind, version = "PartialObjectMetadata", "meta.k8s.io/v1"
	}
	b = append(b, `{"type":"BOOKMARK","object":{"kind":"`...)
	b = append(b, kind...)
	b = append(b, `","apiVersion":"`...)
	b = append(b, version...)
	b = append(b, `","metadata":{"resourceVersion":"`...)
	b = strconv.AppendUint(b, w.edge.version, 10)
	if initialEnd {
		b = append(b, `","annotations":{"k8s.io/initial-events-end":"true"}}}}`...)
	} else {
		b = append(b, `"}}}`...)
	}
	b = append(b, '\n')
	w.stream.send(b)
	giveBuffer(b)
}

// failure ends a watch with an error, which comes as an event.
func (w *watcher) failure(status *answer) {
	b := append([]byte(`{"type":"ERROR","object":`), status.body...)
	w.stream.send(append(b, '}', '\n'))
	w.stream.end()
}

// watch begins a watch: what is there now, or what changed since a version, and then what changes.
func (e *Edge) watch(s *stream, c *call) *answer {
	f, err := e.filter(c)
	if err != nil {
		return refuse(err)
	}
	list := isTrue(c.query.Get("sendInitialEvents"))
	bookmarks := isTrue(c.query.Get("allowWatchBookmarks"))
	if list && (!bookmarks || c.query.Get("resourceVersionMatch") != "NotOlderThan") {
		return refuse(apierrors.NewBadRequest("sendInitialEvents needs allowWatchBookmarks and resourceVersionMatch=NotOlderThan"))
	}
	since, err := strconv.ParseUint(cmp.Or(c.query.Get("resourceVersion"), "0"), 10, 64)
	if err != nil {
		return refuse(apierrors.NewBadRequest("the resource version is not a number"))
	}
	now := time.Now()
	w := &watcher{edge: e, kind: c.kind, filter: f, form: c.form, stream: s, bookmarks: bookmarks, next: now.Add(bookmarkEvery), end: now.Add(c.patience())}
	s.begin(&answer{code: http.StatusOK, contentType: jsonType})
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case list || since == 0:
		for _, o := range e.collection(c.kind).objects {
			if f.matches(o) {
				w.event("ADDED", o)
			}
		}
		if list {
			w.bookmark(true)
		}
	case since < e.forgotten:
		w.failure(refuse(apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", since, e.forgotten))))
		return nil
	default:
		for i := range e.history {
			if h := &e.history[i]; h.version > since && h.kind() == c.kind {
				w.tell(h)
			}
		}
	}
	if s.watched(w) {
		col := e.collection(c.kind)
		col.watchers = append(col.watchers, w)
	}
	return nil
}

// watched ties a watch to its stream, unless that is closed already.
func (s *stream) watched(w *watcher) bool {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if s.closed {
		return false
	}
	s.watcher = w
	return true
}

// patience is how long a watch lasts: as long as the client says, or between half an hour and an hour.
func (c *call) patience() time.Duration {
	if n, err := strconv.Atoi(c.query.Get("timeoutSeconds")); err == nil && n > 0 {
		return time.Duration(n) * time.Second
	}
	return 30*time.Minute + rand.N(30*time.Minute)
}

// tick sends the bookmarks that are due and ends the watches whose time is over.
func (e *Edge) tick(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.store {
		for _, w := range slices.Backward(c.watchers) { // so that one that is dropped changes only what was seen
			switch {
			case now.After(w.end):
				c.drop(w)
				w.stream.end()
			case w.bookmarks && now.After(w.next):
				w.next = now.Add(bookmarkEvery)
				w.bookmark(false)
			}
		}
	}
}

const bookmarkEvery = time.Minute

func (c *collection) drop(w *watcher) {
	for i, x := range c.watchers {
		if x == w {
			c.watchers[i] = c.watchers[len(c.watchers)-1]
			c.watchers[len(c.watchers)-1] = nil
			c.watchers = c.watchers[:len(c.watchers)-1]
			return
		}
	}
}

// endWatches ends all open watches; their clients open others.
func (e *Edge) endWatches() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.store {
		for _, w := range c.watchers {
			w.stream.end()
		}
		c.watchers = nil
	}
}
