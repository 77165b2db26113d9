package gateway

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
)

// BenchmarkConnectedAgents measures what a connected agent costs. Both ends are in this process, so that the hub's
// share is less than half: a client keeps as much.
func BenchmarkConnectedAgents(b *testing.B) {
	const agents = 300
	r := newRig(b)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range agents {
		key := engine.Key{Namespace: "fleet", Name: fmt.Sprintf("edge-%d", i)}
		p := r.peer()
		p.cluster, p.who.ClusterUID = key.String(), key.Name
		r.add(key, func(a *v1alpha1.Agent) { a.PublicKey = link.EncodeKey(p.public()) })
		r.assign(key, 1, entry("apps", "sha256:1"))
		p.welcome()
		p.stream(link.Have{}).next()
		p.up(link.Up{Seq: 1, State: healthy, Complete: true})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	for b.Loop() {
		runtime.Gosched()
	}
	b.ReportMetric(float64(after.StackInuse-before.StackInuse)/agents/1024, "KiB-of-stacks/agent")
	b.ReportMetric(float64(after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse)/agents/1024, "KiB/agent(both-ends)")
}
