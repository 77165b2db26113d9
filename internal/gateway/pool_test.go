package gateway

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/skerry-dev/skerry/internal/link"
)

// TestAgentsReturnEvenlyFromTheFirstSecondOn: each waits between one and two times what a hub that stops tells it.
func TestAgentsReturnEvenlyFromTheFirstSecondOn(t *testing.T) {
	const agents, last = 10_000, 64
	r := newRig(t)
	r.stop()
	streams := make([]*stream, agents)
	r.gateway.mu.Lock()
	for i := range streams {
		streams[i] = &stream{wake: make(chan struct{}, 1)}
		s := &session{agent: &agent{}, done: make(chan struct{}), stream: streams[i]}
		binary.BigEndian.PutUint64(s.token[:], uint64(i))
		r.gateway.sessions[s.token] = s
	}
	r.gateway.mu.Unlock()
	r.gateway.Stop(t.Context())
	var told []int64
	for _, s := range streams {
		if s.goAway == nil || s.goAway.Reason != link.GoAwayStopping || s.goAway.RetryAfter < 1 {
			t.Fatalf("an agent is told %+v", s.goAway)
		}
		told = append(told, s.goAway.RetryAfter)
	}
	slices.Sort(told)  // who is told what is chance
	var back [last]int // in each second
	random := rand.New(rand.NewPCG(1, 5))
	for _, after := range told {
		at := int(float64(after) * (1 + random.Float64()))
		if at >= last {
			t.Fatalf("an agent that is told %d s may return after %d s", after, at)
		}
		back[at]++
	}
	for second := 1; second < last; second++ {
		n := back[second]
		if n > returnsPerSecond*4/3 || second < last/2 && n < returnsPerSecond*2/3 || n < returnsPerSecond/3 {
			t.Errorf("%d agents return in the second from %d on", n, second)
		}
	}
}

// TestAFewAgentsReturnAtOnce: nobody is to be spared.
func TestAFewAgentsReturnAtOnce(t *testing.T) {
	for _, i := range []int{0, 1, returnsPerSecond - 1} {
		if got := returnAfter(i); got != 1 {
			t.Errorf("session %d is told to stay away for %d s", i, got)
		}
	}
}
