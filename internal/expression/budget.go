package expression

import "time"

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

// Allows says whether something is left at a time. Those who share the limits have equal parts of them, so that
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

// Shares divides limits among those that have spent something: one that has everything left takes no part from
// the others. It is not safe for concurrent use.
type Shares struct {
	limits Limits
	of     map[string]*Budget // by owner; those that are full are left out
}

// NewShares returns Shares of which nothing is spent.
func NewShares(l Limits) *Shares { return &Shares{limits: l, of: map[string]*Budget{}} }

// Allows says whether something is left for an owner at a time.
func (s *Shares) Allows(owner string, now time.Time) bool {
	s.refill(now)
	b := s.of[owner]
	return b == nil || b.Allows(now, len(s.of))
}

// Charge takes the steps of an evaluation off what is left for an owner.
func (s *Shares) Charge(owner string, now time.Time, steps uint64) {
	s.refill(now)
	if s.of[owner] == nil {
		s.of[owner] = &Budget{limits: s.limits, at: now}
	}
	s.of[owner].Charge(now, len(s.of), steps)
}

// Refilled is how long it takes until everything is given back that an owner has spent.
func (s *Shares) Refilled(owner string) time.Duration {
	if b := s.of[owner]; b != nil {
		return b.Refilled(len(s.of))
	}
	return 0
}

func (s *Shares) refill(now time.Time) {
	sharers := len(s.of)
	for owner, b := range s.of {
		if b.refill(now, sharers); b.spent == 0 {
			delete(s.of, owner)
		}
	}
}
