package hubapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"

	"github.com/skerry-dev/skerry/internal/pacing"
	"github.com/skerry-dev/skerry/internal/recovery"
)

const (
	// retryMin and retryMax bound the pause after a failed write of one object, which doubles with each.
	retryMin = 50 * time.Millisecond
	retryMax = 10 * time.Second
	// drainTimeout is how long a hub that stops still writes what was enqueued.
	drainTimeout = 3 * time.Second
)

// WriterOptions are what a Writer works with.
type WriterOptions[K comparable, C any] struct {
	// Write writes to one object what has gathered for it, oldest first. It is not called for one object
	// twice at a time, and bounds its own time.
	Write func(ctx context.Context, key K, batch []C) error
	// Pace is how long an object rests between two writes.
	Pace pacing.Pace
	// Concurrency is how many objects are written at a time. What waits for one gathers meanwhile.
	Concurrency int
	// Places returns how many of them may be written at a time right now, by how long the one whose turn it is has
	// waited: at least one. Without it, all of Concurrency. It is asked at each end of a write, and with a lock held.
	Places func(waited time.Duration) int
	Now    func() time.Time
}

// Writer writes objects of the hub's API server beside the reconciles, so that no reconcile waits for a
// write. What is enqueued for an object while a write of it waits, runs or rests goes with the next write, so
// that the number of writes follows the speed of the API server and not the number of changes.
//
// Example: with 50 Kustomizations that assign something to one cluster within 20 ms, and writes that take
// 10 ms, the first change is written at once, the others gather while that write runs and while the object
// rests after it, and go with the second write.
type Writer[K comparable, C any] struct {
	o       WriterOptions[K, C]
	paces   *pacing.Coalescer[K]
	retries workqueue.TypedRateLimiter[K]
	ctx     context.Context // of all writes
	cancel  context.CancelCauseFunc

	mu      sync.Mutex          // guards what follows
	objects map[K]*gathering[C] // those that wait in the line, are written, or rest
	line    []K                 // objects that wait for a place, longest first
	hurried []K                 // those of them that go first, whatever Places says; longest first
	writing int                 // places taken
	ending  bool                // nothing rests any more
	stopped bool                // nothing is written any more
	settled chan struct{}       // closed when nothing is left to write; nil while nobody waits for that
	resting map[K]*time.Timer   // objects that rest
}

// gathering is what is to be written to one object.
type gathering[C any] struct {
	pending []enqueued[C]
	since   time.Time // when it came into the line
	hurry   bool      // goes first when it comes into the line
	// failed is the end of the rest after a write that failed; zero when none did.
	failed time.Time
}

type enqueued[C any] struct {
	change C
	items  int
	done   func(error)
}

// RestingError says that an object is not written for now, because a write of it has failed. What was to be
// written is decided anew when its rest is over: by then something else may be wanted.
type RestingError struct {
	// After is what is left of the rest.
	After time.Duration
}

func (e *RestingError) Error() string {
	return fmt.Sprintf("is not written for the next %s, because its last write failed", e.After)
}

// errStopped says that the hub ends and writes nothing any more.
var errStopped = errors.New("the hub stops, and writes nothing any more")

// NewWriter returns a Writer. It begins to write as soon as something is enqueued; Start is for its end.
func NewWriter[K comparable, C any](o WriterOptions[K, C]) *Writer[K, C] {
	w := &Writer[K, C]{
		o: o, paces: pacing.NewCoalescer[K](o.Pace, o.Now),
		retries: workqueue.NewTypedItemExponentialFailureRateLimiter[K](retryMin, retryMax),
		objects: map[K]*gathering[C]{}, resting: map[K]*time.Timer{},
	}
	// A write is for many reconciles, and is recorded also by a hub that stops.
	w.ctx, w.cancel = context.WithCancelCause(context.Background()) //nolint:forbidigo // no caller's context lasts so long
	return w
}

