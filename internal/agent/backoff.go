package agent

import (
	"errors"
	"time"

	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/pacing"
)

const (
	minRetry = time.Second
	maxRetry = 5 * time.Minute
	// unwantedRetry is how often an agent dials that the hub does not want: its key was revoked, or is that of another
	// cluster.
	unwantedRetry = 10 * time.Minute
	// maxOtherShardRetry bounds the wait of an agent that the hub has sent to another of its shards.
	maxOtherShardRetry = 30 * time.Second
	// steadySession is how long a session lasts that counts as one that works.
	steadySession = time.Minute
)

// backoff decides when the agent dials again. It is pure: time and random numbers are given to it. It depends on
// how long the last session lasted, and on what the hub asked for.
type backoff struct {
	failures    int
	otherShards int // answers in a row that another shard of the hub has the Cluster
	// random returns numbers of 0 to 1.
	random func() float64
}

// next returns how long to wait after a session that lasted for a while, zero when there was none. after is
// what the hub asked for.
//
// Thousands of agents lose their hub at the same moment, so that no wait is the same for two: each is between
// half and all of one that doubles up to five minutes; one that the hub asked for is between one and two times
// that. An agent whose session lasted for steadySession dials within a second, as most losses are short.
func (b *backoff) next(lasted, after time.Duration) time.Duration {
	b.otherShards = 0
	if lasted >= steadySession {
		b.failures = 0
	}
	b.failures++
	return b.spread(pacing.Backoff(b.failures, minRetry, maxRetry), after)
}

// spread returns between half and all of a wait, and no less than the hub asked for: between one and two times that.
func (b *backoff) spread(wait, after time.Duration) time.Duration {
	wait = wait/2 + time.Duration(float64(wait/2)*b.random())
	if after > 0 {
		wait = max(wait, after+time.Duration(float64(after)*b.random()))
	}
	return wait
}

// otherShard returns how long to wait after the hub answered that another of its shards has the Cluster. One Service leads to
// all shards, and chance to one of them: of K shards it takes K tries, so that the wait stays short. The first is what the
// hub asks for; the next ones double up to half a minute, since a hub that has just started gives the same answer to all of its
// agents until its controllers have come to them. After a session, however short, the agent begins with the first again:
// it had found the shard that has the Cluster, which has moved since.
func (b *backoff) otherShard(lasted, after time.Duration) time.Duration {
	b.failures = 0 // the hub is there
	if lasted > 0 {
		b.otherShards = 0
	}
	b.otherShards++
	return b.spread(pacing.Backoff(b.otherShards, minRetry, maxOtherShardRetry), after)
}

// after returns how long to wait after a session that ended with an error.
func (b *backoff) after(err error, lasted time.Duration) time.Duration {
	if goAway, ok := errors.AsType[*goAwayError](err); ok && goAway.trusted {
		switch goAway.Reason {
		case link.GoAwayElsewhere:
			return b.otherShard(lasted, retryAfter(err))
		case link.GoAwayDuplicate: // RetryAfter is when the hub may accept it again
			b.failures = 0
		}
	}
	return b.next(lasted, retryAfter(err))
}

// retryAfter is what the hub asked for.
func retryAfter(err error) time.Duration {
	if goAway, ok := errors.AsType[*goAwayError](err); ok {
		after := time.Duration(min(goAway.RetryAfter, 86400)) * time.Second
		if !goAway.trusted {
			return min(after, maxRetry)
		}
		switch goAway.Reason {
		case link.GoAwayRevoked, link.GoAwayClusterReplaced:
			return max(after, unwantedRetry)
		}
		return after
	}
	if status, ok := errors.AsType[*statusError](err); ok {
		return status.retryAfter
	}
	return 0
}
