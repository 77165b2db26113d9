package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/skerry-dev/skerry/e2e/bench/figures"
	"github.com/skerry-dev/skerry/e2e/bench/workload"
	"github.com/skerry-dev/skerry/internal/testkit/simulator"
)

// arrival is how one commit went.
type arrival struct {
	ready time.Duration            // until the Kustomization was ready at it on every cluster
	edges map[string]time.Duration // until a cluster had it, by cluster
}

// seconds are the times of the edges that are wanted; nil wants all.
func (a arrival) seconds(wanted func(name string) bool) []float64 {
	var out []float64
	for name, d := range a.edges {
		if wanted == nil || wanted(name) {
			out = append(out, d.Seconds())
		}
	}
	return out
}

// commitAndWatch pushes the next version of an app, waits as told, and reads off the edges when each
// got the last of the app's objects. Each object changes with the version.
func (w *world) commitAndWatch(ctx context.Context, a *app, wait func(context.Context) error) (arrival, error) {
	if _, err := w.awaitIdle(ctx); err != nil {
		return arrival{}, err
	}
	if err := w.sim.ForgetWrites(ctx, "all"); err != nil {
		return arrival{}, err
	}
	before := w.machine()
	started, err := w.push(ctx, a)
	if err != nil {
		return arrival{}, err
	}
	if err := wait(ctx); err != nil {
		return arrival{}, err
	}
	w.progress("a commit of %s: %s", a.name, w.machine().Since(before))
	got := arrival{ready: time.Since(started), edges: map[string]time.Duration{}}
	writes, err := w.sim.Writes(ctx, "all")
	if err != nil {
		return got, err
	}
	for edge, list := range writes {
		if at, whole := a.arrived(list); whole {
			got.edges[edge] = at.Sub(started)
		}
	}
	return got, nil
}

// arrived returns the time of the write that completed an app among all writes to an edge.
func (a *app) arrived(list []simulator.Write) (time.Time, bool) {
	missing := map[string]bool{}
	for _, o := range a.objects("") {
		missing[o.Kind.Plural+"/"+o.Name] = true
	}
	for _, write := range list {
		if write.Verb != "apply" || write.Code >= 300 || !strings.HasPrefix(write.Manager, "skerry.") {
			continue
		}
		if delete(missing, write.Resource+"/"+write.Name); len(missing) == 0 {
			return write.Time, true
		}
	}
	return time.Time{}, false
}

// appsForAll is how many apps of four objects the commit to all clusters changes.
const appsForAll = 5

// all measures a commit that changes each of 20 objects on every cluster, until the hub says that all
// clusters are ready at it. The floor sends as many objects of the same form, rendered before, over
// connections that stand, to the same edges in the same run: with 32 requests under way, as in the
// other benchmark, and with 128; the faster counts.
func (w *world) all(ctx context.Context) error {
	a := ofApps("all", appsForAll)
	if err := w.connected(ctx); err != nil {
		return err
	}
	if err := w.deploy(ctx, a); err != nil {
		return err
	}
	floor, err := w.floor(ctx)
	if err != nil {
		return err
	}
	var ready, last, p50 []float64
	for i := range w.repetitions {
		got, err := w.commitAndWatch(ctx, a, func(ctx context.Context) error { return w.awaitReady(ctx, a) })
		if err != nil {
			return err
		}
		times := got.seconds(nil)
		if len(times) != w.clusters {
			return fmt.Errorf("%d of %d edges have the commit though the hub says that all have", len(times), w.clusters)
		}
		ready, last, p50 = append(ready, got.ready.Seconds()), append(last, figures.Percentile(times, 100)), append(p50, figures.Percentile(times, 50))
		w.progress("commit %d to %d clusters: ready after %.2f s, the last edge has it after %.2f s", i+1, w.clusters, got.ready.Seconds(), last[i])
	}
	w.table.Add(figures.Figure{Name: fmt.Sprintf("a commit to %d clusters, 20 objects each, until all are ready", w.clusters), Unit: "s", Floor: floor, Samples: ready, Target: 60, Rule: "60 s"})
	w.table.Add(figures.Figure{Name: "  of it, until the last edge has it", Unit: "s", Floor: floor, Samples: last})
	w.table.Add(figures.Figure{Name: "  of it, until half of the edges have it", Unit: "s", Samples: p50})
	w.table.Add(figures.Figure{Name: "  ratio to the floor, until all are ready", Unit: "×", Samples: []float64{figures.Median(ready) / floor}})
	w.table.Add(figures.Figure{Name: "  ratio to the floor, until the last edge has it", Unit: "×", Samples: []float64{figures.Median(last) / floor}})
	return nil
}

