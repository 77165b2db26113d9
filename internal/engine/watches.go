package engine

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/recovery"
)

// watches keeps one watch per kind of a cluster and feeds what they see into live.
type watches struct {
	ctx    context.Context //nolint:containedctx // of the session, which owns the watches
	client *edge.Client
	live   *live
	now    func() time.Time
	// revision is the highest resource version of the core group.
	revision *edge.Revision
	watchEvents

	mu      sync.Mutex
	running map[watchScope]*watcher
	wg      sync.WaitGroup
}

// watchScope is what one watch shows: the objects of a kind in one namespace, or in all when it is empty.
type watchScope struct {
	schema.GroupKind
	namespace string
}

// has reports whether an object is in the scope.
func (at watchScope) has(id object.ID) bool {
	return id.Group == at.Group && id.Kind == at.Kind && (at.namespace == "" || at.namespace == id.Namespace)
}

// watchEvents are the functions by which watches reach the engine. None of them blocks.
type watchEvents struct {
	// touch is called for each object that changed.
	touch func(...edge.Observed)
	// overflowed is called when the cluster shows more than can be kept.
	overflowed func()
	// shown returns how many objects all watches of the session show.
	shown func() int
	// backwards is called when resource versions are lower than before, and ended when a watch ended
	// before its time: either may mean that another cluster answers, or an older state of this one.
	backwards, ended func()
	// unserved is called when a kind that was listed is not served any more in the version watched.
	unserved func(schema.GroupKind)
	// crashed is called when a watch has panicked.
	crashed func(error)
}

type watcher struct {
	of       *watches
	mapping  edge.Mapping
	scope    watchScope
	cancel   context.CancelFunc
	since    uint64
	synced   chan struct{}
	over     chan struct{} // closed when it is not the one that is running any more
	once     sync.Once
	err      atomic.Pointer[error] // why the last list or watch failed
	unserved atomic.Bool           // the version is not served any more
	// outdated: only the document of all groups had the kind, which is not served
	outdated atomic.Bool

	started time.Time
	blocked chan struct{} // closed when the cluster refused a list or a watch in a way that lasts
	refused sync.Once

	verifying   sync.Mutex   // held while the cluster is asked whether the watch has reported everything
	requestedAt atomic.Int64 // when the list under way was asked for, in nanoseconds since 1970
	answered    atomic.Int64 // up to when the cluster is known to have reported everything; zero: never
}

func newWatches(ctx context.Context, c *edge.Client, l *live, revision *edge.Revision, now func() time.Time, events watchEvents) *watches {
	return &watches{ctx: ctx, client: c, live: l, revision: revision, now: now, watchEvents: events, running: map[watchScope]*watcher{}}
}

// ensure watches a kind in a namespace from now on. A watch that runs in another version of the API stays, unless the
// API server does not serve that version any more.
func (w *watches) ensure(m edge.Mapping, namespace string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := watchScope{m.GVK.GroupKind(), namespace}
	switch x := w.running[at]; {
	case x == nil:
		w.running[at] = w.start(m, namespace)
	case x.mapping != m && x.unserved.Load():
		w.replace(at, m)
	}
}

// other returns in which other version of the API than the mapping's a kind is watched, if it is.
func (w *watches) other(m edge.Mapping, namespace string) (*watcher, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := w.running[watchScope{m.GVK.GroupKind(), namespace}]
	return x, x != nil && x.mapping != m
}

// relist watches a kind anew, so that what is known of it was asked for after this call.
func (w *watches) relist(m edge.Mapping, namespace string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.replace(watchScope{m.GVK.GroupKind(), namespace}, m)
}

// replace starts a watch in place of the one that is running. The caller holds the lock.
func (w *watches) replace(at watchScope, m edge.Mapping) {
	old := w.running[at]
	if old != nil {
		old.cancel()
	}
	w.running[at] = w.start(m, at.namespace)
	if old != nil {
		close(old.over)
	}
}

func (w *watches) start(m edge.Mapping, namespace string) *watcher {
	ctx, cancel := context.WithCancel(w.ctx)
	x := &watcher{of: w, mapping: m, scope: watchScope{m.GVK.GroupKind(), namespace}, cancel: cancel, started: w.now(), synced: make(chan struct{}), over: make(chan struct{}), blocked: make(chan struct{})}
	w.wg.Go(w.recovering(w.client.Watcher(ctx, m, namespace, &watchHandler{watcher: x, ctx: ctx})))
	return x
}

// recovering returns a function that watches, and reports when that panics. Its frame is small, for it is on the stack of
// each watch (see edge, run).
func (w *watches) recovering(watch func()) func() {
	return func() {
		defer func() {
			if value := recover(); value != nil {
				w.noteCrash(recovery.Recovered(value))
			}
		}()
		watch()
	}
}

func (w *watches) noteCrash(err error) {
	if w.crashed != nil {
		w.crashed(err)
	}
}

// stop stops watching a kind.
func (w *watches) stop(gk schema.GroupKind) {
	w.stopWhere(func(at watchScope) bool { return at.GroupKind == gk })
}

// stopUnused stops watching all scopes but these.
func (w *watches) stopUnused(used map[watchScope]bool) {
	w.stopWhere(func(at watchScope) bool { return !used[at] })
}

func (w *watches) stopWhere(unused func(watchScope) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for at, x := range w.running {
		if unused(at) {
			x.cancel()
			close(x.over)
			delete(w.running, at)
		}
	}
}

