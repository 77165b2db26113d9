// Package pacing decides when news goes on its way from an edge to the status of a Kustomization, and
// when decisions go the other way, so that many small writes become few full ones where the hub's API
// server is the bottleneck, and none waits where it is not.
//
// It promises that what has come true or false is delayed only as the last write of the same object was
// expensive, and by a fifth of a second where many clusters report; that what only counts further waits no longer than the
// bounds below; and that a clock which is set back delays nothing.
package pacing

import (
	"maps"
	"sync"
	"time"
)

// The way of a report has four stations, each with a bound of its own:
//
//	the engine gathers          ≤ GatherMax               4 s, ≤ GatherDelay (250 ms) for a failure
//	the status of an Assignment ≤ AssignmentStatus.CostMax 2 s
//	the roll-up                 ≤ RollUp.CostMax           2 s
//	the Kustomization's status  ≤ KustomizationStatus.EachMax 2 s, ≤ CostMax (500 ms) for what has come true or false
//
// so that what has come true or false is in the Kustomization's status within 8.5 s, a failure within
// 4.75 s, and a count within 10 s, and the time that the writes themselves take: EndToEnd. That is for an
// API server so slow, and a cluster so busy, that every bound is reached. Where writes take 5 ms and
// nothing else is under way on the cluster, a report with 20 entries waits for nothing at first, and for
// 5 ms if it follows another.
//
// Two waits may come before these. At the start of a session the engine holds its reports until it has verified what it
// has, for up to VerifyMax, 15 s. An agent waits for AgentGather, 200 ms, before it sends what its engine has gathered.
//
// While more than YieldAhead decisions wait to be written, so that clusters wait for them, a report of no new
// failure waits for up to YieldMax more: see AllowedWrites.
const (
	// GatherDelay, ProgressDelay and SoftDelay let reports that are about to change again, or that
	// change nothing a person waits for, gather in the engine. GatherEach is for each pass that is still
	// to come on the cluster, up to GatherMax in all.
	GatherDelay   = 250 * time.Millisecond
	GatherEach    = 80 * time.Millisecond
	GatherMax     = 4 * time.Second
	ProgressDelay = 400 * time.Millisecond
	SoftDelay     = time.Second

	// VerifyMax bounds how long the verification at the start of a session holds back a report. In a fleet that
	// returns at once it is a matter of seconds, and a report of each step would cost the hub's API server more than
	// the fleet's return.
	VerifyMax = 15 * time.Second

	// AgentGather is how long a report of an agent waits for what else there is to tell.
	AgentGather = 200 * time.Millisecond

	// VerifiedEvery is how often a report is written that differs in nothing but the times of the last
	// verifications.
	VerifiedEvery = time.Minute

	// YieldAhead is how many decisions may wait for the API server before reports yield to them, and YieldMax how long
	// one of these does at the most.
	YieldAhead = 64
	YieldMax   = 30 * time.Second

	// LastSeenMaxDelay is how long a Cluster's status that differs in lastSeen alone yields to decisions and reports at
	// the most; LastSeenRetry is how often the hub looks meanwhile whether they are written.
	LastSeenMaxDelay = 2 * time.Minute
	LastSeenRetry    = 30 * time.Second

	// EndToEnd bounds the way of a report that does not yield, in a session that has verified, see above.
	EndToEnd = GatherMax + 2*time.Second + 2*time.Second + 2*time.Second
)

// The paces of those who write to the hub's API, and of the roll-up, which only computes.
var (
	// AssignmentStatus is small up to 32 entries, when a write costs the API server little.
	AssignmentStatus = Pace{Cost: 4, CostMax: 2 * time.Second, Light: 32}
	// AssignmentSpec lets decisions of several Kustomizations about one cluster gather. Where writes take so long that
	// this is a second, the cluster is busy with what it was assigned before.
	AssignmentSpec = Pace{Cost: 4, CostMax: time.Second}
	// KustomizationStatus has, for a count that goes on, a cooldown of 40 ms for each cluster beyond four: for 54 clusters
	// and more as long as it gets.
	KustomizationStatus = Pace{Cost: 1, CostMax: 500 * time.Millisecond, Each: 40 * time.Millisecond, Free: 4, EachMax: 2 * time.Second}
	// RollUp keeps a thousand clusters that report one after the other from a thousand roll-ups over all of them. It takes
	// some 20 µs of processor time for each, and several times as long where the processors are busy: waiting for that as
	// well held back the last one of a commit to 1,000 clusters, which says that all are ready, by more than a second. Over
	// 10,000 clusters its cooldown is as long as it gets. Each is for what wakes it, which mostly counts further: over 50
	// clusters 150 ms, in which some others of them report as well.
	RollUp = Pace{Cost: 4, CostMax: 2 * time.Second, CostEach: 50 * time.Microsecond, Each: 5 * time.Millisecond, Free: 20, EachMax: 200 * time.Millisecond}
)

// Urgency of news.
type Urgency int

const (
	// Decisive news has come true or false, or a person waits for it.
	Decisive Urgency = iota
	// Count is news that only counts further.
	Count
)

// Pace is the cooldown of one writer: the time after a write of an object before it writes the object again.
type Pace struct {
	// Cost is how many times as long as the last write took the cooldown is, up to CostMax; once only for an
	// object of at most Light items. Where CostEach is set, what the write took longer than that for each item was not
	// its cost.
	Cost     int
	CostMax  time.Duration
	CostEach time.Duration
	Light    int
	// Each is how long it is for each item beyond Free, up to EachMax, when the news only counts.
	Each    time.Duration
	Free    int
	EachMax time.Duration
}