// Wait returns how long the next write of an object, of so many items, has to wait; 0 when it is due.
func (w *Writer[K, C]) Wait(key K, items int, u pacing.Urgency) time.Duration {
	return w.paces.Wait(key, items, u)
}

// RepeatDelay returns how long a write of an object has to wait that is like its last one.
func (w *Writer[K, C]) RepeatDelay(key K, u pacing.Urgency) time.Duration {
	return w.paces.RepeatDelay(key, u)
}

// Forget forgets an object that is gone.
func (w *Writer[K, C]) Forget(key K) {
	w.paces.Forget(key)
	w.retries.Forget(key)
}

// Enqueue has a change of so many items written, and calls done with the error of the write, or with a
// RestingError at once when the last write of the object failed a moment ago. It does not block; done must not
// either.
func (w *Writer[K, C]) Enqueue(key K, items int, change C, done func(error)) {
	if err := w.accept(key, enqueued[C]{change, items, done}); err != nil {
		done(err)
	}
}

func (w *Writer[K, C]) accept(key K, e enqueued[C]) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.objects[key]
	switch {
	case w.stopped:
		return errStopped
	case g != nil && !g.failed.IsZero():
		return &RestingError{After: max(g.failed.Sub(w.o.Now()), retryMin)}
	}
	if g == nil {
		g = &gathering[C]{}
		w.objects[key] = g
		w.join(key, g)
	}
	g.pending = append(g.pending, e)
	w.startWriting()
	return nil
}

// join puts an object into the line. The caller holds the lock.
func (w *Writer[K, C]) join(key K, g *gathering[C]) {
	g.since = w.o.Now()
	if g.hurry {
		w.hurried = append(w.hurried, key)
	} else {
		w.line = append(w.line, key)
	}
}

// Hurry has what waits for an object written before all others: at once where it waits for a place, and when the object
// has rested.
func (w *Writer[K, C]) Hurry(key K) {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.objects[key]
	if g == nil || len(g.pending) == 0 {
		return
	}
	g.hurry = true
	if i := slices.Index(w.line, key); i >= 0 {
		w.line = slices.Delete(w.line, i, i+1)
		w.hurried = append(w.hurried, key)
		w.startWriting()
	}
}

// Waiting returns how many objects wait for a place.
func (w *Writer[K, C]) Waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.line) + len(w.hurried)
}

// Start implements manager.Runnable: when ctx is done, what is enqueued is written without a rest, for as long
// as drainTimeout. Nothing is written once it has returned, and what a reconcile that ends later still wants to
// write is refused: the lease is given up then.
func (w *Writer[K, C]) Start(ctx context.Context) error {
	<-ctx.Done()
	whole := context.WithoutCancel(ctx)
	bounded, cancel := context.WithTimeout(whole, drainTimeout)
	defer cancel()
	_ = w.Drain(bounded) // what is not written in time is refused
	for _, e := range w.stop() {
		e.done(errStopped)
	}
	return w.Drain(whole)
}

// Drain returns when all that is enqueued is written, or with the error of ctx. Nothing rests meanwhile.
func (w *Writer[K, C]) Drain(ctx context.Context) error {
	settled := w.endRests()
	select {
	case <-settled:
	case <-ctx.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ending = w.stopped
	select {
	case <-settled:
		return nil
	default:
		return context.Cause(ctx)
	}
}

// endRests ends all rests, and returns what is closed when nothing is left to write.
func (w *Writer[K, C]) endRests() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ending = true
	for key, timer := range w.resting {
		if timer.Stop() {
			w.endRest(key)
		}
	}
	w.startWriting() // all places may be taken now
	if w.settled == nil {
		w.settled = make(chan struct{})
	}
	settled := w.settled
	w.settle()
	return settled
}

// stop refuses what is enqueued from now on, cancels the writes that are under way, and returns what is not written
// any more.
func (w *Writer[K, C]) stop() (refused []enqueued[C]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ending, w.stopped = true, true
	for _, g := range w.objects {
		refused = append(refused, g.pending...)
		g.pending = nil
	}
	for _, key := range slices.Concat(w.hurried, w.line) {
		delete(w.objects, key)
	}
	w.line, w.hurried = nil, nil
	w.settle()
	w.cancel(errStopped)
	return refused
}

