package engine

import (
	"context"
	"runtime"
	"sync"
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
}

func newLimits() *limits {
	cores := runtime.GOMAXPROCS(0)
	return &limits{
		probes:   newPrioritisedSemaphore(8*cores, 50*time.Millisecond),
		openings: newPrioritisedSemaphore(2*cores, 100*time.Millisecond),
		passes:   newPrioritisedSemaphore(4*cores, 50*time.Millisecond),
		steps:    newHubSteps(),
	}
}

// prioritisedSemaphore admits a fixed number of holders at once, in the order in which they asked. Urgent
// work is admitted before other work, which still gets every fourth slot.
//
// With a lease, a slot is free again after that time whether its holder is done or not: work on a
// cluster that is near ends sooner, and work on one that is far or slow waits for answers, and takes
// neither memory nor a core worth a slot.
type prioritisedSemaphore struct {
	lease time.Duration

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

func newPrioritisedSemaphore(size int, lease time.Duration) *prioritisedSemaphore {
	return &prioritisedSemaphore{free: size, lease: lease}
}

func priority(urgent bool) int {
	if urgent {
		return 0
	}
	return 1
}

// request returns a slot and whether it is granted already. If not, ready is called once when it
// is; it must not block.
func (g *prioritisedSemaphore) request(urgent bool, ready func(*slot)) (*slot, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := &slot{semaphore: g, ready: ready}
	if g.free > 0 { // then nothing waits
		g.admit(t)
		return t, true
	}
	g.queues[priority(urgent)] = append(g.queues[priority(urgent)], t)
	return t, false
}

// acquire waits for a slot and returns what releases it.
func (g *prioritisedSemaphore) acquire(ctx context.Context, urgent bool) (leave func(), err error) {
	granted := make(chan struct{})
	t, in := g.request(urgent, func(*slot) { close(granted) })
	if in {
		return t.release, nil
	}
	select {
	case <-granted:
		return t.release, nil
	case <-ctx.Done():
		t.release()
		return nil, context.Cause(ctx)
	}
}

// release gives the slot back, or stops waiting for it. More than once is as good as once.
func (t *slot) release() {
	g := t.semaphore
	g.mu.Lock()
	if t.released {
		g.mu.Unlock()
		return
	}
	t.released = true
	if t.timer != nil {
		t.timer.Stop()
	}
	var next *slot
	if t.admitted {
		g.free++
		next = g.next()
	}
	g.mu.Unlock()
	if next != nil {
		next.ready(next)
	}
}

// admit grants a slot. The caller holds the lock.
func (g *prioritisedSemaphore) admit(t *slot) {
	g.free--
	t.admitted = true
	if g.lease > 0 {
		t.timer = time.AfterFunc(g.lease, t.release)
	}
}

// next admits the next waiter, if there is one. The caller holds the lock.
func (g *prioritisedSemaphore) next() *slot {
	first, second := 0, 1
	if g.streak >= lowPriorityEvery {
		first, second = second, first
	}
	for _, l := range []int{first, second} {
		for len(g.queues[l]) > 0 {
			t := g.queues[l][0]
			g.queues[l][0] = nil
			g.queues[l] = g.queues[l][1:]
			if t.released {
				continue
			}
			if g.streak++; l == 1 {
				g.streak = 0
			}
			g.admit(t)
			return t
		}
	}
	return nil
}
