package engine

import (
	"context"
	"errors"
	"time"

	"github.com/skerry-dev/skerry/internal/edge"
)

var (
	// ErrNotConnected says that there is nobody to send it to.
	ErrNotConnected = errors.New("the cluster is not connected")
	// ErrNotRemoved says that something of an entry is there, or may be put there yet.
	ErrNotRemoved = errors.New("not every entry is removed")
)

// finalization is a question and its answer.
type finalization struct {
	answer chan error
	err    error
}

// Finalize implements Pooled.
func (p *Pool) Finalize(ctx context.Context, key Key) error {
	e := p.engine(key)
	if e == nil {
		return ErrNotConnected
	}
	r := &finalization{answer: make(chan error, 1)}
	e.send(func(in *inbox) { in.finalize = append(in.finalize, r) })
	select {
	case err := <-r.answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// startFinalization begins to take away what is kept on the cluster. From then on nothing else is sent there, so
// that nothing is put down anew: only the loop knows that no pass is under way and none will begin.
func (e *Engine) startFinalization(r *finalization) {
	l := &e.conn
	switch {
	case l.finalized:
		r.answer <- nil
		return
	case l.session == nil || l.finalizing:
		r.answer <- ErrNotConnected
		return
	case e.passes > 0 || !e.allRemoved():
		r.answer <- ErrNotRemoved
		return
	}
	l.finalizing = true
	s, owners, local := l.session, e.owners(), l.target.Local
	what := edge.Retirement{
		Revoke: !local, KeepClaim: local && e.siblings.any(),
		Own: func(owner, cluster string) bool {
			return owners[owner] || cluster == e.key.String() || cluster == "" && !local
		},
	}
	e.workers.Go(func() {
		r.err = e.guard("retire", func() error { return s.store.Finalize(s.ctx, what) })
		e.send(func(in *inbox) { in.finalizedResults = append(in.finalizedResults, r) })
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

// onFinalized hangs up: for good, or, when it failed, to try again.
func (e *Engine) onFinalized(r *finalization, now time.Time) {
	l := &e.conn
	if l.finalizing {
		l.finalizing, l.finalized = false, r.err == nil
		e.disconnect()
		l.breaker.failed(now)
	}
	r.answer <- r.err
}
