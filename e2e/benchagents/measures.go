package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/e2e/bench/figures"
	"github.com/skerry-dev/skerry/e2e/bench/workload"
	"github.com/skerry-dev/skerry/internal/sleep"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

const fleetObjects = `apiVersion: skerry.dev/v1alpha1
kind: GitRepository
metadata: {name: all, namespace: ` + namespace + `}
spec: {url: %q, interval: 10h}
---
apiVersion: skerry.dev/v1alpha1
kind: Kustomization
metadata: {name: all, namespace: ` + namespace + `}
spec:
  sourceRef: {name: all}
  path: ./all
  clusters: {selector: {matchLabels: {fleet: "yes"}}}
  interval: 10h
  timeout: 20m
  rollout: {strategy: AllAtOnce}
`

// appsForAll is how many apps of four objects each cluster has.
const appsForAll = 5

// commit writes the next version of all objects.
func (f *fleet) commit() (err error) {
	f.version++
	var all []workload.Object
	for i := range appsForAll {
		all = append(all, workload.App("default", workload.AppName(i), strconv.Itoa(f.version))...)
	}
	f.commitID, err = f.repo.Commit("main", gitserver.Change{Write: map[string]string{"all/objects.yaml": workload.File(all)}})
	return err
}

// deploy puts the objects onto all clusters that have joined.
func (f *fleet) deploy(ctx context.Context) error {
	if f.deployed {
		return f.awaitReady(ctx)
	}
	f.deployed = true
	if err := f.commit(); err != nil {
		return err
	}
	server, err := f.rig.Git.ServeHTTP(gitserver.HTTPOptions{})
	if err != nil {
		return err
	}
	if err := f.rig.HubKube.Apply(ctx, fmt.Sprintf(fleetObjects, server.URL(f.repo))); err != nil {
		return err
	}
	return f.awaitReady(ctx)
}

// awaitReady waits until the Kustomization is ready at the last commit on all clusters that have joined.
func (f *fleet) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	_, err := f.rig.HubKube.Await(ctx, rig.Ref{Kind: "kustomizations.skerry.dev", Namespace: namespace, Name: "all"}, rig.MustExpect(
		"Ready=True", "status.lastAppliedRevision~"+f.commitID+"$", fmt.Sprintf("status.clusters.ready=%d", len(f.members))))
	return err
}

// whole has all agents join, and puts the objects onto all clusters.
func (f *fleet) awaitComplete(ctx context.Context) error {
	if err := f.join(ctx, f.agents); err != nil {
		return err
	}
	return f.deploy(ctx)
}

// counted is what the hub's metrics show.
type counted struct {
	requests  int64 // to its API server, since it began
	reachable int64 // Clusters whose agent has a session and has reported, in full, to this process
}

func (f *fleet) counted(ctx context.Context) (counted, error) {
	var c counted
	text, err := f.rig.Hub.Metrics(ctx)
	if err != nil {
		return c, err
	}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		n, _ := strconv.ParseFloat(value, 64)
		switch {
		case strings.HasPrefix(name, "rest_client_requests_total{"):
			c.requests += int64(n)
		case strings.HasPrefix(name, "skerry_cluster_reachable{"):
			c.reachable += int64(n)
		}
	}
	return c, nil
}

// awaitConnected waits until so many sessions have begun, by the agents, and then until all agents that have joined
// have reported to the hub, by its metrics, which cost too much to be read all the time.
func (f *fleet) awaitConnected(ctx context.Context, sessions int64) error {
	ctx, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	for {
		begun, c := f.sessions.Load(), counted{}
		var err error
		if begun >= sessions {
			if c, err = f.counted(ctx); err == nil && c.reachable >= int64(len(f.members)) {
				return nil
			}
		}
		if failed := sleep.For(ctx, time.Second/2); failed != nil {
			return fmt.Errorf("%d of %d sessions have begun, %d of %d agents have reported;%s: %w", begun, sessions, c.reachable, len(f.members), f.refusals(), errors.Join(failed, err))
		}
	}
}

// quietCPU is the share of a core that a hub uses which has nothing to do but to hear heartbeats.
const quietCPU = 0.2

// quiet waits until the hub has nothing to do, for two minutes at most, and then for d.
func (f *fleet) quiet(ctx context.Context, d time.Duration) (rig.Usage, error) {
	last, err := f.rig.Hub.Usage()
	for until := time.Now().Add(2 * time.Minute); err == nil && time.Now().Before(until); {
		if err := sleep.For(ctx, f.settle); err != nil {
			return last, err
		}
		before := last
		if last, err = f.rig.Hub.Usage(); (last.CPU - before.CPU).Seconds() <= quietCPU*f.settle.Seconds() {
			break
		}
	}
	if err != nil {
		return last, err
	}
	if err := sleep.For(ctx, d); err != nil {
		return last, err
	}
	return f.rig.Hub.Usage()
}