// at returns what watches a scope; nil when nothing does.
func (w *watches) at(p watchScope) *watcher {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.running[p]
}

// listed returns when a kind has been listed once, however often that was refused before.
func (w *watches) listed(ctx context.Context, at watchScope) error {
	x := w.at(at)
	if x == nil {
		return nil
	}
	select {
	case <-x.synced:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// failure returns why a kind could not be listed last, if it could not.
func (w *watches) failure(at watchScope) error {
	if x := w.at(at); x != nil {
		if err := x.err.Load(); err != nil {
			return *err
		}
	}
	return nil
}

// answered returns up to when the cluster is known to have reported everything of a kind, be it by a list or
// by what came on its watch, bookmarks included; false when it is not watched or was never listed.
func (w *watches) answered(at watchScope) (time.Time, bool) {
	x := w.at(at)
	if x == nil || x.answered.Load() == 0 {
		return time.Time{}, false
	}
	return time.Unix(0, x.answered.Load()), true
}

// complete asks the cluster for the versions of all objects of a kind and reports whether they are those
// that are known, unless that was known at the time given or later. A watch that has not reported a
// difference is stuck.
func (w *watches) complete(ctx context.Context, in watchScope, since time.Time) (bool, error) {
	x := w.at(in)
	if x == nil {
		return true, nil
	}
	x.verifying.Lock()
	defer x.verifying.Unlock()
	if at, ok := w.answered(in); ok && !at.Before(since) {
		return true, nil
	}
	begun := w.now().UnixNano()
	all, version, err := w.client.Versions(ctx, x.mapping, in.namespace)
	if err != nil {
		return false, err
	}
	if w.live.differs(in, all, version) {
		return false, nil
	}
	x.answered.Store(max(x.answered.Load(), begun))
	return true, nil
}

// errBlocked means that a kind cannot be listed, and will not be a moment later.
var errBlocked = errors.New("the kind cannot be listed")

// errOutdated means that a kind is watched where a document of all groups had it, and is not served there.
var errOutdated = errors.New("the kind is to be looked up by itself")

// wait returns when a kind has been listed once, or with the context's error; or with errBlocked where
// the cluster refuses to list it, or has not done so for as long as is waited once. A watcher that is
// replaced meanwhile, by another pass that lists the kind anew, will never have: its successor counts.
func (w *watches) wait(ctx context.Context, at watchScope) error {
	for {
		x := w.at(at)
		if x == nil {
			return nil
		}
		select {
		case <-x.synced:
			return nil
		default:
		}
		if x.err.Load() != nil && x.of.now().Sub(x.started) > firstListTimeout {
			return errBlocked
		}
		select {
		case <-x.synced:
			return nil
		case <-x.blocked:
			if x.outdated.Load() {
				return errOutdated
			}
			return errBlocked
		case <-x.over:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// watchHandler is one run of a watcher: a run that was replaced is ignored.
type watchHandler struct {
	*watcher
	ctx context.Context //nolint:containedctx // of the run
}

func (s *watchHandler) Listing() {
	s.since = s.of.live.lastApply()
	s.requestedAt.Store(s.of.now().UnixNano())
}

func (s *watchHandler) Listed(all []edge.Observed) {
	if s.ctx.Err() != nil {
		return
	}
	s.of.touch(s.of.live.listed(s.scope, all, s.since)...)
	s.answered.Store(s.requestedAt.Load())
	s.err.Store(nil)
	s.once.Do(func() { close(s.synced) })
	s.checkLimit()
}

func (s *watchHandler) Progress(version string) {
	if s.ctx.Err() != nil {
		return
	}
	s.answered.Store(s.of.now().UnixNano())
	if s.scope.Group == "" && s.scope.Kind != "Event" { // which may have a store of their own
		s.of.revision.Observe(version)
	}
}

// checkLimit gives up on a cluster that shows ever more.
func (s *watchHandler) checkLimit() {
	if s.of.shown() > edge.MaxObjects {
		s.of.overflowed()
	}
}

func (s *watchHandler) Failed(err error) {
	if s.ctx.Err() != nil {
		return
	}
	s.err.Store(&err)
	switch {
	case errors.Is(err, edge.ErrTooMany):
		s.of.overflowed()
	case errors.Is(err, edge.ErrBackwards):
		s.of.backwards()
	case errors.Is(err, edge.ErrBrokenOff):
		s.of.ended()
	case apierror.Refused(err), apierror.Overloaded(err) && strings.Contains(s.scope.Group, "."): // perhaps only what is behind it
		s.refused.Do(func() { close(s.blocked) })
	case apierror.KindGone(err) && s.answered.Load() != 0 && !s.unserved.Swap(true):
		s.of.client.ForgetMapping(s.mapping.GVK)
		s.of.unserved(s.scope.GroupKind)
	case apierror.KindGone(err) && s.of.client.ForgetUnconfirmed(s.mapping.GVK):
		s.outdated.Store(true)
		s.refused.Do(func() { close(s.blocked) })
	}
}

func (s *watchHandler) Changed(seen edge.Observed) {
	if s.ctx.Err() == nil && s.of.live.changed(seen) {
		s.of.touch(seen)
		s.checkLimit()
	}
}

func (s *watchHandler) Deleted(seen edge.Observed) {
	if s.ctx.Err() == nil && s.of.live.deleted(seen) {
		s.of.touch(seen)
	}
}
