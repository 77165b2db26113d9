package git

import (
	"context"
	"io"
	"sync"
	"time"
)

const (
	// minProgress is how many bytes of a pack must arrive within one timeout so that the fetch goes on.
	minProgress = 1 << 20
	// maxPeriods is how many timeouts a check may take that makes progress in each of them.
	maxPeriods = 10
)

// progressDeadline bounds a check. Its context ends when the timeout passes, unless the check has made progress
// since: at least minProgress bytes of a pack have arrived, or what arrived is being read and indexed here.
// Then it has another timeout, up to maxPeriods in all. So a large repository can be fetched for the first
// time with a timeout that suits every later check, and a server that hangs or trickles is cut off by it.
type progressDeadline struct {
	context.Context
	cancel  context.CancelFunc
	timeout time.Duration

	mu       sync.Mutex
	timer    *time.Timer // guarded by mu
	received int64       // bytes in this period; guarded by mu
	busy     int         // how many pieces of work go on that wait for no server; guarded by mu
	worked   bool        // whether there was such work in this period; guarded by mu
	periods  int         // how many have begun; guarded by mu
	expired  bool        // guarded by mu
}

type deadlineKey struct{}

// withProgressDeadline returns the context of a check, as its own type and as a context to pass on. Its cancel function ends it and
// its timer.
func withProgressDeadline(ctx context.Context, timeout time.Duration) (context.Context, *progressDeadline) {
	p := &progressDeadline{timeout: timeout, periods: 1}
	ctx, p.cancel = context.WithCancel(context.WithValue(ctx, deadlineKey{}, p))
	p.Context = ctx
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(timeout, p.review)
	context.AfterFunc(ctx, func() { p.timer.Stop() })
	return p, p
}

// review is the end of a period.
func (p *progressDeadline) review() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Context.Err() != nil {
		return
	}
	if p.periods < maxPeriods && (p.received >= minProgress || p.worked) {
		p.periods, p.received, p.worked = p.periods+1, 0, p.busy > 0
		p.timer.Reset(p.timeout)
		return
	}
	p.expired = true
	p.cancel()
}

// Err is context.DeadlineExceeded where the check was out of time.
func (p *progressDeadline) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.expired {
		return context.DeadlineExceeded
	}
	return p.Context.Err()
}

// waited is how much time the check was given.
func (p *progressDeadline) waited() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Duration(p.periods) * p.timeout
}

// working means that what follows waits for no server, until the function that it returns is called.
func working(ctx context.Context) func() {
	p, _ := ctx.Value(deadlineKey{}).(*progressDeadline)
	if p == nil {
		return func() {}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy++
	p.worked = true
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.busy--
	}
}

// receiving returns the reader of a pack whose bytes count as progress of the check.
func receiving(ctx context.Context, from io.Reader) io.Reader {
	p, _ := ctx.Value(deadlineKey{}).(*progressDeadline)
	if p == nil {
		return from
	}
	return received{from, p}
}

type received struct {
	io.Reader
	deadline *progressDeadline
}

func (r received) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.deadline.mu.Lock()
	defer r.deadline.mu.Unlock()
	r.deadline.received += int64(n)
	return n, err
}
