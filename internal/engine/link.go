package engine

import (
	"context"
	"errors"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/object"
)

const (
	// quietAfter is how long a cluster may say nothing until it is asked. Each watch says something
	// about once a minute, so that one that is watched is hardly ever asked.
	quietAfter = 90 * time.Second
	// identifyEvery is how often it is asked who it is, however much it says.
	identifyEvery = 10 * time.Minute
	// endedWatch is how old it is at least before the end of a watch makes the hub ask again.
	endedWatch = 10 * time.Second
	// newConnection is how old that answer must be for a new connection under an old session to be a
	// reason to ask again: something else may have taken the cluster's address.
	newConnection = 30 * time.Second
)

// noObject stands where an error is not about an object.
var noObject = object.ID{}

// connection is between the engine and its cluster. Its breaker is closed while there is a session.
type connection struct {
	target   *Connection
	breaker  breaker
	session  *session
	dialing  bool // also while the answer to a try that is of no use any more is under way
	checking bool
	checked  time.Time // when the cluster said last who it is
	suspect  bool      // a request was not answered
	ended    bool      // a watch ended before its time since the cluster was checked
	state    State

	// contest is what is known of another hub that may work on the cluster.
	contest edge.Contest
	// standing says that the claim is being looked at.
	standing bool

	finalizing, finalized bool // what is kept on the cluster is being taken away, or has been
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
	// restored says that its store was restored from a backup, or that somebody else wrote inventories.
	restored bool
}

// maintainConnection keeps the connection: dials when there is none, asks when in doubt, and hangs up on a cluster
// that does not answer. It waits for nothing; answers come back through the inbox.
func (e *Engine) maintainConnection(ctx context.Context, now time.Time) {
	l := &e.conn
	switch {
	case e.fenced(): // no failure would be the cluster's
	case l.target == nil || l.dialing || l.checking || l.finalizing || l.finalized:
	case l.session == nil && l.breaker.due(now):
		l.dialing = true
		l.breaker.try(now)
		conn, contest := l.target, l.contest
		contest.Now, contest.Grace = now, e.o.ClaimGrace
		e.workers.Go(func() {
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
	case l.session != nil && (l.suspect || !now.Before(e.checkAt())):
		l.checking, l.suspect, l.ended = true, false, false
		s := l.session
		e.workers.Go(func() {
			c := checked{session: s}
			if err := e.guard("check", func() error { c = s.check(s.ctx); return nil }); err != nil {
				c.err = err
			}
			e.send(func(in *inbox) { in.checked = append(in.checked, c) })
		})
	}
}

// fenced says whether this process may not act at present.
func (e *Engine) fenced() bool { return e.o.Fence != nil && e.o.Fence.Lost() != nil }

// checkAt returns when the cluster of the session is to be asked who it is: when it has been quiet for
// too long, and now and then.
func (e *Engine) checkAt() time.Time {
	l := &e.conn
	heard := l.checked
	if at := time.Unix(0, e.seen.Load()); at.After(heard) {
		heard = at
	}
	at, latest := heard.Add(quietAfter), l.checked.Add(identifyEvery)
	if l.ended {
		latest = l.checked.Add(endedWatch)
	}
	if latest.Before(at) {
		return latest
	}
	return at
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

func (e *Engine) onDialed(d dialed, now time.Time) {
	l := &e.conn
	l.dialing = false
	if d.conn != l.target { // the credentials changed meanwhile
		if d.session != nil {
			d.session.end()
		}
		return
	}
	if d.err != nil {
		l.breaker.failed(now)
		e.onContested(d.err, now)
		e.connectionFailed(d.err, now)
		return
	}
	l.breaker.answered(now)
	l.contest = edge.Contest{}
	e.unclaimed.changed = true
	l.session, l.suspect, l.ended, l.checked = d.session, false, false, now
	if l.state.Version != d.session.identity.Version { // which may be able to do what an earlier one was not
		e.noWatchList.Store(false)
	}
	l.state = State{
		Reachable: true, Known: true, Usable: true,
		UID: d.session.identity.UID, Version: d.session.identity.Version, LastSeen: now,
	}
	for _, inv := range d.session.inventories {
		maskInventory(&e.mask, inv)
	}
	for _, en := range e.entries {
		en.startSession(d.session)
	}
}

func (e *Engine) onChecked(c checked, now time.Time) {
	l := &e.conn
	if c.session != l.session {
		return
	}
	l.checking, l.checked = false, now
	switch {
	case c.changed:
		e.disconnect()
		l.breaker.again(now)
	case c.restored:
		e.o.Log.Info("The cluster shows an earlier state than before, or other inventories: everything is read anew", "cluster", e.key)
		e.disconnect()
		l.breaker.failed(now)
	case c.err == nil:
		l.state.LastSeen = now
	case edge.Unauthorized(c.err), edge.Unanswered(c.err), isPanic(c.err):
		e.disconnect()
		l.breaker.failed(now)
		e.connectionFailed(refusal(c.err), now)
	default: // it answers, if with a refusal: the passes will tell
		l.state.LastSeen = now
	}
}

// onOverflow gives up a session that shows more than the hub can keep of one cluster.
func (e *Engine) onOverflow(s *session, now time.Time) {
	if s != e.conn.session {
		return
	}
	e.disconnect()
	e.conn.breaker.failed(now)
	e.connectionFailed(refusal(edge.ErrTooMany), now)
}

// onCrashed gives up a session of which something has panicked: what it has learnt may be half of it.
func (e *Engine) onCrashed(c crash, now time.Time) {
	if c.session != e.conn.session {
		return
	}
	e.disconnect()
	e.conn.breaker.failed(now)
	e.connectionFailed(refusal(c.err), now)
}

// connectionFailed tells what is known of a cluster without a session.
func (e *Engine) connectionFailed(err error, now time.Time) {
	s := &e.conn.state
	s.Known = true
	if at := time.Unix(0, e.seen.Load()); at.After(s.LastSeen) { // by what came on a watch, say
		s.LastSeen = at
	}
	for _, en := range e.entries {
		en.dirty = true
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
	l := &e.conn
	if l.session == nil {
		return
	}
	s := l.session
	l.session, l.checking, l.suspect, l.ended = nil, false, false, false
	for _, en := range e.entries {
		en.session, en.dirty = nil, true
	}
	e.workers.Go(func() {
		_ = e.guard("end of a session", func() error { s.end(); return nil })
	})
}

// recordAnswer is told by the client how each request ended, and of all that a watch brings.
func (e *Engine) recordAnswer(err error) {
	if err == nil {
		e.seen.Store(e.o.Now().UnixNano())
		return
	}
	e.send(func(in *inbox) { in.suspect = true })
}

// connected is told by the client of each new connection.
func (e *Engine) connected() { e.send(func(in *inbox) { in.connected = true }) }
