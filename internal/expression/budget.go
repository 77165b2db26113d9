package expression

import "time"

// What the expressions of one cluster may take in sum: a burst, for the first list of its objects, and a
// rate from then on, which is about a hundredth of a processor.
//
// A Kustomization checks 2,000 objects with an expression of 300 steps: the first list takes 600,000
// steps, at once. An expression that loops over three lists takes 1,000,000 steps for one object: five
// objects are judged at once, and one every 20 seconds from then on.
const (
	clusterBurst = 5_000_000
	clusterRate  = 50_000 // a second
)

// Budget is what the expressions of one Kustomization may still take on one cluster. The zero Budget is
// full. It is not safe for concurrent use.
type Budget struct {
	spent float64   // steps beyond what was given back since
	at    time.Time // as of when
}

// Allows says whether something is left at a time. Those who share a cluster have equal parts of what it
// may take, so that the expressions of one Kustomization do not keep those of another from being
// evaluated. The last evaluation may exceed what is left by its own limit.
func (b *Budget) Allows(now time.Time, sharers int) bool {
	b.refill(now, sharers)
	return b.spent < clusterBurst/float64(max(sharers, 1))
}

// Charge takes the steps of an evaluation off what is left.
func (b *Budget) Charge(now time.Time, sharers int, steps uint64) {
	b.refill(now, sharers)
	b.spent += float64(steps)
}

func (b *Budget) refill(now time.Time, sharers int) {
	if passed := now.Sub(b.at); passed > 0 {
		b.spent = max(0, b.spent-passed.Seconds()*clusterRate/float64(max(sharers, 1)))
		b.at = now
	}
}

// Refilled is how long it takes until everything that was spent is given back.
func (b *Budget) Refilled(sharers int) time.Duration {
	return time.Duration(b.spent / clusterRate * float64(max(sharers, 1)) * float64(time.Second))
}
