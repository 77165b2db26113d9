package machine

import "time"

const (
	// quietAfter is how long a cluster may send nothing until it is asked. Each watch brings something
	// about once a minute, so that one that is watched is hardly ever asked.
	quietAfter = 90 * time.Second
	// identifyEvery is how often the cluster is asked for its identity, however much it sends.
	identifyEvery = 10 * time.Minute
	// endedWatch is how old the last answer to that is at least before the end of a watch leads to another
	// question.
	endedWatch = 10 * time.Second
	// newConnection is how old that answer must be for a new connection under an old session to lead to
	// another question: something else may have taken the cluster's address.
	newConnection = 30 * time.Second
)

// ConnectionState is the state of the connection to the cluster.
type ConnectionState uint8

// States of the connection.
const (
	// Unconfigured: no address or credentials are known.
	Unconfigured ConnectionState = iota
	// Down: there is no session; the breaker knows when the next try is due.
	Down
	// Dialling: a try is under way, be it one whose address or credentials have changed since.
	Dialling
	// Up: there is a session.
	Up
	// Checking: there is a session, and the cluster is asked for its identity.
	Checking
	// Finalizing: what is kept on the cluster is being taken away.
	Finalizing
	// Finalized: nothing is sent any more.
	Finalized
)

func (s ConnectionState) String() string {
	return [...]string{"unconfigured", "down", "dialling", "up", "checking", "finalizing", "finalized"}[s]
}

// connection is the connection between the engine and its cluster. Its breaker is closed while there is
// a session.
type connection struct {
	state     ConnectionState
	breaker   breaker
	target    uint64 // numbers the configurations
	dialled   uint64 // the one that is being dialled
	session   uint64 // that is open; zero: none
	sessions  uint64 // so far
	suspended bool
	checked   time.Time // when the cluster answered with its identity last
	suspect   bool      // a request was not answered
	ended     bool      // a watch ended before its time since the cluster was checked
	claiming  bool      // the claim is being looked at
	contest   Contest
}

// Contest is what is known of another hub that may work on the cluster.
type Contest struct {
	// Suspect means that another process of the same instance seems to work on the cluster.
	Suspect bool
	// Nonce is the nonce of the challenge that was seen last in the claim, and At when it was seen first.
	Nonce string
	At    time.Time
}

// Connection returns the state of the connection.
func (m *Machine) Connection() ConnectionState { return m.conn.state }

// Breaker returns the state of the breaker and since when it has that.
func (m *Machine) Breaker() (BreakerState, time.Time) {
	return m.conn.breaker.state, m.conn.breaker.since
}

// NextTry returns when the cluster is dialled next, while the breaker is open.
func (m *Machine) NextTry() time.Time { return m.conn.breaker.next }

// mayWork reports whether passes may begin.
func (c *connection) mayWork() bool {
	return c.session != 0 && !c.suspended && c.state != Finalizing && c.state != Finalized
}

// next returns when the connection has something to do by itself.
func (c *connection) next(lastAnswer time.Time) time.Time {
	switch c.state {
	case Down:
		return c.breaker.next
	case Up:
		return c.checkAt(lastAnswer)
	default:
		return time.Time{}
	}
}

// checkAt returns when the cluster of the session is to be asked for its identity: when it has been quiet for
// too long, and now and then.
func (c *connection) checkAt(lastAnswer time.Time) time.Time {
	if c.checked.After(lastAnswer) {
		lastAnswer = c.checked
	}
	at, latest := lastAnswer.Add(quietAfter), c.checked.Add(identifyEvery)
	if c.ended {
		latest = c.checked.Add(endedWatch)
	}
	if latest.Before(at) {
		return latest
	}
	return at
}

// maintain dials when there is no session, and checks when in doubt.
func (m *Machine) maintain(lastAnswer, now time.Time) {
	c := &m.conn
	switch {
	case m.fenced: // no failure would be the cluster's
	case c.state == Down && c.breaker.due(now):
		c.state, c.dialled = Dialling, c.target
		c.breaker.try(now)
		m.do(Dial{Target: c.target, Contest: c.contest})
	case c.state == Up && (c.suspect || !now.Before(c.checkAt(lastAnswer))):
		c.state, c.suspect, c.ended = Checking, false, false
		m.do(Check{Session: c.session})
	}
}

// configure takes up an address and credentials.
func (m *Machine) configure(suspended bool, now time.Time) {
	m.disconnect("configured anew")
	c := &m.conn
	c.target++
	c.suspended = suspended
	c.breaker.reset(now)
	if c.state != Dialling { // the end of that one leads to the next
		c.state = Down
	}
}

