package pacing

import (
	"testing"
	"time"
)

const ms = time.Millisecond

func TestWait(t *testing.T) {
	now := time.Unix(10_000_000, 0)
	for name, tt := range map[string]struct {
		pace  Pace
		since time.Duration // the end of the last write
		took  time.Duration
		items int
		u     Urgency
		want  time.Duration
	}{
		"an Assignment's status after a cheap write":      {AssignmentStatus, 0, 5 * ms, 10, Decisive, 5 * ms},
		"after a dear one":                                {AssignmentStatus, 0, 100 * ms, 32, Decisive, 100 * ms},
		"after a dear one of many entries":                {AssignmentStatus, 0, 100 * ms, 33, Decisive, 400 * ms},
		"of which some has passed":                        {AssignmentStatus, 100 * ms, 100 * ms, 33, Decisive, 300 * ms},
		"all of which has passed":                         {AssignmentStatus, 400 * ms, 100 * ms, 33, Decisive, 0},
		"after a write of a minute":                       {AssignmentStatus, 0, time.Minute, 33, Decisive, 2 * time.Second},
		"with a clock that was set back":                  {AssignmentStatus, -time.Hour, 100 * ms, 33, Decisive, 0},
		"a spec after a dear write":                       {AssignmentSpec, 0, 50 * ms, 3, Decisive, 200 * ms},
		"a spec after a very dear write":                  {AssignmentSpec, 0, time.Second, 3, Decisive, time.Second},
		"a Kustomization that became ready":               {KustomizationStatus, 0, 5 * ms, 1000, Decisive, 5 * ms},
		"a Kustomization after a very dear write":         {KustomizationStatus, 0, time.Minute, 1000, Decisive, 500 * ms},
		"a Kustomization that counts, on a few clusters":  {KustomizationStatus, 0, 5 * ms, 4, Count, 5 * ms},
		"a Kustomization that counts, on some":            {KustomizationStatus, 200 * ms, 5 * ms, 24, Count, 600 * ms},
		"a Kustomization that counts, on many":            {KustomizationStatus, 0, 5 * ms, 1000, Count, 2 * time.Second},
		"a Kustomization that counts, with a clock ahead": {KustomizationStatus, -time.Hour, 5 * ms, 1000, Count, 0},
		"a roll-up over no cluster":                       {RollUp, 0, 3 * ms, 0, Decisive, 0},
		"a roll-up over a thousand clusters":              {RollUp, 0, 25 * ms, 1000, Decisive, 100 * ms},
		"a roll-up that had to wait for a processor":      {RollUp, 0, 400 * ms, 1000, Decisive, 200 * ms},
		"a roll-up over a few":                            {RollUp, 0, 25 * ms, 16, Decisive, 3200 * time.Microsecond},
		"a roll-up over very many":                        {RollUp, 0, 600 * ms, 10_000, Decisive, 2 * time.Second},
		"a roll-up that counts, over a few":               {RollUp, 0, 3 * ms, 20, Count, 4 * ms},
		"a roll-up that counts, over some":                {RollUp, 0, 3 * ms, 50, Count, 150 * ms},
		"a roll-up that counts, over a thousand":          {RollUp, 0, 25 * ms, 1000, Count, 200 * ms},
		"a roll-up that was long ago":                     {RollUp, time.Minute, 25 * ms, 0, Decisive, 0},
	} {
		if got := tt.pace.Wait(Last{Ended: now.Add(-tt.since), Took: tt.took}, tt.items, tt.u, now); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func TestGather(t *testing.T) {
	for name, tt := range map[string]struct {
		delay   time.Duration
		pending int
		worse   bool
		want    time.Duration
	}{
		"nothing to come":              {0, 0, false, 0},
		"a soft one, nothing to come":  {SoftDelay, 0, false, SoftDelay},
		"one to come":                  {0, 1, false, GatherDelay},
		"ten to come":                  {0, 10, false, 10 * GatherEach},
		"very many to come":            {0, 1000, false, GatherMax},
		"a failure, very many to come": {0, 1000, true, GatherDelay},
	} {
		if got := Gather(tt.delay, tt.pending, tt.worse); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func TestReportsYieldToDecisions(t *testing.T) {
	for name, tt := range map[string]struct {
		ahead  int
		waited time.Duration
		want   int
	}{
		"no decision waits":                       {0, 0, 16},
		"a stage of a rollout":                    {YieldAhead, 0, 16},
		"a commit to very many":                   {YieldAhead + 1, 0, 1},
		"which takes its time":                    {10_000, YieldMax - 1, 1},
		"and more than a report can wait":         {10_000, YieldMax, 16},
		"a commit to very many, a clock set back": {10_000, -time.Hour, 16},
	} {
		if got := AllowedWrites(16, tt.ahead, tt.waited); got != tt.want {
			t.Errorf("%s: %d places, want %d", name, got, tt.want)
		}
	}
}

func TestLastSeenYieldsToDecisionsAndReports(t *testing.T) {
	for name, tt := range map[string]struct {
		ahead  int
		waited time.Duration
		want   time.Duration
	}{
		"nothing waits":                           {0, 0, 0},
		"a stage of a rollout":                    {YieldAhead, 0, 0},
		"a commit to very many":                   {YieldAhead + 1, 0, LastSeenRetry},
		"which takes its time":                    {10_000, LastSeenMaxDelay - LastSeenRetry - 1, LastSeenRetry},
		"just before the end":                     {10_000, LastSeenMaxDelay - 1, 1},
		"and more than this can wait":             {10_000, LastSeenMaxDelay, 0},
		"a commit to very many, a clock set back": {10_000, -time.Hour, 0},
	} {
		if got := LastSeenDelay(tt.ahead, tt.waited); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// TestEndToEndIsTheSumOfTheBounds: the comment above the constants promises it.
func TestEndToEndIsTheSumOfTheBounds(t *testing.T) {
	if sum := GatherMax + AssignmentStatus.CostMax + RollUp.CostMax + KustomizationStatus.EachMax; sum != EndToEnd {
		t.Errorf("the bounds come to %s, and EndToEnd is %s", sum, EndToEnd)
	}
	if failure := GatherDelay + AssignmentStatus.CostMax + RollUp.CostMax + KustomizationStatus.CostMax; failure != 4750*ms {
		t.Errorf("a failure may take %s", failure)
	}
	if decisive := GatherMax + AssignmentStatus.CostMax + RollUp.CostMax + KustomizationStatus.CostMax; decisive != 8500*ms {
		t.Errorf("what has come true may take %s", decisive)
	}
}

func TestCoalescerKnowsEachObject(t *testing.T) {
	now := time.Unix(1000, 0)
	c := NewCoalescer[string](AssignmentStatus, func() time.Time { return now })
	if got := c.Wait("a", 1, Decisive); got != 0 {
		t.Errorf("the first waits %s", got)
	}
	c.Wrote("a", 100*ms, 40)
	if got := c.RepeatDelay("a", Decisive); got != 400*ms {
		t.Errorf("another one like the last waits %s", got)
	}
	if a, b := c.Wait("a", 1, Decisive), c.Wait("b", 1, Decisive); a != 100*ms || b != 0 {
		t.Errorf("a waits %s and b %s", a, b)
	}
	now = now.Add(40 * ms)
	if got := c.Wait("a", 1, Decisive); got != 60*ms {
		t.Errorf("a waits %s", got)
	}
	c.Forget("a")
	if got := c.Wait("a", 1, Decisive); got != 0 {
		t.Errorf("what is forgotten waits %s", got)
	}
}

// TestWritesAreForgottenAfterTheirCooldown: a Coalescer of a fleet writes ten thousand objects, and knows those in cooldown.
func TestWritesAreForgottenAfterTheirCooldown(t *testing.T) {
	now := time.Unix(10_000_000, 0)
	c := NewCoalescer[int](AssignmentStatus, func() time.Time { return now })
	for i := range 10_000 {
		c.Wrote(i, 20*ms, 100)
		if wait := c.Wait(i, 100, Decisive); wait != 80*ms {
			t.Fatalf("after write %d it is due in %s", i, wait)
		}
		now = now.Add(20 * ms)
	}
	if known, cooling := len(c.last), int(AssignmentStatus.longest()/(20*ms)); known < cooling || known > 4*cooling {
		t.Errorf("%d writes are known, where %d objects are in cooldown at the most", known, cooling)
	}
	if wait := c.Wait(9_999, 100, Decisive); wait != 60*ms {
		t.Errorf("the last one is due in %s", wait)
	}
}

func TestBackoffDoublesUpToTheLongest(t *testing.T) {
	for failures, want := range map[int]time.Duration{0: time.Second, 1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 6: 20 * time.Second, 1000: 20 * time.Second} {
		if got := Backoff(failures, time.Second, 20*time.Second); got != want {
			t.Errorf("after %d failures %s, want %s", failures, got, want)
		}
	}
	if got := Backoff(1<<40, time.Hour, 1<<62); got <= 0 {
		t.Errorf("it overflows: %s", got)
	}
}