// memory measures the hub's anonymous resident memory for each connected agent, what the hub keeps of its Cluster and
// Assignment included: what it is with all agents less what it is with a fifth, over the agents in between.
func (f *fleet) memory(ctx context.Context) error {
	empty, err := f.quiet(ctx, f.idle/2)
	if err != nil {
		return err
	}
	few := f.agents / 5
	if err := f.join(ctx, few); err != nil {
		return err
	}
	if err := f.deploy(ctx); err != nil {
		return err
	}
	some, err := f.quiet(ctx, f.idle)
	if err != nil {
		return err
	}
	if err := f.awaitComplete(ctx); err != nil {
		return err
	}
	all, err := f.quiet(ctx, f.idle)
	if err != nil {
		return err
	}
	f.progress("anonymous memory of the hub: %.0f MiB with none, %.0f with %d, %.0f with %d agents; peak of all memory %.0f MiB",
		mib(empty.Anon), mib(some.Anon), few, mib(all.Anon), f.agents, mib(all.PeakRSS))
	kib := func(bytes int64, agents int) []float64 { return []float64{float64(bytes) / 1024 / float64(agents)} }
	f.table.Add(figures.Figure{Name: "memory of the hub per connected agent", Unit: "KiB", Samples: kib(all.Anon-some.Anon, f.agents-few), Target: 64, Rule: "64 KiB"})
	f.table.Add(figures.Figure{Name: "  with all agents, less that with none, per agent", Unit: "KiB", Samples: kib(all.Anon-empty.Anon, f.agents)})
	f.table.Add(figures.Figure{Name: "  peak of all memory of the hub", Unit: "MiB", Samples: []float64{mib(all.PeakRSS)}})
	return nil
}

// commits measures a commit that changes each of 20 objects on every cluster, all at once: when 99 % of the clusters
// have it, applied and ready, and when the hub shows that all have; and what the hub asks its API server for meanwhile.
func (f *fleet) commits(ctx context.Context) error {
	if err := f.awaitComplete(ctx); err != nil {
		return err
	}
	var p99, half, ready, requests, cpu []float64
	for i := range f.repetitions {
		got, err := f.commitOnce(ctx)
		if err != nil {
			return err
		}
		p99, half, ready = append(p99, figures.Percentile(got.applied, 99)), append(half, figures.Percentile(got.applied, 50)), append(ready, got.ready.Seconds())
		requests, cpu = append(requests, got.requests), append(cpu, got.cpu)
		f.progress("commit %d to %d clusters: p99 of applied %.1f s, ready on all after %.1f s, %.2f requests of the hub and %.2f ms of its processor time for each cluster", i+1, f.agents, p99[i], ready[i], requests[i], cpu[i])
		f.progress("news of an engine for this commit, median: %.0f of real ones, %.0f of stand-ins;%s", figures.Median(got.news[0]), figures.Median(got.news[1]), f.refusals())
	}
	name := fmt.Sprintf("a commit to %d clusters, 20 objects each", f.agents)
	f.table.Add(figures.Figure{Name: name + ", p99 of applied", Unit: "s", Samples: p99, Target: 90, Rule: "90 s"})
	f.table.Add(figures.Figure{Name: "  of it, until half of the clusters have it", Unit: "s", Samples: half})
	f.table.Add(figures.Figure{Name: "  of it, until the hub shows that all are ready", Unit: "s", Samples: ready})
	f.table.Add(figures.Figure{Name: "  requests of the hub to its API server per cluster", Samples: requests, Target: 3, Rule: "3"})
	f.table.Add(figures.Figure{Name: "  processor time of the hub per cluster", Unit: "ms", Samples: cpu})
	return nil
}

// committed is how one commit went.
type committed struct {
	applied       []float64 // seconds until a cluster had it, of all clusters
	ready         time.Duration
	requests, cpu float64      // of the hub, per cluster; cpu in milliseconds
	news          [2][]float64 // of each engine: real ones, and stand-ins
}

func (f *fleet) commitOnce(ctx context.Context) (committed, error) {
	var got committed
	before, err := f.quiet(ctx, 0)
	if err != nil {
		return got, err
	}
	asked, err := f.counted(ctx)
	if err != nil {
		return got, err
	}
	for _, m := range f.members {
		m.reset()
	}
	if err := f.commit(); err != nil {
		return got, err
	}
	look, began := f.machine(), time.Now()
	if _, err := f.rig.HubKube.Patch(ctx, rig.Ref{Kind: "gitrepositories.skerry.dev", Namespace: namespace, Name: "all"},
		fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.ReconcileRequestAnnotation, began.Format(time.RFC3339Nano))); err != nil {
		return got, err
	}
	if err := f.awaitReady(ctx); err != nil {
		return got, err
	}
	got.ready = time.Since(began)
	f.progress("%s", f.machine().Since(look))
	after, err := f.quiet(ctx, 0) // what is written later counts as well
	if err != nil {
		return got, err
	}
	now, err := f.counted(ctx)
	if err != nil {
		return got, err
	}
	got.requests = float64(now.requests-asked.requests) / float64(f.agents)
	got.cpu = float64((after.CPU - before.CPU).Microseconds()) / 1000 / float64(f.agents)
	for i, m := range f.members {
		at, news := m.arrived()
		if at.IsZero() {
			return got, fmt.Errorf("%s does not have the commit, though the hub shows that all do", m.name)
		}
		got.applied = append(got.applied, at.Sub(began).Seconds())
		kind := 1
		if i < f.engines {
			kind = 0
		}
		got.news[kind] = append(got.news[kind], float64(news))
	}
	return got, nil
}

