package agent

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/skerry-dev/skerry/internal/link"
)

func TestWaitsDoubleUpToFiveMinutes(t *testing.T) {
	b := &backoff{random: func() float64 { return 1 }}
	for i, want := range []int{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
		if got, want := b.next(0, 0), time.Duration(want)*time.Second; got != want {
			t.Errorf("try %d after %s, want %s", i, got, want)
		}
	}
	if got := b.next(time.Second, 0); got != maxRetry {
		t.Errorf("after a session of a second: %s, want %s", got, maxRetry)
	}
	if got := b.next(steadySession, 0); got != time.Second {
		t.Errorf("after a steady session: %s, want 1s", got)
	}
	for range 100 {
		b.next(0, 0)
	}
	if got := b.next(0, 0); got != maxRetry {
		t.Errorf("after a hundred failures: %s, want %s", got, maxRetry)
	}
}

// TestAnotherShardOfTheHubIsFoundSoon: which of eight shards answers is chance, and an agent that was cut off for long does
// not wait for minutes between its tries.
func TestAnotherShardOfTheHubIsFoundSoon(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 3))
	elsewhere := &goAwayError{GoAway: link.GoAway{Reason: link.GoAwayElsewhere, RetryAfter: 2}, trusted: true}
	var total, longest time.Duration
	const agents = 1000
	for range agents {
		b := &backoff{random: r.Float64, failures: 30}
		for r.IntN(8) != 0 {
			wait := b.after(elsewhere, 0)
			total, longest = total+wait, max(longest, wait)
		}
	}
	if mean := total / agents; mean > 2*time.Minute || longest > maxOtherShardRetry {
		t.Errorf("%s on average, %s at most between two tries", mean, longest)
	}
	b := &backoff{random: func() float64 { return 1 }}
	for i, want := range []time.Duration{4 * time.Second, 4 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, maxOtherShardRetry, maxOtherShardRetry} {
		if got := b.after(elsewhere, 0); got != want {
			t.Errorf("try %d after %s, want %s", i, got, want)
		}
	}
	madeUp := &goAwayError{GoAway: elsewhere.GoAway}
	for range 20 {
		b.after(madeUp, 0)
	}
	if got := b.after(madeUp, 0); got != maxRetry {
		t.Errorf("an end that something on the way may have made up: %s, want %s", got, maxRetry)
	}
}

func TestTheHubIsGivenTheTimeItAskedFor(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	b := &backoff{random: r.Float64}
	for range 100 {
		b.failures = 0
		if got := b.next(0, time.Minute); got < time.Minute || got > 2*time.Minute {
			t.Errorf("%s, want one minute to two", got)
		}
	}
}

// TestAClusterThatMovesBetweenPartsIsFoundAsSoonAsTheFirstTime: sessions that end because the Cluster has moved are days
// apart, and the misses before them do not count. The hub has the time that it asked for each time.
func TestAClusterThatMovesBetweenPartsIsFoundAsSoonAsTheFirstTime(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 4))
	b := &backoff{random: r.Float64}
	moved := &goAwayError{GoAway: link.GoAway{Reason: link.GoAwayElsewhere, RetryAfter: 2}, trusted: true}
	for i := range 100 {
		for j, lasted := range []time.Duration{24 * time.Hour, 0, time.Second} {
			if got := b.after(moved, lasted); got < 2*time.Second || got > 4*time.Second {
				t.Errorf("move %d, try %d: %s, want two seconds to four", i, j, got)
			}
		}
	}
}

// TestAgentsDoNotComeBackTogether: of 10,000 that lose their hub at once, no tenth of a second sees more than
// a fifth in the first try, nor in the later ones more than their share of a longer time.
func TestAgentsDoNotComeBackTogether(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for try, most := range []int{2500, 1250, 700} {
		counts := map[int64]int{}
		for range 10000 {
			b := &backoff{random: r.Float64, failures: try}
			counts[b.next(0, 0).Milliseconds()/100]++
		}
		for slot, n := range counts {
			if n > most {
				t.Errorf("try %d: %d agents within the tenth of a second %d, want at most %d", try, n, slot, most)
			}
		}
	}
}

// TestAnAgentWhoseClusterAnotherHasComesBackWhenTheHubSays, however often it was refused: the other one is deleted by a
// person, and nothing tells the agent.
func TestAnAgentWhoseClusterAnotherHasComesBackWhenTheHubSays(t *testing.T) {
	refused := func(reason string) error {
		return &goAwayError{GoAway: link.GoAway{Reason: reason, RetryAfter: 60}, trusted: true}
	}
	b := backoff{random: func() float64 { return 1 }}
	for range 12 {
		if got := b.after(refused(link.GoAwayDuplicate), 0); got != 2*time.Minute {
			t.Fatalf("it waits %s", got)
		}
	}
	if got := b.after(refused(link.GoAwayRevoked), 0); got < unwantedRetry {
		t.Errorf("one whose key was revoked waits %s", got)
	}
}
