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

// Then is the rest of a reconcile, which runs when the writes that it began have ended; err is theirs.
type Then func(ctx context.Context, err error) (reconcile.Result, error)

// Waker asks for a reconcile of an object: now, or after a while. It does not block.
type Waker interface {
	Enqueue(key types.NamespacedName)
	EnqueueAfter(key types.NamespacedName, wait time.Duration)
}

// Continuations lets a reconcile return while the writes that it began are under way. Until they have ended
// and the rest of the reconcile has run, the object is not reconciled: the next reconcile would decide once
// more what is being written. What came meanwhile is reconciled afterwards.
type Continuations struct {
	Wake Waker
	// Rest is how long a reconcile waits that was asked for while another one had not run to its end; nil: not at all.
	Rest func(types.NamespacedName) time.Duration

	retries workqueue.TypedRateLimiter[types.NamespacedName]

	mu     sync.Mutex // guards what follows
	begun  map[types.NamespacedName]*continuation
	failed map[types.NamespacedName]failure // of a rest that has run
}

// failure is the error of the rest of a reconcile. panic is set where that or one of its writes panicked, and not
// where what it did recovered a panic and told of it.
type failure struct {
	err   error
	panic *recovery.Panic
}

type continuation struct {
	then  Then
	left  int     // writes that have not ended
	errs  []error // of those that have
	again bool    // a reconcile was asked for meanwhile
}

// NewContinuations returns those of one controller.
func NewContinuations(wake Waker) *Continuations {
	return &Continuations{
		Wake: wake, retries: workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](firstPause, longestPause),
		begun: map[types.NamespacedName]*continuation{}, failed: map[types.NamespacedName]failure{},
	}
}

// Begin announces so many writes and what is to be done when they have ended. Each of them calls done once;
// the last call runs the rest, also when ctx is done: what has been written is recorded by a hub that
// stops as well. It is called by a reconcile of the object, or by the rest of one.
func (c *Continuations) Begin(ctx context.Context, key types.NamespacedName, writes int, then Then) (done func(error)) {
	ctx = context.WithoutCancel(ctx)
	one := &continuation{then: then, left: writes}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun[key] = one
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

// run runs the rest of a reconcile. Its error, and its panic, are those of the next reconcile, so that they are
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
	switch next := c.begun[key]; {
	case next == one:
		delete(c.begun, key)
	case next != nil: // the rest began more writes
		next.again = next.again || one.again
		return
	} // else those have ended as well
	after := result.RequeueAfter
	if err != nil {
		c.failed[key], after = failure{err, crashed}, c.retries.When(key)
	} else {
		c.retries.Forget(key)
	}
	switch {
	case one.again:
		c.wakeAgain(key)
	case after > 0:
		c.Wake.EnqueueAfter(key, after)
	}
}

func (c *Continuations) wakeAgain(key types.NamespacedName) {
	if c.Rest != nil {
		if rest := c.Rest(key); rest > 0 {
			c.Wake.EnqueueAfter(key, rest)
			return
		}
	}
	c.Wake.Enqueue(key)
}

// Busy reports whether a reconcile of the object has not run to its end. Another one follows when it has.
func (c *Continuations) Busy(key types.NamespacedName) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.begun[key]
	if one == nil {
		return false
	}
	one.again = true
	return true
}

// Err returns the error of the last reconcile of an object, once, if its rest failed.
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
	return begin(ctx, req)
}
