package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/engine/machine"
)

var (
	// ErrNotConnected means that there is no connection to send it on.
	ErrNotConnected = errors.New("the cluster is not connected")
	// ErrNotRemoved means that something of an entry is there, or may be put there yet.
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

var finalizeErrors = map[machine.FinalizeResult]error{
	machine.FinalizeDone: nil, machine.FinalizeNotConnected: ErrNotConnected, machine.FinalizeNotRemoved: ErrNotRemoved,
}

// purge takes away what is kept on the cluster. From then on nothing else is sent there, so that nothing is
// put down anew: the machine knows that no pass is under way and none will begin.
func (e *Engine) purge(a machine.Purge) {
	r := e.finalizations[a.Request]
	delete(e.finalizations, a.Request)
	s, owners, local, siblings := e.conn.session, e.owners(), e.conn.target.Local, e.siblings.any()
	what := edge.FinalizeOptions{
		Revoke: !local && !siblings, KeepClaim: siblings,
		Own: func(owner, cluster string) bool {
			return owners[owner] || cluster == e.key.String() || cluster == "" && !local && !siblings
		},
	}
	e.workers.Go(func() { // ends with the answer, or with the session
		r.err = e.guard("finalize", func() error { return s.store.Finalize(s.ctx, what) })
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

// owns reports whether an owner label is that of an entry.
func (e *Engine) owns(owner string) bool {
	return slices.ContainsFunc(e.sorted, func(en *entry) bool { return en.owner == owner })
}

// onFinalized reports the end of a finalization.
func (e *Engine) onFinalized(ctx context.Context, r *finalization, now time.Time) {
	e.step(ctx, machine.PurgeDone{Succeeded: r.err == nil}, now)
	r.answer <- r.err
}
