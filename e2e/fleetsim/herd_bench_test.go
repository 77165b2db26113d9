package fleetsim

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BenchmarkAHerdThatReturns has most of a fleet come back at once, each with a commit that it has missed,
// while commits to the other edges go on. It reports how long those take, alone and meanwhile.
func BenchmarkAHerdThatReturns(b *testing.B) {
	for b.Loop() {
		herdReturns(b)
	}
}

func herdReturns(t *testing.B) {
	const healthy, herd = 10, 290
	f := startFleet(t, healthy+herd)
	h := newHub(t)
	one, two := h.bundle(apps(10, "one")), h.bundle(apps(10, "two"))
	for _, e := range f.Edges {
		h.connect(e.Name, e.Kubeconfig())
		h.assign(e.Name, one)
	}
	for _, e := range f.Edges {
		h.patiently(e.Name, one)
	}
	commits := make([]string, 400)
	for i := range commits {
		commits[i] = h.bundle(apps(10, fmt.Sprint("commit ", i)))
	}
	next := 0
	commit := func() time.Duration {
		e := f.Edges[next%healthy]
		begin := time.Now()
		h.assign(e.Name, commits[next])
		h.patiently(e.Name, commits[next])
		next++
		return time.Since(begin)
	}
	var alone, beside []time.Duration
	for range 40 {
		alone = append(alone, commit())
	}

	away := f.Edges[healthy:]
	if err := SetFaults(away, Fault{Kind: Refused}); err != nil {
		t.Fatal(err)
	}
	for _, e := range away {
		h.until(e.Name, "away", func(s statusOfEntry) bool { return s.Ready == metav1.ConditionUnknown })
		h.assign(e.Name, two)
	}
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := SetFaults(away, Fault{}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for _, e := range away {
		h.pool.Verify(key(e.Name)) // all at once, and not spread by their breakers
	}
	back := make(chan struct{})
	var wait sync.WaitGroup
	for _, e := range away {
		wait.Go(func() { h.patiently(e.Name, two) })
	}
	go func() { wait.Wait(); close(back) }()
	most := uint64(0)
	for done := false; !done && next < len(commits); {
		beside = append(beside, commit())
		runtime.ReadMemStats(&now)
		most = max(most, now.HeapInuse)
		select {
		case <-back:
			done = true
		default:
		}
	}
	<-back
	took := time.Since(begin)
	grown := (int64(most) - int64(before.HeapInuse)) >> 20
	t.Logf("%d clusters came back and had done a commit after %v; %d commits to the others meanwhile: p50 %v, p99 %v; alone p50 %v, p99 %v; the heap of hub and fleet grew by %d MiB",
		herd, took.Round(10*time.Millisecond), len(beside), percentile(beside, 50), percentile(beside, 99), percentile(alone, 50), percentile(alone, 99), grown)
	t.ReportMetric(percentile(alone, 99).Seconds()*1e3, "ms/commit-alone-p99")
	t.ReportMetric(percentile(beside, 99).Seconds()*1e3, "ms/commit-beside-p99")
	t.ReportMetric(float64(grown), "MiB-grown")
}

// patiently waits until a cluster is ready with a bundle, on a machine that has other things to do.
func (h *hub) patiently(name, digest string) {
	h.t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		list, _ := h.pool.Report(key(name))
		if len(list) > 0 && list[0].Ready == metav1.ConditionTrue && list[0].AppliedDigest == digest {
			return
		}
		select {
		case <-tick.C: // the one channel of news has many who wait
		case <-deadline:
			h.t.Errorf("%s is not ready: %+v", name, list)
			return
		}
	}
}

func percentile(all []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)*p/100, len(sorted)-1)].Round(100 * time.Microsecond)
}
