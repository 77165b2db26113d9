package engine

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/engine/machine"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/recovery"
	"github.com/skerry-dev/skerry/internal/sleep"
)

// reference is an object that spec.healthChecks of an owner names.
type reference struct {
	owner string
	gvk   schema.GroupVersionKind
	id    object.ID
}

// references watches the objects that healthChecks name and that are not in the bundle of the
// Kustomization which names them: each by itself, by name.
type references struct {
	of     *view
	now    func() time.Time
	health func(reference) // called when what is known of one has changed; does not block

	mu    sync.Mutex
	known map[reference]health.Status // guarded by mu; a missing one is not known yet
	stop  map[reference]context.CancelFunc
	// answered is when the cluster last answered about a reference, and answer is closed with the next answer
	// about any; both guarded by mu.
	answered map[reference]time.Time
	answer   chan struct{}
}

func newReferences(v *view, now func() time.Time, changed func(reference)) *references {
	return &references{
		of: v, now: now, health: changed, known: map[reference]health.Status{}, stop: map[reference]context.CancelFunc{},
		answered: map[reference]time.Time{}, answer: make(chan struct{}),
	}
}

// noteAnswer notes an answer of the cluster about a reference.
func (r *references) noteAnswer(ctx context.Context, ref reference) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil { // it is not watched any more, or by another watch
		return
	}
	r.answered[ref] = r.now()
	close(r.answer)
	r.answer = make(chan struct{})
}

// oldest is the time of the oldest answer about what an owner refers to; false where nothing is known of any.
func (r *references) oldest(owner string) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	oldest, found := time.Time{}, false
	for ref, at := range r.answered {
		if ref.owner == owner && (!found || at.Before(oldest)) {
			oldest, found = at, true
		}
	}
	return oldest, found
}

// verify asks the cluster about the references of an owner for which there is no answer since a time: each is
// watched anew, and so listed, for a watch that is silent may be stuck. It returns when all are answered, or
// when that takes too long; then the time of the last answer stays as it is.
func (r *references) verify(ctx context.Context, owner string, since time.Time) {
	r.mu.Lock()
	waiting := map[reference]bool{}
	for ref, at := range r.answered {
		if ref.owner == owner && at.Before(since) {
			r.stop[ref]()
			r.stop[ref] = r.start(ref) //nolint:contextcheck // a watch outlives the pass
			waiting[ref] = true
		}
	}
	begun, answer := r.now(), r.answer
	r.mu.Unlock()
	late := time.NewTimer(referenceTimeout)
	defer late.Stop()
	for len(waiting) > 0 {
		select {
		case <-answer:
		case <-late.C:
			return
		case <-ctx.Done():
			return
		}
		r.mu.Lock()
		answer = r.answer
		for ref := range waiting {
			if at, known := r.answered[ref]; !known || !at.Before(begun) {
				delete(waiting, ref)
			}
		}
		r.mu.Unlock()
	}
}

// referenceTimeout is how long a verification waits for what an object shows that nothing here applies.
const referenceTimeout = 10 * time.Second

// get returns the health of a reference, as far as it is known.
func (r *references) get(ref reference) health.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.known[ref]
	if !ok {
		return health.Status{Message: "is not looked at yet"}
	}
	return s
}

// watch starts the watches of what is wanted and stops all others.
func (r *references) watch(wanted map[reference]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ref, stop := range r.stop {
		if !wanted[ref] {
			stop()
			delete(r.stop, ref)
			delete(r.known, ref)
			delete(r.answered, ref)
		}
	}
	for ref := range wanted {
		if r.stop[ref] == nil {
			r.stop[ref] = r.start(ref)
		}
	}
}

// start watches one object until it is stopped or the session ends. The goroutine belongs to the
// session's watches, which wait for it.
func (r *references) start(ref reference) context.CancelFunc {
	ctx, cancel := context.WithCancel(r.of.life)
	r.of.watches.wg.Go(func() {
		if err := recovery.Run(func() error { r.follow(ctx, ref); return nil }); err != nil && r.of.watches.crashed != nil {
			r.of.watches.crashed(err)
		}
	})
	return cancel
}

// follow waits until the kind of the object is served, in whichever version, and watches the object until that
// version is served no longer. Manifests live longer than the beta versions that they name.
func (r *references) follow(ctx context.Context, ref reference) {
	for n := 1; ctx.Err() == nil; n++ {
		m, err := r.of.client.MappingOfAnyVersion(ctx, ref.gvk)
		if err == nil {
			r.observe(ctx, m, ref)
		} else {
			r.set(ctx, ref, health.Status{Phase: health.InProgress, Message: "its kind is not served by the cluster"})
			if !apierror.Unanswered(err) {
				r.noteAnswer(ctx, ref)
			}
		}
		_ = sleep.For(ctx, machine.Backoff(n, unservedRetry))
	}
}

// observe watches one object until ctx ends, or the cluster serves the version of the mapping no longer.
func (r *references) observe(ctx context.Context, m edge.Mapping, ref reference) {
	id := ref.id
	if !m.Namespaced {
		id.Namespace = ""
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	r.of.client.WatchObject(watching, m, id, ref.owner, &referenceHandler{of: r, ctx: ctx, ref: ref, gone: func() {
		r.of.client.ForgetMapping(m.GVK)
		stop()
	}})
}

// unservedRetry bounds the wait for the next look at a kind that is not served.
const unservedRetry = 10 * time.Second

func (r *references) set(ctx context.Context, ref reference, s health.Status) {
	r.mu.Lock()
	old, known := r.known[ref]
	changed := ctx.Err() == nil && (!known || old != s)
	if changed {
		r.known[ref] = s
	}
	r.mu.Unlock()
	if changed {
		r.health(ref)
	}
}

// referenceHandler takes what the watch of one object shows.
type referenceHandler struct {
	of  *references
	ctx context.Context //nolint:containedctx // of the watch
	ref reference
	// gone ends the watch, so that the kind is looked up anew.
	gone func()
}

func (h *referenceHandler) Listing() {}

func (h *referenceHandler) Listed(all []edge.Observed) {
	if len(all) == 0 {
		h.Deleted(edge.Observed{})
		return
	}
	h.Changed(all[0])
}

func (h *referenceHandler) Changed(seen edge.Observed) { h.of.set(h.ctx, h.ref, seen.Health) }

func (h *referenceHandler) Deleted(edge.Observed) {
	h.of.set(h.ctx, h.ref, health.Status{Phase: health.InProgress, Message: "is not there"})
}

func (h *referenceHandler) Progress(string) { h.of.noteAnswer(h.ctx, h.ref) }

func (h *referenceHandler) Failed(err error) {
	if apierror.KindGone(err) || apierror.Refused(err) {
		defer h.of.noteAnswer(h.ctx, h.ref)
	}
	switch {
	case apierror.KindGone(err): // with its definition the object is gone
		h.of.set(h.ctx, h.ref, health.Status{Phase: health.InProgress, Message: "its kind is not served by the cluster"})
		h.gone()
	case apierror.Refused(err):
		h.of.set(h.ctx, h.ref, health.Status{Phase: health.InProgress, Message: "the cluster does not let it be read"})
	}
}