// Last is the last write of an object, of so many items; the zero value when there was none.
type Last struct {
	Ended time.Time
	Took  time.Duration
	Items int
}

// Cooldown returns the time between the end of a write of so many items and the next.
func (p Pace) Cooldown(took time.Duration, items int, u Urgency) time.Duration {
	times := p.Cost
	if p.Light > 0 && items <= p.Light {
		times = min(times, 1)
	}
	if p.CostEach > 0 {
		took = min(took, time.Duration(items)*p.CostEach)
	}
	cooldown := min(time.Duration(times)*took, p.CostMax)
	if u == Count {
		cooldown = max(cooldown, min(time.Duration(max(items-p.Free, 0))*p.Each, p.EachMax))
	}
	return cooldown
}

// longest is a bound of every Cooldown.
func (p Pace) longest() time.Duration { return max(p.CostMax, p.EachMax) }

// Wait returns how long the next write of so many items has to wait; 0 when it is due.
func (p Pace) Wait(last Last, items int, u Urgency, now time.Time) time.Duration {
	cooldown := p.Cooldown(last.Took, items, u)
	wait := last.Ended.Add(cooldown).Sub(now)
	if wait > cooldown { // the clock was set back
		return 0
	}
	return max(wait, 0)
}

// AllowedWrites returns how many reports may be written at a time, of all that may: all, or one while decisions wait to be
// written, of which so many are ahead; waited is how long the first report of the queue has. Both cost the API server the
// same, and a cluster can begin when it has the decision. One is allowed always: reports are not held up, they are slower.
//
// Example: of a commit to 1,000 clusters, 16 specs are written at a time and one report, until 64 specs are left; from
// then on 16 of each. The Kustomization whose commit it is looks at no report before its specs are written.
func AllowedWrites(all, ahead int, waited time.Duration) int {
	if yields(ahead, waited, YieldMax) {
		return min(1, all)
	}
	return all
}

// LastSeenDelay returns how long a Cluster's status waits that differs in lastSeen alone; 0 when it is to be written now.
// Ahead is how many decisions and reports wait to be written or are about to, and waited how long it has waited for them:
// each of the three costs the API server the same, and nothing depends on this one.
//
// Example: a commit to 10,000 clusters takes the API server two minutes and a half. Some 30 of these are due each second.
// Those of the first half minute are written two minutes later, during the commit, and those of the other two minutes
// after it.
func LastSeenDelay(ahead int, waited time.Duration) time.Duration {
	if !yields(ahead, waited, LastSeenMaxDelay) {
		return 0
	}
	return min(LastSeenRetry, LastSeenMaxDelay-waited)
}

// yields reports whether a write that has waited for a while, and may do so for most, lets those go first that are ahead.
// A clock that is set back delays nothing.
func yields(ahead int, waited, most time.Duration) bool {
	return ahead > YieldAhead && 0 <= waited && waited < most
}

// Gather returns how long news of an urgency waits in an engine which has so many passes to come, each
// of which may change it again; worse means that more has failed than was reported before, which may have
// to stop a rollout.
func Gather(delay time.Duration, pending int, worse bool) time.Duration {
	switch {
	case pending == 0:
		return delay
	case worse:
		return max(delay, GatherDelay)
	}
	return max(delay, GatherDelay, min(time.Duration(pending)*GatherEach, GatherMax))
}

// Backoff returns how long to wait before the next try after so many failures in a row: first after one, twice as long
// after each more, and at most longest. It is no wait.Backoff, whose state would have to be kept, and stepped to where it
// was when a process starts, in place of a count.
func Backoff(failures int, first, longest time.Duration) time.Duration {
	return min(first<<min(max(failures-1, 0), maxDoublings), longest)
}

// maxDoublings keeps a wait that begins with an hour from overflowing.
const maxDoublings = 20

// Coalescer knows the last write of each object of one writer.
type Coalescer[K comparable] struct {
	pace Pace
	now  func() time.Time

	mu   sync.Mutex // guards what follows
	last map[K]Last
	full int // how large last may be until writes whose cooldown is over are forgotten
}

// leastFull is how many writes a Coalescer knows before it forgets the first.
const leastFull = 64

// NewCoalescer returns one that knows of no write.
func NewCoalescer[K comparable](pace Pace, now func() time.Time) *Coalescer[K] {
	return &Coalescer[K]{pace: pace, now: now, last: map[K]Last{}, full: leastFull}
}

// Wait returns how long the next write of the object, of so many items, has to wait; 0 when it is due.
func (c *Coalescer[K]) Wait(key K, items int, u Urgency) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, ok := c.last[key]
	if !ok {
		return 0
	}
	return c.pace.Wait(last, items, u, c.now())
}

// RepeatDelay returns how long a write of the object has to wait that is like its last one.
func (c *Coalescer[K]) RepeatDelay(key K, u Urgency) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, ok := c.last[key]
	if !ok {
		return 0
	}
	return c.pace.Wait(last, last.Items, u, c.now())
}

// Wrote records that a write of so many items, which took so long, has ended now.
func (c *Coalescer[K]) Wrote(key K, took time.Duration, items int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if len(c.last) >= c.full { // which is seldom: the map has doubled since
		maps.DeleteFunc(c.last, func(_ K, l Last) bool { return now.Sub(l.Ended) >= c.pace.longest() })
		c.full = max(leastFull, 2*len(c.last))
	}
	c.last[key] = Last{Ended: now, Took: took, Items: items}
}

// Forget forgets an object that is gone, or that another process works on.
func (c *Coalescer[K]) Forget(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.last, key)
}
