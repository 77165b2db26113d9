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
	garbageInterval = time.Second
	// busyBytes, allocated between two looks, are no rest; quietLooks without are.
	busyBytes  = 8 << 20
	quietLooks = 10
	// A collection is worth its time when garbage is worthCollecting, or the worthShare-th part of what is in use: what it
	// costs grows with that. A hub of 1,000 agents has 50 MiB in use, and one of 10,000 has 450 MiB.
	worthCollecting = 8 << 20
	worthShare      = 8
	// gcPercent is how much garbage, in percent of what is in use, may gather until it is collected while the hub works, as
	// GOGC: Go's default, up to muchGarbage bytes. It is leastGCPercent where that is more, and where more than fewBytes
	// are in use and become more.
	gcPercent, leastGCPercent = 100, 50
	fewBytes                  = 128 << 20
	muchGarbage               = 192 << 20
	// gcPercentStep keeps the percentage, the change of which stops the process for a moment, from following each byte.
	gcPercentStep = 10
	// What is in use becomes more when it is more by the growthShare-th part than 30 to 60 s before.
	growthLooks = 30
	growthShare = 4
)

// gcPercentFor returns the percentage where so many bytes are in use, and growing reports whether they become more. Half
// of it costs twice the time: a commit to 1,000 clusters, which have 200 MiB in use, takes the hub a tenth more at 50 than at
// 100. But what a cluster takes lives long, and garbage that gathers between it while a fleet connects leaves gaps which
// stay when it is gone: with 1,000 clusters 40 MiB more at 100 than at 50.
func gcPercentFor(live uint64, growing bool) int {
	switch {
	case live > fewBytes && growing:
		return leastGCPercent
	case live <= muchGarbage:
		return gcPercent
	}
	percent := int(muchGarbage * 100 / live)
	return max(percent/gcPercentStep*gcPercentStep, leastGCPercent)
}

// growth knows how many bytes were in use before.
type growth struct {
	before, since uint64
	looks         int
}

// observe takes how many bytes are in use, and reports whether they become more.
func (g *growth) observe(live uint64) bool {
	if g.looks%growthLooks == 0 {
		g.before, g.since = g.since, live
	}
	g.looks++
	return live > g.before+g.before/growthShare
}

// observe takes how many bytes the process has allocated in all, and how many were in use when garbage was collected last,
// and reports whether now is the time.
func (g *garbage) observe(allocated, live uint64) (collect bool) {
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
	ticker := time.NewTicker(garbageInterval)
	defer ticker.Stop()
	var g garbage
	var inUse growth
	percent := gcPercent
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		runtimemetrics.Read(samples)
		allocated, live := samples[0].Value.Uint64(), samples[1].Value.Uint64()
		if now := gcPercentFor(live, inUse.observe(live)); setsPercent && now != percent {
			debug.SetGCPercent(now)
			percent = now
		}
		if g.observe(allocated, live) {
			debug.FreeOSMemory()
		}
	}
}
