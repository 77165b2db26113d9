package engine

import (
	"context"
	"errors"
	"time"

	"github.com/skerry-dev/skerry/internal/apply"
)

var (
	// ErrNotConnected says that there is nobody to send it to.
	ErrNotConnected = errors.New("the cluster is not connected")
	// ErrNotRemoved says that something of an entry is there, or may be put there yet.
	ErrNotRemoved = errors.New("not every entry is removed")
)

// retirement is a question and its answer.
type retirement struct {
	answer chan error
	err    error
}

// Retire implements Pooled.
func (p *Pool) Retire(ctx context.Context, key Key) error {
	e := p.engine(key)
	if e == nil {
		return ErrNotConnected
	}
	r := &retirement{answer: make(chan error, 1)}
	e.send(func(in *inbox) { in.retire = append(in.retire, r) })
	select {
	case err := <-r.answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// retire begins to take away what is kept on the cluster. From then on nothing else is sent there, so
// that nothing is put down anew: only the loop knows that no pass is under way and none will begin.
func (e *Engine) retire(r *retirement) {
	l := &e.link
	switch {
	case l.retired:
		r.answer <- nil
		return
	case l.session == nil || l.retiring:
		r.answer <- ErrNotConnected
		return
	case e.passes > 0 || !e.allRemoved():
		r.answer <- ErrNotRemoved
		return
	}
	l.retiring = true
	s, owners, local := l.session, e.owners(), l.conn.Local
	what := apply.Retirement{
		Revoke: !local, KeepClaim: local && e.siblings.any(),
		Own: func(owner, cluster string) bool {
			return owners[owner] || cluster == e.key.String() || cluster == "" && !local
		},
	}
	e.workers.Go(func() {
		r.err = e.guard("retire", func() error { return s.store.Retire(s.ctx, what) })
		e.send(func(in *inbox) { in.retired = append(in.retired, r) })
	})
}

// owners returns the owner labels of the entries.
func (e *Engine) owners() map[string]bool {
	owners := make(map[string]bool, len(e.entries))
	for _, en := range e.entries {
		owners[en.owner] = true
	}
	return owners
}

func (e *Engine) allRemoved() bool {
	for _, en := range e.entries {
		if !en.spec.Remove || !en.removed {
			return false
		}
	}
	return true
}

// onRetired hangs up: for good, or, when it failed, to try again.
func (e *Engine) onRetired(r *retirement, now time.Time) {
	l := &e.link
	if l.retiring {
		l.retiring, l.retired = false, r.err == nil
		e.hangUp()
		l.breaker.failed(now)
	}
	r.answer <- r.err
}
