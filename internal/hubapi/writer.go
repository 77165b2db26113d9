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
	// Pace is the cooldown between two writes of an object.
	Pace pacing.Pace
	// Concurrency is how many objects are written at a time. What waits for one gathers meanwhile.
	Concurrency int
	// Allowed returns how many objects may be written at a time right now, given how long the first of the queue has
	// waited: at least one. Without it, Concurrency. It is called whenever a write ends, with a lock held.
	Allowed func(waited time.Duration) int
	Now     func() time.Time
}

// Writer writes objects of the hub's API server beside the reconciles, so that no reconcile waits for a
// write. What is enqueued for an object while a write of it waits or runs, or in its cooldown, goes with the next write, so
// that the number of writes follows the speed of the API server and not the number of changes.
//
// Example: with 50 Kustomizations that assign something to one cluster within 20 ms, and writes that take
// 10 ms, the first change is written at once, the others gather while that write runs and in the
// cooldown after it, and go with the second write.
type Writer[K comparable, C any] struct {
	o       WriterOptions[K, C]
	paces   *pacing.Coalescer[K]
	retries workqueue.TypedRateLimiter[K]
	ctx     context.Context // of all writes
	cancel  context.CancelCauseFunc

	mu          sync.Mutex              // guards what follows
	objects     map[K]*waitingObject[C] // those that are queued, are being written, or in cooldown
	queue       []K                     // objects that wait to be written, longest first
	prioritised []K                     // those that are written first, whatever Allowed returns; longest first
	writing     int                     // goroutines that write
	draining    bool                    // there is no cooldown any more
	stopped     bool                    // nothing is written any more
	drained     chan struct{}           // closed when nothing is left to write; nil while no Drain waits for that
	cooling     map[K]*time.Timer       // objects in cooldown
}

// waitingObject is what is to be written to one object.
type waitingObject[C any] struct {
	pending    []enqueued[C]
	since      time.Time // when it was queued
	prioritise bool      // is written first when it is queued
	// failed is the end of the cooldown after a write that failed; zero when none did.
	failed time.Time
}

type enqueued[C any] struct {
	change C
	items  int
	done   func(error)
}

// CooldownError means that an object is not written for now, because a write of it has failed. What was to be
// written is decided anew when its cooldown is over: by then something else may be wanted.
type CooldownError struct {
	// After is what is left of the cooldown.
	After time.Duration
}

func (e *CooldownError) Error() string {
	return fmt.Sprintf("is not written for the next %s, because its last write failed", e.After)
}

// errStopped means that the hub ends and writes nothing any more.
var errStopped = errors.New("the hub stops, and writes nothing any more")

// NewWriter returns a Writer. It begins to write as soon as something is enqueued; Start is for its end.
func NewWriter[K comparable, C any](o WriterOptions[K, C]) *Writer[K, C] {
	w := &Writer[K, C]{
		o: o, paces: pacing.NewCoalescer[K](o.Pace, o.Now),
		retries: workqueue.NewTypedItemExponentialFailureRateLimiter[K](retryMin, retryMax),
		objects: map[K]*waitingObject[C]{}, cooling: map[K]*time.Timer{},
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
// CooldownError at once when the last write of the object failed a moment ago. It does not block; done must not
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
		return &CooldownError{After: max(g.failed.Sub(w.o.Now()), retryMin)}
	}
	if g == nil {
		g = &waitingObject[C]{}
		w.objects[key] = g
		w.addToQueue(key, g)
	}
	g.pending = append(g.pending, e)
	w.startWriting()
	return nil
}

// addToQueue queues an object. The caller holds the lock.
func (w *Writer[K, C]) addToQueue(key K, g *waitingObject[C]) {
	g.since = w.o.Now()
	if g.prioritise {
		w.prioritised = append(w.prioritised, key)
	} else {
		w.queue = append(w.queue, key)
	}
}

// Prioritise has what waits for an object written before all others: at once where it is queued, and else when the cooldown
// of the object is over.
func (w *Writer[K, C]) Prioritise(key K) {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.objects[key]
	if g == nil || len(g.pending) == 0 {
		return
	}
	g.prioritise = true
	if i := slices.Index(w.queue, key); i >= 0 {
		w.queue = slices.Delete(w.queue, i, i+1)
		w.prioritised = append(w.prioritised, key)
		w.startWriting()
	}
}

// Waiting returns how many objects are queued.
func (w *Writer[K, C]) Waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.queue) + len(w.prioritised)
}

// Start implements manager.Runnable: when ctx is done, what is enqueued is written without a cooldown, for as long
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

