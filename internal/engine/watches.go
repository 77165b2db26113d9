package engine

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/internal/apply"
	"github.com/skerry-dev/skerry/internal/recovery"
)

// watches keeps one watch per kind of a cluster and feeds what they see into live.
type watches struct {
	ctx    context.Context //nolint:containedctx // of the session, which owns the watches
	client *apply.Client
	live   *live
	// touch is told of each object that changed.
	touch func(...apply.Seen)
	// flooded is told that the cluster shows more than can be kept.
	flooded func()
	// crashed is told of a watch that has panicked.
	crashed func(error)

	mu      sync.Mutex
	running map[schema.GroupKind]*watcher
	wg      sync.WaitGroup
}

type watcher struct {
	of     *watches
	gk     schema.GroupKind
	cancel context.CancelFunc
	since  uint64
	synced chan struct{}
	over   chan struct{} // closed when it is not the one that is running any more
	once   sync.Once
	err    atomic.Pointer[error] // why it could not be listed last
}

func newWatches(ctx context.Context, c *apply.Client, l *live, touch func(...apply.Seen), flooded func()) *watches {
	return &watches{ctx: ctx, client: c, live: l, touch: touch, flooded: flooded, running: map[schema.GroupKind]*watcher{}}
}

// ensure watches a kind from now on.
func (w *watches) ensure(m apply.Mapping) {
	w.mu.Lock()
	defer w.mu.Unlock()
	gk := m.GVK.GroupKind()
	if w.running[gk] == nil {
		w.running[gk] = w.start(m)
	}
}

// relist watches a kind anew, so that what is known of it was asked for after this call.
func (w *watches) relist(m apply.Mapping) {
	w.mu.Lock()
	defer w.mu.Unlock()
	gk := m.GVK.GroupKind()
	old := w.running[gk]
	if old != nil {
		old.cancel()
	}
	w.running[gk] = w.start(m)
	if old != nil {
		close(old.over)
	}
}

func (w *watches) start(m apply.Mapping) *watcher {
	ctx, cancel := context.WithCancel(w.ctx)
	x := &watcher{of: w, gk: m.GVK.GroupKind(), cancel: cancel, synced: make(chan struct{}), over: make(chan struct{})}
	w.wg.Go(func() {
		err := recovery.Run(func() error { w.client.Watch(ctx, m, &sink{watcher: x, ctx: ctx}); return nil })
		if err != nil && w.crashed != nil {
			w.crashed(err)
		}
	})
	return x
}

// stop stops watching a kind.
func (w *watches) stop(gk schema.GroupKind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x := w.running[gk]; x != nil {
		x.cancel()
		close(x.over)
		delete(w.running, gk)
	}
}

// keep stops watching all kinds but these.
func (w *watches) keep(used map[schema.GroupKind]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for gk, x := range w.running {
		if !used[gk] {
			x.cancel()
			close(x.over)
			delete(w.running, gk)
		}
	}
}

// failure returns why a kind could not be listed last, if it could not.
func (w *watches) failure(gk schema.GroupKind) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x := w.running[gk]; x != nil {
		if err := x.err.Load(); err != nil {
			return *err
		}
	}
	return nil
}

// wait returns when a kind has been listed once, or with the context's error. A watcher that is
// replaced meanwhile, by another pass that lists the kind anew, will never have: its successor counts.
func (w *watches) wait(ctx context.Context, gk schema.GroupKind) error {
	for {
		w.mu.Lock()
		x := w.running[gk]
		w.mu.Unlock()
		if x == nil {
			return nil
		}
		select {
		case <-x.synced:
			return nil
		case <-x.over:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// sink is one run of a watcher: a run that was replaced says nothing any more.
type sink struct {
	*watcher
	ctx context.Context //nolint:containedctx // of the run
}

func (s *sink) Listing() { s.since = s.of.live.mark() }

func (s *sink) Listed(all []apply.Seen) {
	if s.ctx.Err() != nil {
		return
	}
	s.of.touch(s.of.live.listed(s.gk, all, s.since)...)
	s.once.Do(func() { close(s.synced) })
	s.weigh()
}

// weigh gives up on a cluster that shows ever more.
func (s *sink) weigh() {
	if s.of.live.size() > apply.MaxObjects {
		s.of.flooded()
	}
}

func (s *sink) Failed(err error) {
	s.err.Store(&err)
	if errors.Is(err, apply.ErrTooMany) && s.ctx.Err() == nil {
		s.of.flooded()
	}
}

func (s *sink) Changed(seen apply.Seen) {
	if s.ctx.Err() == nil && s.of.live.changed(seen) {
		s.of.touch(seen)
		s.weigh()
	}
}

func (s *sink) Deleted(seen apply.Seen) {
	if s.ctx.Err() == nil && s.of.live.deleted(seen) {
		s.of.touch(seen)
	}
}