// disconnect ends the session.
func (m *Machine) disconnect(why string) {
	c := &m.conn
	if c.session == 0 {
		return
	}
	m.do(Disconnect{Session: c.session, Why: why})
	c.session, c.suspect, c.ended = 0, false, false
	if c.state == Up || c.state == Checking {
		c.state = Down
	}
	for _, en := range m.entries {
		en.Changed = true
	}
}

// fail ends the session for something that the cluster has to answer for.
func (m *Machine) fail(why string, now time.Time) {
	m.disconnect(why)
	m.conn.breaker.failed(now, m.jitter)
}

// restart ends the session, and makes a new one due at once.
func (m *Machine) restart(why string, now time.Time) {
	m.disconnect(why)
	m.conn.breaker.retryNow(now)
}

func (m *Machine) dialled(e Dialled, now time.Time) {
	c := &m.conn
	if c.state != Dialling {
		return
	}
	c.state = Down
	switch {
	case c.dialled != c.target:
		m.do(Discard{})
		return
	case !e.Connected:
		c.breaker.failed(now, m.jitter)
		m.contested(e, now)
		return
	}
	c.state = Up
	c.breaker.answered(now)
	c.contest = Contest{}
	c.sessions++
	c.session, c.suspect, c.ended, c.checked = c.sessions, false, false, now
	m.do(StartSession{Session: c.session})
	for name, en := range m.entries {
		en.startSession(m, e.Applied[name], now)
	}
}

// contested notes what is waited for before a claim may be taken over, and when to ask again.
func (m *Machine) contested(e Dialled, now time.Time) {
	c := &m.conn
	if !e.Contested {
		return
	}
	if e.Nonce != c.contest.Nonce {
		c.contest.Nonce, c.contest.At = e.Nonce, now
	}
	if e.Waiting {
		c.breaker.next = now.Add(max(c.contest.At.Add(m.o.ClaimGrace).Sub(now), m.o.ClaimGrace/4))
	}
}

func (m *Machine) checked(e Checked, now time.Time) {
	c := &m.conn
	if e.Session != c.session || c.state != Checking {
		return
	}
	c.state, c.checked = Up, now
	switch e.Answer {
	case AnotherCluster:
		m.restart("another cluster answers", now)
	case EarlierState:
		m.fail("an earlier state of the cluster", now)
	case NoAnswer:
		m.fail("no answer", now)
	case Unidentified:
		c.ended = true // the question stands: what comes back may be an earlier state
	case SameCluster:
	}
}

// sessionFailed ends a session of which something is wrong.
func (m *Machine) sessionFailed(e SessionFailed, now time.Time) {
	if e.Session != m.conn.session || e.Session == 0 {
		return
	}
	if e.ForeignWrite {
		m.conn.contest = Contest{Suspect: true}
	}
	m.fail(e.Why, now)
}

func (m *Machine) claimAnswered(e ClaimAnswered, now time.Time) {
	c := &m.conn
	c.claiming = false
	if e.Session != c.session || c.session == 0 || c.state == Finalizing || e.Failed {
		return
	}
	switch e.Claim {
	case ClaimStands:
	case ClaimGone:
		m.restart("the claim is gone", now)
	case ClaimYielded:
		c.contest = Contest{Suspect: true}
		m.fail("the claim was yielded", now)
	case ClaimTaken:
		m.fail("another hub has the claim", now)
	}
}

// finalize begins to take away what is kept on the cluster. From then on nothing else is sent there.
func (m *Machine) finalize(e FinalizeRequested, now time.Time) {
	c := &m.conn
	switch {
	case c.state == Finalized:
		m.do(Answer{Request: e.Request, Result: FinalizeDone})
	case c.session == 0 || c.state == Finalizing || m.fenced:
		m.do(Answer{Request: e.Request, Result: FinalizeNotConnected})
	case len(m.inFlight) > 0 || !m.allRemoved():
		m.do(Answer{Request: e.Request, Result: FinalizeNotRemoved})
	default:
		c.state = Finalizing
		m.do(Purge{Request: e.Request, Session: c.session})
		m.dispatch(now) // gives slots back
	}
}

// finalized disconnects: for good, or, when it failed, to try again.
func (m *Machine) finalized(e PurgeDone, now time.Time) {
	c := &m.conn
	if c.state == Finalizing {
		why := "the finalization failed"
		if c.state = Down; e.Succeeded {
			c.state, why = Finalized, "finalized"
		}
		m.fail(why, now)
	}
}
