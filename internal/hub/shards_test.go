package hub

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/sharding"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
	"github.com/skerry-dev/skerry/internal/testkit/simulator"
)

// shards are hubs of one fleet of simulated clusters.
type shards struct {
	*world
	edges []*simulator.Edge
	first *v1alpha1.Kustomization
}

func newShards(t *testing.T, edges int) *shards {
	s := &shards{world: newWorld(t)}
	_, s.edges = simulator.ForTest(t, edges)
	s.source()
	s.first = s.kustomization("apps", "./apps", func(ks *v1alpha1.Kustomization) {
		ks.Spec.Rollout = &v1alpha1.Rollout{Strategy: v1alpha1.RolloutAllAtOnce}
	})
	return s
}

// hub runs one for a shard; its requests name it. The result stops it and returns when it has ended.
func (s *shards) hub(part, name string) (stop func()) {
	s.t.Helper()
	o := s.options
	o.Shard, o.Version, o.LeaderElect, o.LeaseDuration = part, name, true, 15*time.Second
	o.Log = o.Log.WithName(name)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, o) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("hub %s: %v", name, err)
		}
	}
	s.t.Cleanup(stop)
	return stop
}

func (s *shards) joinEdges(edges ...*simulator.Edge) {
	for _, e := range edges {
		s.join(e.Name, e.Kubeconfig())
	}
}

// commit changes every edge and returns when all have it.
func (s *shards) commit(value string) {
	s.t.Helper()
	s.says(s.first, "True Succeeded", s.push(gitserver.Change{Write: map[string]string{
		"apps/web.yaml": configMap("web", value), "apps/db.yaml": configMap("db", value), "apps/mq.yaml": configMap("mq", value),
	}}))
}

// leads waits until a hub of a shard has its lease.
func (s *shards) leads(part string) {
	s.t.Helper()
	want, err := sharding.Parse(part)
	if err != nil {
		s.t.Fatal(err)
	}
	s.eventually(part+" leads", func() bool {
		lease := &coordinationv1.Lease{}
		err := s.client.Get(s.t.Context(), types.NamespacedName{Namespace: v1alpha1.SystemNamespace, Name: want.Lease()}, lease)
		return err == nil && lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity != "" && sharding.OfIdentity(*lease.Spec.HolderIdentity) == want
	})
}

// placed waits until the statuses of all Clusters say what their shards are.
func (s *shards) placed(n int) map[string]int {
	s.t.Helper()
	var want map[string]int
	s.eventually(fmt.Sprintf("all are of %d shards", n), func() bool {
		list := &v1alpha1.ClusterList{}
		if err := s.client.List(s.t.Context(), list); err != nil {
			return false
		}
		var keys []string
		for i := range list.Items {
			keys = append(keys, keyOf(&list.Items[i]).String())
		}
		want = sharding.Place(keys, n)
		return !slices.ContainsFunc(list.Items, func(c v1alpha1.Cluster) bool {
			return c.Status.Shard != sharding.Shard{Index: want[keyOf(&c).String()], Count: n}.Record()
		})
	})
	return want
}

func (s *shards) eventually(what string, done func() bool) {
	s.t.Helper()
	deadline := time.After(20 * time.Second)
	for !done() {
		select {
		case <-deadline:
			s.t.Fatalf("not in time: %s", what)
		case <-time.After(20 * time.Millisecond): // no watch tells of all these
		}
	}
}

// writers returns who wrote to an edge, each time that it was somebody else than before.
func writers(e *simulator.Edge) []string {
	var out []string
	for _, w := range e.Writes() {
		name, _, _ := strings.Cut(strings.TrimPrefix(w.Agent, "skerry-hub/"), " ")
		if len(out) == 0 || out[len(out)-1] != name {
			out = append(out, name)
		}
	}
	return out
}

// check fails unless each edge was written to by one hub after another, as given.
func (s *shards) check(want func(cluster string) []string, edges ...*simulator.Edge) {
	s.t.Helper()
	for _, e := range edges {
		if got, want := writers(e), want(namespace+"/"+e.Name); !slices.Equal(got, want) {
			s.t.Errorf("%s was written to by %v, not by %v", e.Name, got, want)
		}
	}
}