// Drain returns when all that is enqueued is written, or with the error of ctx. There is no cooldown meanwhile.
func (w *Writer[K, C]) Drain(ctx context.Context) error {
	settled := w.endCooldowns()
	select {
	case <-settled:
	case <-ctx.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.draining = w.stopped
	select {
	case <-settled:
		return nil
	default:
		return context.Cause(ctx)
	}
}

// endCooldowns ends all cooldowns, and returns what is closed when nothing is left to write.
func (w *Writer[K, C]) endCooldowns() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.draining = true
	for key, timer := range w.cooling {
		if timer.Stop() {
			w.endCooldown(key)
		}
	}
	w.startWriting() // all of Concurrency is allowed now
	if w.drained == nil {
		w.drained = make(chan struct{})
	}
	settled := w.drained
	w.closeWhenDrained()
	return settled
}

// stop refuses what is enqueued from now on, cancels the writes that are under way, and returns what is not written
// any more.
func (w *Writer[K, C]) stop() (refused []enqueued[C]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.draining, w.stopped = true, true
	for _, g := range w.objects {
		refused = append(refused, g.pending...)
		g.pending = nil
	}
	for _, key := range slices.Concat(w.prioritised, w.queue) {
		delete(w.objects, key)
	}
	w.queue, w.prioritised = nil, nil
	w.closeWhenDrained()
	w.cancel(errStopped)
	return refused
}

// closeWhenDrained closes drained when nothing is left to write. The caller holds the lock.
func (w *Writer[K, C]) closeWhenDrained() {
	if w.drained != nil && len(w.objects) == 0 {
		close(w.drained)
		w.drained = nil
	}
}

// startWriting starts a goroutine for each queued object, as many as are allowed. Each ends when the queue is empty.
// The caller holds the lock.
func (w *Writer[K, C]) startWriting() {
	for range min(len(w.queue)+len(w.prioritised), w.allowed()-w.writing) {
		w.writing++
		go w.work()
	}
}

// allowed returns how many objects may be written at a time: Concurrency while one is prioritised, and when the hub ends.
// The caller holds the lock.
func (w *Writer[K, C]) allowed() int {
	if w.o.Allowed == nil || w.draining || len(w.prioritised) > 0 || len(w.queue) == 0 {
		return w.o.Concurrency
	}
	return min(max(w.o.Allowed(w.o.Now().Sub(w.objects[w.queue[0]].since)), 1), w.o.Concurrency)
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
		cooldown := w.cooldown(key, items, began, err)
		refused := w.refuse(key, cooldown, err)
		for _, e := range batch {
			e.done(err)
		}
		for _, e := range refused {
			e.done(&CooldownError{After: cooldown})
		}
		w.mu.Lock()
		if w.draining || cooldown <= 0 {
			w.endCooldown(key)
		} else {
			w.cooling[key] = time.AfterFunc(cooldown, func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.endCooldown(key)
			})
		}
		w.mu.Unlock()
	}
}

// refuse returns what has gathered for an object during a write that failed. It is not kept until the cooldown is
// over: a decision that is written seconds after it was made would be older than what is decided meanwhile.
func (w *Writer[K, C]) refuse(key K, cooldown time.Duration, err error) (refused []enqueued[C]) {
	if !failed(err) {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.objects[key]
	refused, g.pending = g.pending, nil
	g.failed = w.o.Now().Add(cooldown)
	return refused
}

// failed reports whether a write failed, so that the cooldown of the object is longer. A conflict is no failure: the next write
// starts from what is there then.
func failed(err error) bool { return err != nil && !apierrors.IsConflict(err) }

// next takes what has gathered for the first object of the queue; nil when the queue is empty, or more goroutines write
// than are allowed.
func (w *Writer[K, C]) next() (key K, batch []enqueued[C]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue)+len(w.prioritised) == 0 || w.writing > w.allowed() {
		w.writing--
		return key, nil
	}
	queue := &w.queue
	if len(w.prioritised) > 0 {
		queue = &w.prioritised
	}
	key, *queue = (*queue)[0], (*queue)[1:]
	g := w.objects[key]
	batch, g.pending, g.prioritise = g.pending, nil, false
	w.startWriting() // more may be allowed than at the last write
	return key, batch
}

// cooldown records a write, and returns the cooldown of the object.
func (w *Writer[K, C]) cooldown(key K, items int, began time.Time, err error) time.Duration {
	w.paces.Wrote(key, w.o.Now().Sub(began), items)
	cooldown := w.paces.RepeatDelay(key, pacing.Decisive)
	if failed(err) {
		return max(cooldown, w.retries.When(key))
	}
	w.retries.Forget(key)
	return cooldown
}

// endCooldown queues the object if something has gathered for it. The caller holds the lock.
func (w *Writer[K, C]) endCooldown(key K) {
	delete(w.cooling, key)
	if len(w.objects[key].pending) == 0 {
		delete(w.objects, key)
		w.closeWhenDrained()
		return
	}
	w.addToQueue(key, w.objects[key])
	w.startWriting()
}
