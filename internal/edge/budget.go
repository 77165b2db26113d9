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

// addObject counts an object that was read. It fails with ErrTooMany when there are too many of them now.
func (b *budget) addObject() error {
	if b.objects.Add(1) > MaxObjects {
		return ErrTooMany
	}
	return nil
}

// removeObjects takes objects off the count.
func (b *budget) removeObjects(n int) { b.objects.Add(-int64(n)) }

// reservation is the part of a budget that one answer takes, from its first byte until what it was decoded into is
// handed over.
type reservation struct {
	budget *budget

	mu    sync.Mutex // guards what follows
	read  int        // bytes
	large bool       // it occupies budget.large
}

// add counts bytes that were read. From smallAnswer on it waits until no other answer is a large one.
func (r *reservation) add(ctx context.Context, n int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.read += n; r.large || r.read <= smallAnswer {
		return nil
	}
	select {
	case r.budget.large <- struct{}{}:
		r.large = true
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// release returns what was reserved to the budget.
func (r *reservation) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read = 0
	if r.large {
		r.large = false
		<-r.budget.large
	}
}

type reservationKey struct{}

// withReservation returns a context whose requests share one reservation. It ends with the returned function, and not
// with the bodies of the answers: what they are decoded into is larger than they are.
func (b *budget) withReservation(ctx context.Context) (context.Context, func()) {
	r := &reservation{budget: b}
	return context.WithValue(ctx, reservationKey{}, r), r.release
}

// reservedBody is the body of an answer that counts into a reservation.
type reservedBody struct {
	io.ReadCloser
	ctx         context.Context //nolint:containedctx // of the request, whose end ends the wait
	reservation *reservation
	own         bool // the reservation ends with the body
}

func (b *budget) reserved(ctx context.Context, body io.ReadCloser) io.ReadCloser {
	r, shared := ctx.Value(reservationKey{}).(*reservation)
	if !shared {
		r = &reservation{budget: b}
	}
	return &reservedBody{ReadCloser: body, ctx: ctx, reservation: r, own: !shared}
}

func (b *reservedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		if err := b.reservation.add(b.ctx, n); err != nil {
			return 0, err
		}
	}
	return n, err
}

func (b *reservedBody) Close() error {
	if b.own {
		b.reservation.release()
	}
	return b.ReadCloser.Close()
}