// TestShards divides a fleet among two hubs while it is worked on, lets clusters come, and puts it
// together again: every cluster is worked on by one of them at a time, and every commit reaches all.
func TestShards(t *testing.T) {
	s := newShards(t, 12)
	early, late := s.edges[:9], s.edges[9:]
	s.joinEdges(early...)
	stopWhole := s.hub("1/1", "whole")
	s.leads("1/1")
	s.commit("1")
	s.placed(1)

	// Those that wait for their turn do nothing, though one of them has its lease.
	stopFirst, stopSecond := s.hub("1/2", "first"), s.hub("2/2", "second")
	s.leads("2/2")
	s.commit("2")
	s.placed(1)
	s.check(func(string) []string { return []string{"whole"} }, early...)

	stopWhole()
	s.leads("1/2")
	began := time.Now()
	placed := s.placed(2)
	t.Logf("divided %s after the lease", time.Since(began).Round(time.Millisecond))
	s.commit("3")
	name := func(cluster string) string { return []string{"", "first", "second"}[placed[cluster]] }
	s.check(func(cluster string) []string { return []string{"whole", name(cluster)} }, early...)

	// More rooms are needed, so that some may move from one hub that runs to the other.
	before := placed
	s.joinEdges(late...)
	placed = s.placed(2)
	s.commit("4")
	moves := 0
	for _, e := range early {
		if key := namespace + "/" + e.Name; before[key] != placed[key] {
			moves++
			s.check(func(string) []string {
				return []string{"whole", []string{"", "first", "second"}[before[key]], name(key)}
			}, e)
		} else {
			s.check(func(string) []string { return []string{"whole", name(key)} }, e)
		}
	}
	t.Logf("%d of %d clusters moved when %d more joined", moves, len(early), len(late))

	// A shard that is away is nobody else's.
	for _, e := range s.edges {
		e.ForgetWrites()
	}
	stopSecond()
	revision := s.push(gitserver.Change{Write: map[string]string{"apps/web.yaml": configMap("web", "5")}})
	s.eventually("its own shard has the commit", func() bool {
		return !slices.ContainsFunc(s.edges, func(e *simulator.Edge) bool {
			return placed[namespace+"/"+e.Name] == 1 && len(e.Writes()) == 0
		})
	})
	for _, e := range s.edges {
		if placed[namespace+"/"+e.Name] == 2 && len(e.Writes()) > 0 {
			t.Errorf("%s was written to by %v", e.Name, writers(e))
		}
	}

	stopFirst()
	s.hub("1/1", "again")
	s.placed(1)
	s.says(s.first, "True Succeeded", revision)
	s.commit("6")
	s.check(func(cluster string) []string {
		if placed[cluster] == 1 {
			return []string{"first", "again"}
		}
		return []string{"again"}
	}, s.edges...)
}

// TestShardsShareAStore, of which one shard only reads, and clusters, of which each has one Cluster.
func TestShardsShareAStore(t *testing.T) {
	s := newShards(t, 5)
	s.hub("1/2", "first")
	stopSecond := s.hub("2/2", "second")
	s.leads("2/2")
	s.joinEdges(s.edges...)
	s.commit("1")
	placed := s.placed(2)

	// Some Clusters more, in both shards, that lead to where the first edge is worked on already.
	edge := s.edges[0]
	s.says(clusterNamed(edge.Name), "True Succeeded")
	edge.ForgetWrites()
	for i := range 4 {
		s.join(fmt.Sprintf("twin-%d", i), edge.Kubeconfig())
	}
	for i := range 4 {
		s.says(clusterNamed(fmt.Sprintf("twin-%d", i)), "False DuplicateCluster")
	}
	after := s.placed(2)
	shards := map[int]bool{}
	for i := range 4 {
		shards[after[fmt.Sprintf("%s/twin-%d", namespace, i)]] = true
	}
	if len(shards) != 2 {
		t.Fatalf("all twins are in one shard: %v", after)
	}
	if after[namespace+"/"+edge.Name] == placed[namespace+"/"+edge.Name] && len(edge.Writes()) > 0 {
		t.Errorf("it was written to by %v", writers(edge))
	}
	for i := range 4 {
		twin := clusterNamed(fmt.Sprintf("twin-%d", i))
		if err := s.client.Delete(t.Context(), twin); err != nil {
			t.Fatal(err)
		}
		awaitGone(t, s.client, twin)
	}

	// The shard that only reads starts where a bundle is damaged.
	s.commit("2")
	stopSecond()
	for _, name := range s.stored("bundles") {
		if err := os.WriteFile(filepath.Join(s.storage, "bundles", name), []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.hub("2/2", "third")
	s.leads("2/2")
	s.eventually("a bundle is whole again", func() bool {
		return slices.ContainsFunc(s.stored("bundles"), func(name string) bool {
			data, err := os.ReadFile(filepath.Join(s.storage, "bundles", name))
			return err == nil && string(data) != "damaged"
		})
	})
	s.commit("3")
}

func TestShardsNeedLeases(t *testing.T) {
	for part, want := range map[string]string{"1/2": "--leader-elect", "3/2": "--shard", "": "", "1/1": ""} {
		o := Defaults()
		o.Shard = part
		err := o.check()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", part, err)
		}
	}
}

func TestTheDefaultServiceAccountIsAName(t *testing.T) {
	for name, fine := range map[string]bool{"": true, "deployer": true, "team/deployer": false, "Deployer": false, "../x": false, "system:serviceaccount:x:y": false} {
		o := Defaults()
		o.DefaultServiceAccount = name
		if err := o.check(); (err == nil) != fine || err != nil && !strings.Contains(err.Error(), "--default-service-account") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
