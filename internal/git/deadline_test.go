package git

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestFetchThatMakesProgressOutlastsItsTimeout, ten times at most; one that does not make enough is cut off.
func TestFetchThatMakesProgressOutlastsItsTimeout(t *testing.T) {
	for name, c := range map[string]struct {
		bytes int // that arrive every 21 s, which is never at the moment when the check ends
		work  time.Duration
		want  time.Duration // when the check ends
	}{
		"nothing arrives":                       {0, 0, time.Minute},
		"little arrives":                        {minProgress/3 - 1, 0, time.Minute},
		"enough arrives, without end":           {minProgress, 0, 10 * time.Minute},
		"the pack is indexed for three minutes": {0, 190 * time.Second, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				_, deadline := withProgressDeadline(t.Context(), time.Minute)
				defer deadline.cancel()
				if c.work > 0 {
					done := working(deadline)
					time.AfterFunc(c.work, done)
				}
				for deadline.Err() == nil {
					_, _ = io.Copy(io.Discard, receiving(deadline, strings.NewReader(strings.Repeat("x", c.bytes))))
					select {
					case <-deadline.Done():
					case <-time.After(21 * time.Second):
					}
				}
				if got := time.Since(start); got != c.want {
					t.Errorf("ended after %s, want %s", got, c.want)
				}
				if !errors.Is(deadline.Err(), context.DeadlineExceeded) || deadline.waited() != c.want {
					t.Errorf("got %v after %s", deadline.Err(), deadline.waited())
				}
			})
		})
	}
}

// TestLookThatIsCancelledIsNotOutOfTime, and leaves no timer behind.
func TestLookThatIsCancelledIsNotOutOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		_, deadline := withProgressDeadline(ctx, time.Minute)
		cancel()
		time.Sleep(time.Hour)
		if !errors.Is(deadline.Err(), context.Canceled) || deadline.waited() != time.Minute {
			t.Errorf("got %v after %s", deadline.Err(), deadline.waited())
		}
	})
}
