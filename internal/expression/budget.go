package expression

import (
	"container/heap"
	"time"
)

// Limits bound what expressions take in sum: so many steps at once, for the first list of objects, and so many
// a second from then on. A thousand steps take about 0.3 ms.
type Limits struct{ Burst, Rate float64 }

var (
	// ClusterLimits are those of one cluster: 1.5 s of a processor, and then about a hundredth of one.
	//
	// A Kustomization checks 2,000 objects with an expression of 300 steps: the first list takes 600,000
	// steps, at once. An expression that loops over three lists takes 1,000,000 steps for one object: five
	// objects are judged at once, and one every 20 seconds from then on.
	ClusterLimits = Limits{Burst: 5_000_000, Rate: 50_000}
	// HubLimits are those of all clusters of one process: 6 s of a processor, and then a tenth of one.
	//
	// A commit gives a Kustomization such an expression for five objects on each of 1,000 clusters, which would
	// take 25 minutes: 20 of them are judged at once, and one every 3 seconds from then on, while those of
	// other Kustomizations are judged as they come.
	HubLimits = Limits{Burst: 20_000_000, Rate: 300_000}
)

// Budget is what the expressions of one Kustomization may still take. A new Budget is full. It is not safe for
// concurrent use.
type Budget struct {
	limits Limits
	spent  float64   // steps beyond what was given back since
	at     time.Time // as of when
}

// NewBudget returns one of which nothing is spent.
func NewBudget(l Limits) *Budget { return &Budget{limits: l} }

// Allows reports whether something is left at a time. Those who share the limits have equal parts of them, so that
// the expressions of one Kustomization do not keep those of another from being evaluated. The last evaluation
// may exceed what is left by its own limit.
func (b *Budget) Allows(now time.Time, sharers int) bool {
	b.refill(now, sharers)
	return b.spent < b.limits.Burst/float64(max(sharers, 1))
}

// Charge takes the steps of an evaluation off what is left.
func (b *Budget) Charge(now time.Time, sharers int, steps uint64) {
	b.refill(now, sharers)
	b.spent += float64(steps)
}

func (b *Budget) refill(now time.Time, sharers int) {
	if passed := now.Sub(b.at); passed > 0 {
		b.spent = max(0, b.spent-passed.Seconds()*b.limits.Rate/float64(max(sharers, 1)))
		b.at = now
	}
}

// Refilled is how long it takes until everything that was spent is given back.
func (b *Budget) Refilled(sharers int) time.Duration {
	return time.Duration(b.spent / b.limits.Rate * float64(max(sharers, 1)) * float64(time.Second))
}

// Shares divides limits among the owners that have spent something: one that has everything left takes no part
// from the others. An evaluation costs the logarithm of how many those are. It is not safe for concurrent use.
//
// Everything that is given back goes to all of these owners in equal parts. So one number, given, is what each of
// them has got so far, and an owner has everything back once given has reached a number of its own (share.until).
//
// Example: at 300,000 steps a second, A has spent 300,000 and B 3,000,000. For two seconds each gets 150,000 a
// second; then A has everything back, and B gets 300,000 a second for the nine seconds that it still needs.
type Shares struct {
	limits Limits
	at     time.Time // as of when
	given  float64   // to each owner in of, since of was empty last
	of     map[string]*share
	order  byUntil // those in of; the one that has everything back first is in front
}

// share is an owner that has spent something.
type share struct {
	owner string
	until float64 // what Shares.given is when the owner has everything back
	index int     // in Shares.order
}

// NewShares returns Shares of which nothing is spent.
func NewShares(l Limits) *Shares { return &Shares{limits: l, of: map[string]*share{}} }

// Allows reports whether something is left for an owner at a time.
func (s *Shares) Allows(owner string, now time.Time) bool {
	s.refill(now)
	o := s.of[owner]
	return o == nil || o.until-s.given < s.limits.Burst/float64(len(s.of))
}

// Charge takes the steps of an evaluation off what is left for an owner.
func (s *Shares) Charge(owner string, now time.Time, steps uint64) {
	s.refill(now)
	if o := s.of[owner]; o != nil {
		o.until += float64(steps)
		heap.Fix(&s.order, o.index)
		return
	}
	o := &share{owner: owner, until: s.given + float64(steps)}
	s.of[owner] = o
	heap.Push(&s.order, o)
}

// Refilled is how long it takes until everything is given back that an owner has spent.
func (s *Shares) Refilled(owner string) time.Duration {
	if o := s.of[owner]; o != nil {
		return time.Duration((o.until - s.given) / s.limits.Rate * float64(len(s.of)) * float64(time.Second))
	}
	return 0
}

// refill gives back what has come since the last call, to fewer owners each time that one has everything back.
func (s *Shares) refill(now time.Time) {
	passed := now.Sub(s.at)
	if passed <= 0 { // a clock that was set back gives nothing
		return
	}
	s.at = now
	left := passed.Seconds() * s.limits.Rate
	for len(s.order) > 0 {
		first, n := s.order[0], float64(len(s.order))
		needed := (first.until - s.given) * n
		if left < needed {
			s.given += left / n
			return
		}
		left -= needed
		s.given = first.until
		heap.Pop(&s.order)
		delete(s.of, first.owner)
	}
	s.given = 0
}

// byUntil is a heap.
type byUntil []*share

func (b byUntil) Len() int           { return len(b) }
func (b byUntil) Less(i, j int) bool { return b[i].until < b[j].until }
func (b byUntil) Swap(i, j int) {
	b[i], b[j] = b[j], b[i]
	b[i].index, b[j].index = i, j
}

func (b *byUntil) Push(x any) {
	o := x.(*share)
	o.index = len(*b)
	*b = append(*b, o)
}

func (b *byUntil) Pop() any {
	last := len(*b) - 1
	o := (*b)[last]
	(*b)[last] = nil
	*b = (*b)[:last]
	return o
}
