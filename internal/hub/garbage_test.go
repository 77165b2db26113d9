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
			if g.look(allocated, live) {
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

func TestALargeHeapIsCollectedMoreOften(t *testing.T) {
	for live, want := range map[uint64]int{0: 100, 50 << 20: 100, largeHeap - 1: 100, largeHeap: 50, 450 << 20: 50} {
		if got := gcPercentFor(live); got != want {
			t.Errorf("with %d MiB in use, %d %% of garbage may gather, want %d", live>>20, got, want)
		}
	}
}
