package hub

import "testing"

func TestGarbage(t *testing.T) {
	var g garbage
	var allocated uint64
	live := uint64(50 << 20)
	see := func(what string, looks int, bytes uint64, want int) {
		t.Helper()
		got := 0
		for range looks {
			allocated += bytes
			if g.observe(allocated, live) {
				got++
			}
		}
		if got != want {
			t.Errorf("%s: %d collections, want %d", what, got, want)
		}
	}
	see("a fleet connects", 20, 100<<20, 0)
	see("a moment of rest", quietLooks-1, 1<<10, 0)
	see("rest", 1, 1<<10, 1)
	see("a long rest", 600, 1<<10, 0)
	see("little by little", 640, 1<<20, 80)
	see("a small commit", 1, 7<<20, 0)
	see("rest after a small commit", 2*quietLooks, 1<<10, 0)
	see("a large commit", 5, 10<<20, 0)
	see("rest after a large commit", 2*quietLooks, 1<<10, 1)
	live = 800 << 20
	see("little by little, with much in use", 700, 1<<20, 7)
}

func TestHowMuchGarbageMayGather(t *testing.T) {
	for name, tt := range map[string]struct {
		mib     uint64
		growing bool
		want    int
	}{
		"a small fleet connects":      {127, true, 100},
		"a fleet connects":            {129, true, 50},
		"a fleet is connected":        {192, false, 100},
		"a larger one":                {200, false, 90},
		"a large one":                 {260, false, 70},
		"a very large one":            {450, false, 50},
		"a very large one that grows": {450, true, 50},
	} {
		if got := gcPercentFor(tt.mib<<20, tt.growing); got != tt.want {
			t.Errorf("%s: %d %%, want %d", name, got, tt.want)
		}
	}
}

func TestGrowthEndsAMinuteAfterAFleetHasConnected(t *testing.T) {
	var g growth
	for second := range 120 {
		live := min(uint64(second+1)*10, 200)
		if got, want := g.observe(live), second < 60; got != want { // all of it came in the first 20 s
			t.Errorf("after %d s, growing is %t", second, got)
		}
	}
	for range 120 {
		if g.observe(230) {
			t.Fatal("what a commit needs for a while counts as growth")
		}
	}
	if !g.observe(300) {
		t.Error("a second fleet does not count as growth")
	}
}
