package hubapi

import (
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/internal/recovery"
)

// Then is the continuation of a reconcile, which runs when the writes that it began have ended; err is theirs.
type Then func(ctx context.Context, err error) (reconcile.Result, error)

// Enqueuer asks for a reconcile of an object: now, or after a while. It does not block.
type Enqueuer interface {
	Enqueue(key types.NamespacedName)
	EnqueueAfter(key types.NamespacedName, wait time.Duration)
}

// Continuations lets a reconcile return while the writes that it began are under way. Until they have ended
// and the continuation has run, the object is not reconciled: the next reconcile would decide once
// more what is being written. What came meanwhile is reconciled afterwards: at once, but for reports, which wait for the cooldown.
type Continuations struct {
	Queue Enqueuer
	// Cooldown is how long a reconcile waits that only reports ask for; nil: not at all.
	Cooldown func(types.NamespacedName) time.Duration

	retries workqueue.TypedRateLimiter[types.NamespacedName]

	mu      sync.Mutex // guards what follows
	running map[types.NamespacedName]*running
	failed  map[types.NamespacedName]failure // of a continuation that has run
}

// running is a reconcile that has not run to its end.
type running struct {
	writes   *continuation // those under way; nil when it has begun none
	again    bool          // a reconcile was asked for meanwhile
	reported bool          // a report came meanwhile
}

// failure is the error of a continuation. panic is set where that or one of its writes panicked, and not
// where what it did recovered a panic and told of it.
type failure struct {
	err   error
	panic *recovery.Panic
}

type continuation struct {
	then Then
	left int     // writes that have not ended
	errs []error // of those that have
}

// NewContinuations returns those of one controller.
func NewContinuations(queue Enqueuer) *Continuations {
	return &Continuations{
		Queue: queue, retries: workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](firstPause, longestPause),
		running: map[types.NamespacedName]*running{}, failed: map[types.NamespacedName]failure{},
	}
}

// Begin announces so many writes and what is to be done when they have ended. Each of them calls done once;
// the last call runs the continuation, also when ctx is done: what has been written is recorded by a hub that
// stops as well. It is called by a reconcile of the object, or by a continuation.
func (c *Continuations) Begin(ctx context.Context, key types.NamespacedName, writes int, then Then) (done func(error)) {
	ctx = context.WithoutCancel(ctx)
	one := &continuation{then: then, left: writes}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running[key] == nil {
		c.running[key] = &running{}
	}
	c.running[key].writes = one
	return func(err error) {
		c.mu.Lock()
		one.errs = append(one.errs, err)
		one.left--
		last := one.left == 0
		c.mu.Unlock()
		if last {
			c.run(ctx, key, one)
		}
	}
}

// run runs a continuation. Its error, and its panic, are those of the next reconcile, so that they are
// logged and counted like any other. The pauses until then grow here: the work queue forgets the failures of an
// object whenever a reconcile of it begins its writes. What comes meanwhile does not wait for the end of a pause.
func (c *Continuations) run(ctx context.Context, key types.NamespacedName, one *continuation) {
	var result reconcile.Result
	written := errors.Join(one.errs...)
	crashed, _ := errors.AsType[*recovery.Panic](written)
	ended := false
	err := recovery.Run(func() (err error) {
		result, err = one.then(ctx, written)
		ended = true
		return err
	})
	if !ended {
		crashed, _ = errors.AsType[*recovery.Panic](err)
	}
	if crashed != nil { // controller-runtime will log the stack of the next reconcile
		log.FromContext(ctx).Error(crashed, "recovered from a panic", crashed.Details()...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	asked := c.running[key]
	switch {
	case asked == nil: // the continuation began more writes, and those have ended as well
		asked = &running{}
	case asked.writes != one: // the continuation began more writes
		return
	}
	delete(c.running, key)
	after := result.RequeueAfter
	if err != nil {
		c.failed[key], after = failure{err, crashed}, c.retries.When(key)
	} else {
		c.retries.Forget(key)
	}
	c.enqueueAgain(key, asked, after)
}

// enqueueAgain asks for the reconcile after one that has run to its end: now if one was asked for meanwhile, else after the
// cooldown for reports, else after a while, if that is not zero. The caller holds the lock.
func (c *Continuations) enqueueAgain(key types.NamespacedName, asked *running, after time.Duration) {
	cooldown := time.Duration(0)
	if asked.reported && c.Cooldown != nil {
		cooldown = c.Cooldown(key)
	}
	switch {
	case asked.again, asked.reported && cooldown <= 0:
		c.Queue.Enqueue(key)
	case asked.reported:
		c.Queue.EnqueueAfter(key, cooldown)
	case after > 0:
		c.Queue.EnqueueAfter(key, after)
	}
}

// Busy reports whether a reconcile of the object has not run to its end. Another one follows when it has.
func (c *Continuations) Busy(key types.NamespacedName) bool {
	return c.ask(key, func(r *running) { r.again = true })
}

// Reported is called with a report on an object, and reports whether a reconcile of it has not run to its end. Another
// one follows when it has, and after the cooldown; else the caller asks for one.
func (c *Continuations) Reported(key types.NamespacedName) bool {
	return c.ask(key, func(r *running) { r.reported = true })
}

// ask notes for what another reconcile follows the one under way, and is false where there is none.
func (c *Continuations) ask(key types.NamespacedName, note func(*running)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.running[key]
	if r != nil {
		note(r)
	}
	return r != nil
}

// Err returns the error of the last reconcile of an object, once, if its continuation failed.
func (c *Continuations) Err(key types.NamespacedName) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.failed[key]
	delete(c.failed, key)
	if f.panic != nil {
		panic(f.panic)
	}
	return f.err
}

// Reconcile begins a reconcile unless the one before has not run to its end or has failed.
func (c *Continuations) Reconcile(ctx context.Context, req reconcile.Request, begin reconcile.Func) (reconcile.Result, error) {
	if c.Busy(req.NamespacedName) {
		return reconcile.Result{}, nil
	}
	if err := c.Err(req.NamespacedName); err != nil {
		return reconcile.Result{}, err
	}
	c.mu.Lock()
	c.running[req.NamespacedName] = &running{}
	c.mu.Unlock()
	defer c.returned(req.NamespacedName)
	return begin(ctx, req)
}

// returned ends a reconcile that has begun no write.
func (c *Continuations) returned(key types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.running[key]; r != nil && r.writes == nil {
		delete(c.running, key)
		c.enqueueAgain(key, r, 0)
	}
}
