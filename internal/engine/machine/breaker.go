package machine

import "time"

const (
	// redialFirst and redialMax bound the wait between two tries to reach a cluster.
	redialFirst = 500 * time.Millisecond
	redialMax   = time.Minute
	// steady is how long an answer has to last to forgive one that did not.
	steady = time.Minute
)

// BreakerState is the state of a breaker.
type BreakerState uint8

// States of a breaker.
const (
	// Open: the cluster does not answer, and is left alone until the next try is due.
	Open BreakerState = iota
	// HalfOpen: one try is under way.
	HalfOpen
	// Closed: the cluster answers.
	Closed
)

func (s BreakerState) String() string { return [...]string{"open", "half open", "closed"}[s] }

// breaker decides when a cluster is tried. The wait doubles with each try that fails, and also with each
// answer that does not last: without that, a link that comes and goes every few seconds would be dialled
// at once each time, with all the work that a new session is.
type breaker struct {
	state BreakerState
	since time.Time // when the state began
	next  time.Time // when the next try is due, while open
	tries int       // that failed since the last answer
	flaps int       // answers that did not last and are not forgiven
}

// reset forgets everything: what is tried from now on is another address, or another process tries.
func (b *breaker) reset(now time.Time) { *b = breaker{state: Open, since: now, next: now} }

// due reports whether it is time for a try.
func (b *breaker) due(now time.Time) bool { return b.state == Open && !now.Before(b.next) }

// try begins one.
func (b *breaker) try(now time.Time) { b.state, b.since = HalfOpen, now }

// answered ends a try that succeeded.
func (b *breaker) answered(now time.Time) { b.state, b.since, b.tries = Closed, now, 0 }

// failed ends a try that did not, or an answer that has lasted until now.
func (b *breaker) failed(now time.Time, jitter func(time.Duration) time.Duration) {
	if b.state == Closed {
		lasted := now.Sub(b.since)
		if lasted < steady {
			b.flaps++
		} else {
			b.flaps = max(0, b.flaps-int(lasted/steady))
		}
	}
	b.tries++
	b.state, b.since = Open, now
	b.next = now.Add(jitter(redial(b.tries + b.flaps)))
}

// retryNow makes a try due at once, for a reason that the cluster does not have to answer for.
func (b *breaker) retryNow(now time.Time) { b.state, b.since, b.next = Open, now, now }

// redial returns the wait before try n (from 1).
func redial(n int) time.Duration { return min(redialFirst<<min(max(n-1, 0), 10), redialMax) }
