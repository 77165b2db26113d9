package handover

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skerry-dev/skerry/internal/sharding"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// holder waits until a lease is held by somebody other than before, and returns the name.
func (w *world) holder(ctx context.Context, lease, before string) string {
	w.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	got, err := w.rig.HubKube.Await(ctx, rig.Ref{Kind: "leases.coordination.k8s.io", Namespace: namespace, Name: lease},
		rig.MustExpect("spec.holderIdentity~.", "spec.holderIdentity!="+before))
	w.must(err)
	return fmt.Sprint(rig.Value(got, "spec", "holderIdentity"))
}

// TestAFleetIsDividedWhileItsHubHangs stops a hub in the middle of a pass, divides its fleet among two
// others, and wakes it when there is work that it would do.
func TestAFleetIsDividedWhileItsHubHangs(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	w := start(ctx, t)
	whole := w.rig.Hub
	a := w.holder(ctx, sharding.Whole.Lease(), "nobody")
	w.ready(ctx, w.commit("2"))

	part := sharding.Shard{Index: sharding.Place([]string{namespace + "/edge-1"}, 2)[namespace+"/edge-1"], Count: 2}
	for k := 1; k <= 2; k++ {
		h := rig.NewHub(rig.HubOptions{Kubeconfig: w.rig.HubKubeconfig, Dir: t.TempDir()})
		t.Cleanup(h.Kill)
		w.must(h.Start(ctx, "--leader-elect", lease, "--storage-path", whole.Storage(), "--shard", sharding.Shard{Index: k, Count: 2}.String()))
	}
	w.holder(ctx, sharding.Shard{Index: 2, Count: 2}.Lease(), "nobody") // which alone gives it nothing
	began := time.Now()
	three := w.commit("3")
	w.firstWrite(ctx, a, began)
	w.must(syscall.Kill(whole.PID(), syscall.SIGSTOP)) // in the middle of the pass
	stopped := time.Now()
	w.holder(ctx, sharding.Whole.Lease(), a)
	b := w.holder(ctx, part.Lease(), a)
	took := w.firstWrite(ctx, b, stopped)
	t.Logf("stopped with %d writes of the commit done; shard %s writes after %v",
		len(w.writes(w.rig.Edges[0].Cluster, a, began)), part, took.Sub(stopped).Round(10*time.Millisecond))
	w.ready(ctx, three)
	w.ready(ctx, w.commit("4"))
	_, err := w.rig.HubKube.Await(ctx, rig.Ref{Kind: "clusters.skerry.dev", Namespace: namespace, Name: "edge-1"}, rig.MustExpect("status.shard="+part.String()))
	w.must(err)

	if _, err := w.rig.Edges[0].Kube.Patch(ctx, rig.Ref{Kind: "configmaps", Namespace: "default", Name: "cm-7"}, `{"data":{"n":"by hand"}}`); err != nil {
		t.Fatal(err)
	}
	w.must(syscall.Kill(whole.PID(), syscall.SIGCONT))
	for whole.Running() {
		select {
		case <-ctx.Done():
			t.Fatalf("the old hub does not end:\n%s", whole.LogTail(20))
		case <-time.After(20 * time.Millisecond):
		}
	}
	// What was in the sockets when it was stopped has arrived long before another one began.
	for name, c := range map[string]*controlplane.Cluster{"edge": w.rig.Edges[0].Cluster, "hub": w.rig.HubCluster} {
		if late := w.writes(c, a, stopped.Add(100*time.Millisecond)); len(late) > 0 {
			t.Errorf("the old hub wrote to the %s after its lease:\n%s", name, strings.Join(late, "\n"))
		}
	}
	// An audit log is not in the order of its times: what was sent beside the first write may be before it.
	if early := w.writes(w.rig.Edges[0].Cluster, "-of-2", began); len(early) != len(w.writes(w.rig.Edges[0].Cluster, b, took.Add(-time.Second))) {
		t.Errorf("the edge was written to by more than one shard, or too early:\n%s", strings.Join(early, "\n"))
	}
}

// TestShardsShareNoVolume divides a fleet among two shards with folders of their own, and a standby for the one that does
// not render: bundles come from the shard that does.
func TestShardsShareNoVolume(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	w := start(ctx, t)
	w.ready(ctx, w.commit("2"))
	w.must(w.rig.Hub.Stop())

	second := sharding.Shard{Index: 1, Count: 1}
	for second.Index == 1 { // one of as many shards as it takes for the edge to be another's than the first's
		second.Count++
		second.Index = sharding.Place([]string{namespace + "/edge-1"}, second.Count)[namespace+"/edge-1"]
	}
	gateway, err := rig.FreeAddress()
	w.must(err)
	part := func(k int, args ...string) *rig.Hub {
		h := rig.NewHub(rig.HubOptions{Kubeconfig: w.rig.HubKubeconfig, Dir: t.TempDir()})
		t.Cleanup(h.Kill)
		w.must(h.Start(ctx, append([]string{"--leader-elect", lease, "--shard", sharding.Shard{Index: k, Count: second.Count}.String()}, args...)...))
		return h
	}
	part(1, "--gateway-bind-address", gateway)
	from := []string{"--bundles-from", "https://" + gateway}
	first := part(second.Index, from...)
	b := w.holder(ctx, second.Lease(), "nobody")
	w.ready(ctx, w.commit("3"))
	_, err = w.rig.HubKube.Await(ctx, rig.Ref{Kind: "clusters.skerry.dev", Namespace: namespace, Name: "edge-1"}, rig.MustExpect("status.shard="+second.String()))
	w.must(err)

	part(second.Index, from...) // stands by
	first.Kill()
	w.holder(ctx, second.Lease(), b)
	w.ready(ctx, w.commit("4"))
}
