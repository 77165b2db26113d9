package engine

import (
	"context"
	"errors"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/engine/machine"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/object"
)

// noObject stands where an error is not about an object.
var noObject = object.ID{}

// connection is what is known of the cluster. When it is dialled and checked is the machine's to decide.
type connection struct {
	target  *Connection
	session *session
	number  uint64   // of the session
	dialed  *session // while the machine decides what becomes of it
	state   State
}

// dialed and checked are what the goroutines that wait for the cluster come back with.
type dialed struct {
	conn    *Connection
	session *session
	err     error
}

type checked struct {
	session *session
	err     error
	changed bool // it is another cluster now
	// restored means that its store was restored from a backup, or that something else wrote inventories.
	restored bool
}

// beginDial connects to the cluster.
func (e *Engine) beginDial(ctx context.Context, a machine.Dial, now time.Time) {
	conn := e.conn.target
	contest := edge.Contest{Suspect: a.Contest.Suspect, Nonce: a.Contest.Nonce, At: a.Contest.At, Now: now, Grace: e.o.ClaimGrace}
	e.workers.Go(func() { // ends with the answer, or with the engine
		var s *session
		err := e.guard("dial", func() (err error) {
			s, err = e.dial(ctx, *conn, contest)
			return err
		})
		if isPanic(err) {
			err = refusal(err)
		}
		e.send(func(in *inbox) { in.dialed = append(in.dialed, dialed{conn, s, err}) })
	})
}

// beginCheck asks the cluster for its identity.
func (e *Engine) beginCheck() {
	s := e.conn.session
	e.workers.Go(func() { // ends with the answer, or with the session
		c := checked{session: s}
		if err := e.guard("check", func() error { c = s.check(s.ctx); return nil }); err != nil {
			c.err = err
		}
		e.send(func(in *inbox) { in.checked = append(in.checked, c) })
	})
}

// check asks the cluster of a session whether it is there and the same: the same cluster, and not an
// earlier state of it.
func (s *session) check(ctx context.Context) checked {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	id, err := s.client.Identify(ctx, false)
	if err != nil || id.UID != s.identity.UID {
		return checked{session: s, err: err, changed: err == nil}
	}
	restored, err := s.store.Restored(ctx)
	return checked{session: s, err: err, restored: restored}
}

func (e *Engine) onDialed(ctx context.Context, d dialed, now time.Time) {
	ev := machine.Dialled{Connected: d.err == nil}
	if d.err == nil {
		ev.Applied = make(map[string]string, len(e.entries))
		for name, en := range e.entries {
			ev.Applied[name] = d.session.applied(en.owner)
		}
	}
	if refused, ok := errors.AsType[*refusedError](d.err); ok && refused.contest != nil {
		ev.Contested, ev.Nonce, ev.Waiting = true, refused.contest.Nonce, refused.contest.Waiting
	}
	e.conn.dialed = d.session
	e.step(ctx, ev, now)
	e.conn.dialed = nil
	if d.err != nil && d.conn == e.conn.target { // else the credentials have changed meanwhile
		e.connectionFailed(d.err, now)
	}
}

// startSession takes up the session that was dialled.
func (e *Engine) startSession(a machine.StartSession, now time.Time) {
	l := &e.conn
	l.session, l.number = l.dialed, a.Session
	e.unclaimed.changed = true
	id := l.session.identity
	if l.state.Version != id.Version { // which may be able to do what an earlier one was not
		e.noWatchList.Store(false)
	}
	l.state = State{Reachable: true, Known: true, Usable: true, UID: id.UID, Version: id.Version, LastSeen: now}
	e.logger().Info("connected", "version", id.Version, "session", a.Session)
	for _, inv := range l.session.inventories {
		maskInventory(&e.mask, inv)
	}
	for _, en := range e.entries {
		e.startEntry(en)
	}
}

func (e *Engine) onChecked(ctx context.Context, c checked, now time.Time) {
	if c.session != e.conn.session {
		return
	}
	ev := machine.Checked{Session: e.conn.number}
	failed := false
	switch {
	case c.changed:
		ev.Answer = machine.AnotherCluster
	case c.restored:
		ev.Answer = machine.EarlierState
		e.assessments.forget()
		e.o.Log.Info("The cluster shows an earlier state than before, or other inventories: everything is read anew", "cluster", e.key.String())
	case c.err == nil:
		e.conn.state.LastSeen = now
	case apierror.Unauthorized(c.err), apierror.Unanswered(c.err), isPanic(c.err):
		ev.Answer, failed = machine.NoAnswer, true
	default: // the passes will report why
		ev.Answer = machine.Unidentified
		e.conn.state.LastSeen = now
	}
	e.step(ctx, ev, now)
	if failed {
		e.connectionFailed(refusal(c.err), now)
	}
}

// onFailure gives up a session that shows more than the hub can keep of one cluster, or of which something
// has panicked: what it has learnt may be half of it.
func (e *Engine) onFailure(ctx context.Context, s *session, why string, err error, now time.Time) {
	if e.sessionFailed(ctx, s, machine.SessionFailed{Why: why}, now) {
		e.connectionFailed(refusal(err), now)
	}
}

// sessionFailed gives up a session, and reports whether it was the one that counts.
func (e *Engine) sessionFailed(ctx context.Context, s *session, ev machine.SessionFailed, now time.Time) bool {
	if s == nil || s != e.conn.session {
		return false
	}
	ev.Session = e.conn.number
	e.step(ctx, ev, now)
	return true
}

// connectionFailed reports what is known of a cluster without a session.
func (e *Engine) connectionFailed(err error, now time.Time) {
	s := &e.conn.state
	defer e.reportFailure(*s)
	s.Known = true
	if at := e.lastAnswer(); at.After(s.LastSeen) { // by what came on a watch, say
		s.LastSeen = at
	}
	for _, en := range e.entries {
		en.Changed = true
	}
	if refused, ok := errors.AsType[*refusedError](err); ok {
		s.Reachable, s.Usable, s.LastSeen = true, false, now
		s.Reason, s.Message = refused.reason, health.Clean(refused.message)
		return
	}
	s.Reachable, s.Usable = false, false
	s.Reason, s.Message = v1alpha1.UnreachableReason, unreachableMessage(err)
}

// disconnect ends the session. Passes that are under way end with its context; what they come back with
// still counts, for their inventories are ahead of it anyway.
func (e *Engine) disconnect() {
	s := e.conn.session
	if s == nil {
		return
	}
	e.conn.session = nil
	for _, en := range e.entries {
		en.session, en.view, en.Changed = nil, nil, true
	}
	e.endSession(s)
}

func (e *Engine) endSession(s *session) {
	e.workers.Go(func() { // ends with the watches of the session
		_ = e.guard("end of a session", func() error { s.end(); return nil })
	})
}

// recordAnswer is called by the client when a request ends, and for all that a watch brings.
func (e *Engine) recordAnswer(err error) {
	if err == nil {
		e.answeredAt.Store(e.o.Now().UnixNano())
		return
	}
	e.send(func(in *inbox) { in.suspect = true })
}

// connected is called by the client for each new connection.
func (e *Engine) connected() { e.send(func(in *inbox) { in.connected = true }) }
