package machine

import (
	"testing"
	"time"
)

// around reports whether a wait is what it should be, give or take the jitter.
func around(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if got < want*9/10 || got > want*11/10 {
		t.Errorf("%s: %v; want about %v", what, got, want)
	}
}

func exactly(d time.Duration) time.Duration { return d }

func TestTheBreakersThreeStates(t *testing.T) {
	now := time.Unix(1000, 0)
	var b breaker
	b.reset(now)
	if b.state != Open || !b.due(now) {
		t.Fatalf("new: %+v", b)
	}
	b.try(now)
	if b.state != HalfOpen || b.due(now.Add(time.Hour)) {
		t.Fatalf("a second try while one is under way: %+v", b)
	}
	want := redialFirst
	for range 12 { // no cluster answers
		b.failed(now, exactly)
		if b.state != Open || b.due(now) {
			t.Fatalf("after a failure: %+v", b)
		}
		around(t, "wait", b.next.Sub(now), want)
		now = b.next
		if !b.due(now) {
			t.Fatalf("not due when it is: %+v", b)
		}
		b.try(now)
		want = min(2*want, redialMax)
	}
	b.answered(now)
	if b.state != Closed || b.due(now.Add(time.Hour)) {
		t.Fatalf("after an answer: %+v", b)
	}
	// It was away for long, and has been back for long: the next time it starts from the beginning.
	now = now.Add(10 * time.Minute)
	b.failed(now, exactly)
	around(t, "wait after a steady answer", b.next.Sub(now), redialFirst)
}

// A link that is there for five seconds at a time is tried less and less.
func TestAFlappingLinkIsBackedOffMoreTheMoreItFlaps(t *testing.T) {
	now := time.Unix(1000, 0)
	var b breaker
	b.reset(now)
	begin, sessions := now, 0
	for now.Sub(begin) < 10*time.Minute {
		b.try(now)
		b.answered(now)
		sessions++
		now = now.Add(5 * time.Second)
		b.failed(now, exactly)
		now = b.next
	}
	if sessions > 16 {
		t.Errorf("%d sessions in ten minutes; without a memory it would be 109", sessions)
	}
	around(t, "wait in the end", redial(b.tries+b.flaps), redialMax)

	// Every steady minute forgives one of them.
	b.try(now)
	b.answered(now)
	flaps := b.flaps
	now = now.Add(3 * time.Minute)
	b.failed(now, exactly)
	if b.flaps != flaps-3 {
		t.Errorf("%d flaps after three steady minutes; there were %d", b.flaps, flaps)
	}
	b.try(now)
	b.answered(now)
	now = now.Add(time.Hour)
	b.failed(now, exactly)
	around(t, "wait after an hour", b.next.Sub(now), redialFirst)
}

// What the hub itself is the reason for costs the cluster nothing.
func TestRetryIsImmediateWhereTheClusterIsNotTheReason(t *testing.T) {
	now := time.Unix(1000, 0)
	b := breaker{state: Closed, since: now}
	b.retryNow(now)
	if !b.due(now) || b.tries != 0 || b.flaps != 0 {
		t.Errorf("%+v", b)
	}
}
