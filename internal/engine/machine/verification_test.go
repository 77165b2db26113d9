package machine

import (
	"testing"
	"time"
)

func TestVerificationsOfAClusterCoincide(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	for _, every := range []time.Duration{5 * time.Second, time.Minute, 10 * time.Minute} {
		const a, b = 0.2, 0.7 // the phases of two clusters
		first := nextVerification(start, every, a)
		if wait := first.Sub(start); wait <= 0 || wait > every {
			t.Errorf("every %v: the first is after %v", every, wait)
		}
		if other := nextVerification(start.Add(every/100), every, a); other.Sub(first)%every != 0 {
			t.Errorf("every %v: two entries of one cluster verify at %v and %v", every, first, other)
		}
		if again := nextVerification(first, every, a).Sub(first); again != every {
			t.Errorf("every %v: the next is after %v", every, again)
		}
		if nextVerification(start, every, b).Equal(first) {
			t.Errorf("every %v: two clusters verify at once", every)
		}
	}
}
