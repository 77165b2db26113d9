package edge

import (
	"context"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/time/rate"
)

const (
	// smallAnswer is how many bytes of one answer, or of one event of a watch, may be held whatever else
	// is under way. Of larger ones a cluster has one at a time: decoded, one takes many times its size.
	smallAnswer = 128 << 10
	// readRate and readBurst pace the reads of one cluster: a session begins with a few for each kind, and
	// needs hardly any later.
	readRate  = 50
	readBurst = 300
)

// budget is what all answers of one cluster that are under way may cost together. Limits for each answer
// are none: a cluster may have any number of kinds.
type budget struct {
	large   chan struct{} // held while a large answer is read
	objects atomic.Int64  // that were read and not handed over yet
	reads   *rate.Limiter
}

func newBudget() *budget {
	return &budget{large: make(chan struct{}, 1), reads: rate.NewLimiter(readRate, readBurst)}
}

// take counts an object that was read, and reports whether there are too many of them now.
func (b *budget) take() error {
	if b.objects.Add(1) > MaxObjects {
		return ErrTooMany
	}
	return nil
}

// give takes objects off the count.
func (b *budget) give(n int) { b.objects.Add(-int64(n)) }

// lease is the part of a budget that one answer takes, from the first byte until what was made of it is
// given up.
type lease struct {
	budget *budget
	mu     sync.Mutex
	read   int
	held   bool
}

// need counts bytes that were read. From smallAnswer on it waits until no other answer is a large one.
func (l *lease) need(ctx context.Context, n int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.read += n; l.held || l.read <= smallAnswer {
		return nil
	}
	select {
	case l.budget.large <- struct{}{}:
		l.held = true
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// release gives back what was taken.
func (l *lease) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.read = 0
	if l.held {
		l.held = false
		<-l.budget.large
	}
}

type leaseKey struct{}

// withLease gives the answers to requests with the context a lease that ends with the function that it
// returns, and not with their bodies: what they are decoded into is larger than they are.
func (b *budget) withLease(ctx context.Context) (context.Context, func()) {
	l := &lease{budget: b}
	return context.WithValue(ctx, leaseKey{}, l), l.release
}

// leased is the body of an answer under a lease.
type leased struct {
	io.ReadCloser
	ctx   context.Context //nolint:containedctx // of the request, whose end ends the wait
	lease *lease
	own   bool // the lease ends with the body
}

func (b *budget) leased(ctx context.Context, body io.ReadCloser) io.ReadCloser {
	l, shared := ctx.Value(leaseKey{}).(*lease)
	if !shared {
		l = &lease{budget: b}
	}
	return &leased{ReadCloser: body, ctx: ctx, lease: l, own: !shared}
}

func (b *leased) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		if err := b.lease.need(b.ctx, n); err != nil {
			return 0, err
		}
	}
	return n, err
}

func (b *leased) Close() error {
	if b.own {
		b.lease.release()
	}
	return b.ReadCloser.Close()
}
