package engine

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skerry-dev/skerry/internal/health"
)

// limits are what the engines of a pool share, so that the hub's memory and cores are enough however
// many clusters have work at once.
type limits struct {
	// probes are tries to reach a cluster that begin. They are apart from everything that a cluster
	// which answers needs: each may wait for one that is switched off.
	probes *prioritisedSemaphore
	// openings are sessions that read what is recorded on the cluster.
	openings *prioritisedSemaphore
	// passes are passes that begin.
	passes *prioritisedSemaphore
	// expressions compiles those of spec.healthCheckExprs once for all clusters, and steps is what they may take.
	expressions health.Compiler
	steps       *hubSteps
	// bundles are those that are loaded.
	bundles *sharedBundles
	// unreported counts the engines that have entries and have not reported on them yet.
	unreported atomic.Int64
}

func newLimits() *limits {
	cores := runtime.GOMAXPROCS(0)
	return &limits{
		probes:   newPrioritisedSemaphore(8*cores, 50*time.Millisecond),
		openings: newPrioritisedSemaphore(2*cores, 100*time.Millisecond),
		passes:   newPrioritisedSemaphore(4*cores, 50*time.Millisecond),
		steps:    newHubSteps(),
		bundles:  newSharedBundles(),
	}
}

// prioritisedSemaphore admits a fixed number of holders at once, in the order in which they asked. Urgent
// work is admitted before other work, which still gets every fourth slot.
//
// With a maxHold, a slot is free again after that time whether its holder is done or not: work on a
// cluster that is near ends sooner, and work on one that is far or slow waits for answers, and takes
// neither memory nor a core worth a slot.
type prioritisedSemaphore struct {
	maxHold time.Duration

	mu     sync.Mutex
	free   int
	queues [2][]*slot // waiting: urgent, and not
	streak int        // urgent ones let in since one that was not
}

// lowPriorityEvery is how many slots in a row go to urgent work while other work waits.
const lowPriorityEvery = 3

// slot is one admission, or the wait for it.
type slot struct {
	semaphore *prioritisedSemaphore
	ready     func(*slot) // called when the slot is granted, if that was not at once
	admitted  bool
	released  bool
	timer     *time.Timer
}

func newPrioritisedSemaphore(size int, maxHold time.Duration) *prioritisedSemaphore {
	return &prioritisedSemaphore{free: size, maxHold: maxHold}
}

func priority(urgent bool) int {
	if urgent {
		return 0
	}
	return 1
}

// request returns a slot and whether it is granted already. If not, ready is called once when it
// is; it must not block.
func (p *prioritisedSemaphore) request(urgent bool, ready func(*slot)) (*slot, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &slot{semaphore: p, ready: ready}
	if p.free > 0 { // then nothing waits
		p.admit(s)
		return s, true
	}
	p.queues[priority(urgent)] = append(p.queues[priority(urgent)], s)
	return s, false
}

// acquire waits for a slot and returns what releases it.
func (p *prioritisedSemaphore) acquire(ctx context.Context, urgent bool) (leave func(), err error) {
	granted := make(chan struct{})
	s, in := p.request(urgent, func(*slot) { close(granted) })
	if in {
		return s.release, nil
	}
	select {
	case <-granted:
		return s.release, nil
	case <-ctx.Done():
		s.release()
		return nil, context.Cause(ctx)
	}
}

// release gives the slot back, or stops waiting for it. More than once is as good as once.
func (s *slot) release() {
	p := s.semaphore
	p.mu.Lock()
	if s.released {
		p.mu.Unlock()
		return
	}
	s.released = true
	if s.timer != nil {
		s.timer.Stop()
	}
	var next *slot
	if s.admitted {
		p.free++
		next = p.next()
	}
	p.mu.Unlock()
	if next != nil {
		next.ready(next)
	}
}

// admit grants a slot. The caller holds the lock.
func (p *prioritisedSemaphore) admit(s *slot) {
	p.free--
	s.admitted = true
	if p.maxHold > 0 {
		s.timer = time.AfterFunc(p.maxHold, s.release)
	}
}

// next admits the next waiter, if there is one. The caller holds the lock.
func (p *prioritisedSemaphore) next() *slot {
	first, second := 0, 1
	if p.streak >= lowPriorityEvery {
		first, second = second, first
	}
	for _, l := range []int{first, second} {
		for len(p.queues[l]) > 0 {
			s := p.queues[l][0]
			p.queues[l][0] = nil
			p.queues[l] = p.queues[l][1:]
			if s.released {
				continue
			}
			if p.streak++; l == 1 {
				p.streak = 0
			}
			p.admit(s)
			return s
		}
	}
	return nil
}
