package engine

import (
	"math/rand/v2"
	"time"
)

const (
	// redialFirst and redialMax bound the wait between two tries to reach a cluster.
	redialFirst = 500 * time.Millisecond
	redialMax   = time.Minute
	// steady is how long an answer has to last to forgive one that did not.
	steady = time.Minute
)

// phase of a breaker.
type phase uint8

const (
	// open: the cluster does not answer, and is left alone until the next try is due.
	open phase = iota
	// halfOpen: one try is under way.
	halfOpen
	// closed: the cluster answers.
	closed
)

func (p phase) String() string { return [...]string{"open", "half open", "closed"}[p] }

// breaker decides when a cluster is tried. The wait doubles with each try that fails, and also with
// each answer that does not last: a link that comes and goes every few seconds would else be greeted
// each time at once, with all the work that a new session is.
type breaker struct {
	phase phase
	since time.Time // when the phase began
	next  time.Time // when the next try is due, while open
	tries int       // that failed since the last answer
	flaps int       // answers that did not last and are not forgiven
}

// reset forgets everything: what is tried now is something else.
func (b *breaker) reset(now time.Time) { *b = breaker{phase: open, since: now, next: now} }

// due says whether it is time for a try.
func (b *breaker) due(now time.Time) bool { return b.phase == open && !now.Before(b.next) }

// try begins one.
func (b *breaker) try(now time.Time) { b.phase, b.since = halfOpen, now }

// answered ends a try that went well.
func (b *breaker) answered(now time.Time) { b.phase, b.since, b.tries = closed, now, 0 }

// failed ends a try that did not, or an answer that has lasted until now.
func (b *breaker) failed(now time.Time) {
	if b.phase == closed {
		lasted := now.Sub(b.since)
		if lasted < steady {
			b.flaps++
		} else {
			b.flaps = max(0, b.flaps-int(lasted/steady))
		}
	}
	b.tries++
	b.phase, b.since = open, now
	b.next = now.Add(redial(b.tries + b.flaps))
}

// again lets the cluster go to be tried anew, for a reason that it does not have to answer for.
func (b *breaker) again(now time.Time) { b.phase, b.since, b.next = open, now, now }

// redial returns the wait before try n (from 1).
func redial(n int) time.Duration {
	return jitter(min(redialFirst<<min(max(n-1, 0), 10), redialMax))
}

// jitter spreads a wait by 10 % to either side, so that clusters do not come in step.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*0.2*float64(d)) //nolint:gosec // not a secret
}
