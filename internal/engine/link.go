package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/apply"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/object"
)

const (
	// checkEvery is how often a cluster that works is asked who it is.
	checkEvery = time.Minute
	// redialFirst and redialMax bound the wait between two tries to reach one that does not answer.
	redialFirst = 500 * time.Millisecond
	redialMax   = time.Minute
)

// noObject stands where an error is not about an object.
var noObject = object.ID{}

// link is the breaker between the engine and its cluster: closed while there is a session, open
// while there is none and the next try is due later, half open while one try is under way.
type link struct {
	conn     *Connection
	session  *session
	dialing  bool
	checking bool
	tries    int       // since the last answer
	next     time.Time // dial or check due
	suspect  bool      // a request was not answered
	state    State
	since    time.Time // when the session began
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
}

// tend keeps the connection: dials when there is none, asks when in doubt, and hangs up on a cluster
// that does not answer. It waits for nothing; answers come back through the inbox.
func (e *Engine) tend(ctx context.Context, now time.Time) {
	l := &e.link
	switch {
	case l.conn == nil || l.dialing || l.checking:
	case l.session == nil && !now.Before(l.next):
		l.dialing = true
		conn := l.conn
		e.workers.Go(func() {
			s, err := e.dial(ctx, *conn)
			e.send(func(in *inbox) { in.dialed = append(in.dialed, dialed{conn, s, err}) })
		})
	case l.session != nil && (l.suspect || !now.Before(l.next)):
		l.checking, l.suspect = true, false
		s := l.session
		e.workers.Go(func() {
			c := s.check(s.ctx)
			e.send(func(in *inbox) { in.checked = append(in.checked, c) })
		})
	}
}

// check asks the cluster of a session whether it is there and the same.
func (s *session) check(ctx context.Context) checked {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	id, err := s.client.Identify(ctx, false)
	return checked{session: s, err: err, changed: err == nil && id.UID != s.identity.UID}
}

func (e *Engine) onDialed(d dialed, now time.Time) {
	l := &e.link
	l.dialing = false
	if d.conn != l.conn { // the credentials changed meanwhile
		if d.session != nil {
			d.session.end()
		}
		l.next = now
		return
	}
	if d.err != nil {
		l.tries++
		l.next = now.Add(redial(l.tries))
		e.down(d.err, now)
		return
	}
	l.session, l.tries, l.suspect, l.since = d.session, 0, false, now
	l.next = now.Add(jitter(checkEvery))
	l.state = State{
		Reachable: true, Known: true, Usable: true,
		UID: d.session.identity.UID, Version: d.session.identity.Version, LastSeen: now,
	}
	for _, en := range e.entries {
		en.meet(d.session)
	}
}

func (e *Engine) onChecked(c checked, now time.Time) {
	l := &e.link
	if c.session != l.session {
		return
	}
	l.checking = false
	l.next = now.Add(jitter(checkEvery))
	switch {
	case c.changed:
		e.hangUp()
		l.next = now
	case c.err == nil:
		l.state.LastSeen = now
	case apply.Unauthorized(c.err), apply.Unanswered(c.err):
		e.hangUp()
		l.tries = 1
		l.next = now.Add(redial(1))
		e.down(refusal(c.err), now)
	default: // it answers, if with a refusal: the passes will tell
		l.state.LastSeen = now
	}
}

// down tells what is known of a cluster without a session.
func (e *Engine) down(err error, now time.Time) {
	s := &e.link.state
	s.Known = true
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

// hangUp ends the session. Passes that are under way end with its context; what they come back with
// still counts, for their inventories are ahead of it anyway.
func (e *Engine) hangUp() {
	l := &e.link
	if l.session == nil {
		return
	}
	s := l.session
	l.session, l.checking, l.suspect = nil, false, false
	for _, en := range e.entries {
		en.session, en.dirty = nil, true
	}
	e.workers.Go(s.end)
}

// heard is told by the client how each request ended.
func (e *Engine) heard(err error) {
	if err == nil {
		e.seen.Store(e.o.Now().UnixNano())
		return
	}
	e.send(func(in *inbox) { in.suspect = true })
}

func redial(tries int) time.Duration {
	d := redialFirst << min(tries-1, 10)
	return jitter(min(d, redialMax))
}

// jitter spreads a wait by 10 % to either side, so that clusters do not come in step.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*0.2*float64(d)) //nolint:gosec // not a secret
}