// settle closes settled when nothing is left to write. The caller holds the lock.
func (w *Writer[K, C]) settle() {
	if w.settled != nil && len(w.objects) == 0 {
		close(w.settled)
		w.settled = nil
	}
}

// startWriting starts a goroutine for each object in the line, as far as there are places. It ends when the
// line is empty. The caller holds the lock.
func (w *Writer[K, C]) startWriting() {
	for range min(len(w.line)+len(w.hurried), w.places()-w.writing) {
		w.writing++
		go w.work()
	}
}

// places returns how many objects may be written at a time: all that there are places for while one is in a hurry, and
// when the hub ends. The caller holds the lock.
func (w *Writer[K, C]) places() int {
	if w.o.Places == nil || w.ending || len(w.hurried) > 0 || len(w.line) == 0 {
		return w.o.Concurrency
	}
	return min(max(w.o.Places(w.o.Now().Sub(w.objects[w.line[0]].since)), 1), w.o.Concurrency)
}

func (w *Writer[K, C]) work() {
	for {
		key, batch := w.next()
		if batch == nil {
			return
		}
		changes, items := make([]C, len(batch)), 0
		for i, e := range batch {
			changes[i] = e.change
			items += e.items
		}
		began := w.o.Now()
		err := recovery.Run(func() error { return w.o.Write(w.ctx, key, changes) })
		rest := w.rest(key, items, began, err)
		refused := w.refuse(key, rest, err)
		for _, e := range batch {
			e.done(err)
		}
		for _, e := range refused {
			e.done(&RestingError{After: rest})
		}
		w.mu.Lock()
		if w.ending || rest <= 0 {
			w.endRest(key)
		} else {
			w.resting[key] = time.AfterFunc(rest, func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.endRest(key)
			})
		}
		w.mu.Unlock()
	}
}

// refuse returns what has gathered for an object during a write that failed. It is not kept until the rest is
// over: a decision that is written seconds after it was made would be older than what is decided meanwhile.
func (w *Writer[K, C]) refuse(key K, rest time.Duration, err error) (refused []enqueued[C]) {
	if !failed(err) {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.objects[key]
	refused, g.pending = g.pending, nil
	g.failed = w.o.Now().Add(rest)
	return refused
}

// failed reports whether an error is the API server's trouble. A conflict is none: the next write starts from
// what is there then.
func failed(err error) bool { return err != nil && !apierrors.IsConflict(err) }

// next takes what has gathered for the object whose turn it is; nil when none waits, or this place is to be left.
func (w *Writer[K, C]) next() (key K, batch []enqueued[C]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.line)+len(w.hurried) == 0 || w.writing > w.places() {
		w.writing--
		return key, nil
	}
	line := &w.line
	if len(w.hurried) > 0 {
		line = &w.hurried
	}
	key, *line = (*line)[0], (*line)[1:]
	g := w.objects[key]
	batch, g.pending, g.hurry = g.pending, nil, false
	w.startWriting() // there may be more places than at the last write
	return key, batch
}

// rest records a write, and returns how long the object rests.
func (w *Writer[K, C]) rest(key K, items int, began time.Time, err error) time.Duration {
	w.paces.Wrote(key, w.o.Now().Sub(began), items)
	rest := w.paces.RepeatDelay(key, pacing.Decisive)
	if failed(err) {
		return max(rest, w.retries.When(key))
	}
	w.retries.Forget(key)
	return rest
}

// endRest puts the object into the line if something has gathered for it. The caller holds the lock.
func (w *Writer[K, C]) endRest(key K) {
	delete(w.resting, key)
	if len(w.objects[key].pending) == 0 {
		delete(w.objects, key)
		w.settle()
		return
	}
	w.join(key, w.objects[key])
	w.startWriting()
}