// some measures when each of a tenth of the clusters has a commit of four objects.
func (w *world) some(ctx context.Context) error {
	if err := w.connected(ctx); err != nil {
		return err
	}
	for _, mode := range []struct {
		name   string
		staged bool
		target float64
		rule   string
	}{
		{"all at once", false, 5, "5 s (KubeFleet: 20 s)"},
		{"staged by default", true, 0, ""},
	} {
		a := small("some-" + strings.ReplaceAll(mode.name, " ", "-"))
		a.some, a.staged = true, mode.staged
		if err := w.deploy(ctx, a); err != nil {
			return err
		}
		var p90, ready []float64
		for range w.repetitions {
			got, err := w.commitAndWatch(ctx, a, func(ctx context.Context) error { return w.awaitReady(ctx, a) })
			if err != nil {
				return err
			}
			times := got.seconds(nil)
			if len(times) != w.someClusters() {
				return fmt.Errorf("%d edges have a commit that is for %d", len(times), w.someClusters())
			}
			p90, ready = append(p90, figures.Percentile(times, 90)), append(ready, got.ready.Seconds())
		}
		w.table.Add(figures.Figure{
			Name: fmt.Sprintf("a commit to %d of %d clusters, %s, p90", w.someClusters(), w.clusters, mode.name),
			Unit: "s", Samples: p90, Target: mode.target, Rule: mode.rule,
		})
		w.table.Add(figures.Figure{Name: "  until all are ready", Unit: "s", Samples: ready})
	}
	return nil
}

// floor returns how many seconds the fastest way takes to change as many apps on every edge.
func (w *world) floor(ctx context.Context) (float64, error) {
	targets, err := w.targets(ctx)
	if err != nil {
		return 0, err
	}
	version := 0
	run := func(atOnce int) (float64, error) {
		version++
		var all []workload.Object
		for i := range appsForAll {
			all = append(all, workload.App("default", fmt.Sprintf("floor-%d", i), fmt.Sprint(version))...)
		}
		took, err := workload.Floor(ctx, targets, all, atOnce)
		return took.Seconds(), err
	}
	if _, err := run(32); err != nil { // creation, and the connections
		return 0, err
	}
	best := 0.0
	before, err := w.simLook(ctx)
	if err != nil {
		return 0, err
	}
	for _, atOnce := range []int{32, 128} {
		var samples []float64
		for range w.repetitions {
			took, err := run(atOnce)
			if err != nil {
				return 0, err
			}
			samples = append(samples, took)
		}
		took := figures.Median(samples)
		w.progress("floor with %d requests at once: %.2f s", atOnce, took)
		if best == 0 || took < best {
			best = took
		}
	}
	after, err := w.simLook(ctx)
	if err != nil {
		return 0, err
	}
	w.table.Add(figures.Figure{
		Name: "processor time of the simulator for each request of the floor", Unit: "µs",
		Samples: []float64{float64((after.cpu - before.cpu).Microseconds()) / float64(after.requests-before.requests)},
		Target:  simCPU, Rule: "little beside the hub's",
	})
	for _, t := range targets {
		t.Client.CloseIdleConnections()
	}
	return best, nil
}

// What the simulator may take of the machine that the hub is measured on: µs of processor time for a
// request, and MiB for a connected edge with ten watches. A server that takes more is what gets measured.
const (
	simCPU    = 150
	simMemory = 0.15
)

// simLook returns what the simulator has used and done up to now.
func (w *world) simLook(ctx context.Context) (look, error) {
	usage, err := w.sim.Usage()
	if err != nil {
		return look{}, err
	}
	counters, err := w.sim.Counters(ctx)
	return look{time.Now(), usage.CPU, counters.Beyond()}, err
}

// targets are all edges with a client each.
func (w *world) targets(ctx context.Context) ([]workload.Target, error) {
	targets := make([]workload.Target, w.joined)
	group, _ := errgroup.WithContext(ctx)
	group.SetLimit(writesAtOnce)
	for i := range targets {
		group.Go(func() error {
			raw, err := os.ReadFile(filepath.Join(w.dir, "edges", edgeName(i)+".kubeconfig"))
			if err != nil {
				return err
			}
			config, err := clientcmd.RESTConfigFromKubeConfig(raw)
			if err != nil {
				return err
			}
			client, err := rest.HTTPClientFor(config)
			targets[i] = workload.Target{Host: config.Host, Client: client}
			return err
		})
	}
	return targets, group.Wait()
}
