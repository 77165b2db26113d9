package hub

import (
	"context"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"
)

// garbage decides when a hub that has come to rest collects its garbage and returns the memory to the system.
// Without that, what a commit to a large fleet or a start needed stays with the process: the next collection
// begins when as much as is in use has been allocated anew, and a hub at rest hardly allocates.
type garbage struct {
	allocated uint64 // bytes in all, when it last looked
	collected uint64 // bytes in all, when it last collected
	quiet     int    // how often in a row it saw little allocated
}

const (
	garbageLook = time.Second
	// busyBytes, allocated between two looks, are no rest; quietLooks without are.
	busyBytes  = 8 << 20
	quietLooks = 10
	// A collection is worth its time when garbage is worthCollecting, or the worthShare-th part of what is in use: what it
	// costs grows with that. A hub of 1,000 agents has 50 MiB in use, and one of 10,000 has 450 MiB.
	worthCollecting = 8 << 20
	worthShare      = 8
	// gcPercent is how much garbage, in percent of what is in use, may gather until it is collected while the hub works, as
	// GOGC: Go's default. It is largeHeapGCPercent where largeHeap bytes are in use or more, as with some 3,000 agents.
	gcPercent, largeHeapGCPercent = 100, 50
	largeHeap                     = 128 << 20
)

// gcPercentFor returns the percentage where so many bytes are in use. Half of it costs twice the time. But what an agent
// takes lives long, and garbage that gathers between it leaves gaps which stay when it is gone: with 1,000 agents they were
// 26 MB at 100 and 17 MB at 50.
func gcPercentFor(live uint64) int {
	if live >= largeHeap {
		return largeHeapGCPercent
	}
	return gcPercent
}

// look takes how many bytes the process has allocated in all, and how many were in use when garbage was collected last,
// and reports whether now is the time.
func (g *garbage) look(allocated, live uint64) (collect bool) {
	if allocated-g.allocated >= busyBytes {
		g.quiet = 0
	} else {
		g.quiet++
	}
	g.allocated = allocated
	if g.quiet < quietLooks || allocated-g.collected < max(worthCollecting, live/worthShare) {
		return false
	}
	g.collected = allocated
	return true
}

// collectAtRest looks once a second until the context ends. It sets the percentage as well, unless the user
// has set GOGC.
func collectAtRest(ctx context.Context, setsPercent bool) {
	samples := []runtimemetrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	ticker := time.NewTicker(garbageLook)
	defer ticker.Stop()
	var g garbage
	percent := gcPercent
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		runtimemetrics.Read(samples)
		allocated, live := samples[0].Value.Uint64(), samples[1].Value.Uint64()
		if now := gcPercentFor(live); setsPercent && now != percent {
			debug.SetGCPercent(now)
			percent = now
		}
		if g.look(allocated, live) {
			debug.FreeOSMemory()
		}
	}
}
