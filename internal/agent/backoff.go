package agent

import "time"

const (
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
	// seldom is how often an agent tries that the hub does not want: its key was revoked, or another agent has it.
	seldom = 10 * time.Minute
	// steady is how long a session lasts that counts as one that works.
	steady = time.Minute
)

// backoff decides when the agent dials again. It is pure: time and random numbers are given to it.
type backoff struct {
	failures int
	// random returns numbers of 0 to 1.
	random func() float64
}

// next returns how long to wait after a session that lasted for a while, zero when there was none. after is
// what the hub asked for.
//
// Thousands of agents lose their hub at the same moment, so that no wait is the same for two: each is between
// half and all of one that doubles up to five minutes; one that the hub asked for is between one and two times
// that. An agent whose session was steady tries within a second, as most losses are short.
func (b *backoff) next(lasted, after time.Duration) time.Duration {
	if lasted >= steady {
		b.failures = 0
	}
	wait := min(firstRetry<<min(b.failures, 20), lastRetry)
	b.failures++
	wait = wait/2 + time.Duration(float64(wait/2)*b.random())
	if after > 0 {
		wait = max(wait, after+time.Duration(float64(after)*b.random()))
	}
	return wait
}