// restarts measures how long it takes after the end of a hub, by SIGTERM or by SIGKILL, which is when the clock
// starts, until the next one knows of all of its agents: each has proven its key in a session and has reported on its
// cluster in full. Meanwhile no edge may be written to and no bundle fetched.
func (f *fleet) restarts(ctx context.Context) error {
	if err := f.awaitComplete(ctx); err != nil {
		return err
	}
	for _, how := range []string{"SIGTERM", "SIGKILL"} {
		r, err := f.restart(ctx, how == "SIGKILL")
		if err != nil {
			return err
		}
		one := func(n float64) []float64 { return []float64{n} }
		f.table.Add(figures.Figure{Name: fmt.Sprintf("restart by %s, until %d agents are connected and verified", how, f.agents), Unit: "s", Samples: one(r.took.Seconds()), Target: 90, Rule: "90 s (KubeFleet: 10 min for 1,000)"})
		f.table.Add(figures.Figure{Name: "  of it, until the hub is ready", Unit: "s", Samples: one(r.ready.Seconds())})
		f.table.Add(figures.Figure{Name: "  writes to edges meanwhile", Samples: one(r.writes), Zero: true, Rule: "none"})
		f.table.Add(figures.Figure{Name: "  bundles fetched meanwhile", Samples: one(r.bundles), Zero: true, Rule: "none"})
		f.table.Add(figures.Figure{Name: "  requests of the hub to its API server per agent", Samples: one(r.requests)})
		f.table.Add(figures.Figure{Name: "  processor time of the hub per agent", Unit: "ms", Samples: one(r.cpu)})
	}
	return nil
}

// restarted is how one restart went.
type restarted struct {
	took, ready     time.Duration
	writes, bundles float64
	requests, cpu   float64 // of the new hub, per agent; cpu in milliseconds
}

func (f *fleet) restart(ctx context.Context, kill bool) (restarted, error) {
	var r restarted
	if _, err := f.quiet(ctx, f.steady); err != nil {
		return r, err
	}
	writes, bundles, err := f.edgesAndDisks(ctx)
	if err != nil {
		return r, err
	}
	f.refusals()
	f.sessions.Store(0)
	before, began := f.machine(), time.Now()
	if kill {
		f.rig.Hub.Kill()
	} else if err := f.rig.Hub.Stop(); err != nil {
		return r, err
	}
	if err := f.rig.Hub.Start(ctx); err != nil {
		return r, err
	}
	r.ready = time.Since(began)
	if err := f.awaitConnected(ctx, int64(f.agents)); err != nil {
		return r, err
	}
	r.took = time.Since(began)
	usage, err := f.rig.Hub.Usage()
	if err != nil {
		return r, err
	}
	r.cpu = float64(usage.CPU.Microseconds()) / 1000 / float64(f.agents)
	f.progress("restart (kill %t): ready after %.1f s, all are connected and verified after %.1f s; %s; why not at once:%s", kill, r.ready.Seconds(), r.took.Seconds(), f.machine().Since(before), f.refusals())
	if err := f.awaitReady(ctx); err != nil {
		return r, err
	}
	c, err := f.counted(ctx)
	if err != nil {
		return r, err
	}
	r.requests = float64(c.requests) / float64(f.agents)
	nowWrites, nowBundles, err := f.edgesAndDisks(ctx)
	if err != nil {
		return r, err
	}
	r.writes = float64(nowWrites - writes)
	for name, at := range nowBundles {
		if !at.Equal(bundles[name]) {
			r.bundles++
		}
	}
	return r, nil
}

// edgesAndDisks returns how many objects were written to edges by engines and stand-ins, and which bundles agents have,
// since when. Leases of agents are no objects of Git, and are not counted.
func (f *fleet) edgesAndDisks(ctx context.Context) (writes int64, bundles map[string]time.Time, err error) {
	bundles = map[string]time.Time{}
	for _, m := range f.members {
		writes += int64(m.written())
		files, err := m.fetched()
		if err != nil {
			return 0, nil, err
		}
		maps.Copy(bundles, files)
	}
	if f.sim == nil {
		return writes, bundles, nil
	}
	all, err := f.sim.Writes(ctx, "all")
	for _, list := range all {
		for _, w := range list {
			if w.Resource != "leases" {
				writes++
			}
		}
	}
	return writes, bundles, err
}
