package engine

import (
	"context"
	"errors"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine/machine"
	"github.com/skerry-dev/skerry/internal/recovery"
	"github.com/skerry-dev/skerry/internal/sleep"
)

const (
	// restartMax bounds the wait before an engine whose loop has panicked begins anew, and an engine that
	// ran for restartForgiven since then begins again with the shortest.
	restartMax      = time.Minute
	restartForgiven = 10 * time.Minute
)

// crash means that something of a session has panicked.
type crash struct {
	session *session
	err     error
}

func isPanic(err error) bool {
	_, ok := errors.AsType[*recovery.Panic](err)
	return ok
}

// guard runs a piece of the work on this cluster. A panic ends that piece alone, as an error; it is
// logged here.
func (e *Engine) guard(what string, f func() error) error {
	err := recovery.Run(f)
	e.logPanic(what, err)
	return err
}

// logPanic logs an error that was a panic.
func (e *Engine) logPanic(what string, err error) {
	p, ok := errors.AsType[*recovery.Panic](err)
	if !ok {
		return
	}
	e.o.Log.Error(err, "recovered from a panic", append([]any{"cluster", e.key.String(), "in", what}, p.Details()...)...)
}

// supervise runs the engine of a member until ctx is done. One whose loop has panicked begins anew, with what
// it was given last, after a pause that doubles each time: whatever it met is likely to be there still.
func (p *Pool) supervise(ctx context.Context, key Key, m *runningEngine) {
	for tries := 1; ; tries++ {
		begun := p.o.Now()
		p.mu.Lock()
		e := m.engine
		p.mu.Unlock()
		err := e.run(ctx)
		if ctx.Err() != nil || err == nil {
			return
		}
		if p.o.Now().Sub(begun) > restartForgiven {
			tries = 1
		}
		if !p.replace(key, m, err) {
			return
		}
		_ = sleep.For(ctx, machine.Backoff(tries, restartMax))
	}
}

// replace gives a member a new engine in place of one that has panicked, and reports whether there is
// still a use for it.
func (p *Pool) replace(key Key, m *runningEngine, err error) bool {
	p.mu.Lock()
	old := m.engine
	old.markIdle() // it has ended, which is more than to rest
	stopped := p.stopped
	if !stopped {
		m.engine = p.engineOf(key)
		m.engine.state = old.crashed(err)
		if m.configured {
			conn := m.conn
			m.engine.conn.state = m.engine.state
			m.engine.send(func(in *inbox) { in.conn = &conn })
		}
		if m.assigned {
			entries := m.entries
			m.engine.send(func(in *inbox) { in.entries, in.assign = entries, true })
		}
	}
	p.mu.Unlock()
	if !stopped && p.o.OnChange != nil {
		_ = old.guard("news", func() error { p.o.OnChange(key); return nil })
	}
	return !stopped
}

// crashed is what is known of the cluster after its engine has panicked.
func (e *Engine) crashed(err error) State {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.state
	s.Reachable, s.Known, s.Usable = true, true, false
	s.Reason, s.Message = v1alpha1.InternalErrorReason, err.Error()
	return s
}
