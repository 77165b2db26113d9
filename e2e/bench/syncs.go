package main

import (
	"context"
	"fmt"
	"time"

	"github.com/skerry-dev/skerry/e2e/bench/figures"
	"github.com/skerry-dev/skerry/e2e/bench/workload"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// sample is one kind of sync over all repetitions.
type sample struct {
	floor, skerry []time.Duration
	firstWrite    []float64 // seconds from the start to the first write to an edge: fetched, rendered, assigned
	lastWrite     []float64 // seconds from the start to the last
	requests      []float64 // to the edge that saw the most, each repetition
}

// syncs are the syncs that are measured in each repetition.
type syncs struct {
	objects          int
	create, all, one sample
}

// repetition measures floor and Skerry in namespaces of their own, so that both create.
func (b *bench) repetition(ctx context.Context, name string, s *syncs) error {
	s.objects = b.apps * 4
	floorNS := "floor-" + name
	for _, ns := range []string{floorNS, name} {
		if err := b.namespaces(ctx, ns); err != nil {
			return err
		}
	}
	for _, step := range []struct {
		sample  *sample
		objects []workload.Object
	}{
		{&s.create, workload.Objects(floorNS, b.apps, "1")},
		{&s.all, workload.Objects(floorNS, b.apps, "2")},
		{&s.one, workload.App(floorNS, workload.AppName(0), "3")},
	} {
		took, err := floor(ctx, b.rig.Edges, step.objects)
		if err != nil {
			return fmt.Errorf("floor: %w", err)
		}
		step.sample.floor = append(step.sample.floor, took)
	}

	if err := b.sync(ctx, name, &s.create, workload.Folder(name, name, b.apps, "1"), func(ctx context.Context) error {
		return b.rig.HubKube.Apply(ctx, gitRepository(name, b.url)+kustomization(name, name, "./"+name, "  wait: false\n"))
	}); err != nil {
		return fmt.Errorf("creation: %w", err)
	}
	announce := func(ctx context.Context) error { return b.announce(ctx, name) }
	if err := b.sync(ctx, name, &s.all, workload.Folder(name, name, b.apps, "2"), announce); err != nil {
		return fmt.Errorf("full change: %w", err)
	}
	one := map[string]string{name + "/" + workload.AppName(0) + ".yaml": workload.AppFile(name, workload.AppName(0), "3")}
	if err := b.sync(ctx, name, &s.one, one, announce); err != nil {
		return fmt.Errorf("change of one app: %w", err)
	}
	return b.deleteSource(ctx, name)
}

// sync pushes files, starts the clock, tells the hub and waits.
func (b *bench) sync(ctx context.Context, name string, into *sample, files map[string]string, tell func(context.Context) error) error {
	commit, err := b.repo.Commit("main", gitserver.Change{Write: files})
	if err != nil {
		return err
	}
	started := time.Now()
	if err := tell(ctx); err != nil {
		return err
	}
	if err := b.awaitReady(ctx, name, commit); err != nil {
		return err
	}
	into.skerry = append(into.skerry, time.Since(started))
	timer := time.NewTimer(settle)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	}
	most, first, last := 0, time.Time{}, started
	for _, e := range b.rig.Edges {
		seen, err := b.requests(e, started)
		if err != nil {
			return err
		}
		most = max(most, len(seen))
		for _, r := range seen {
			if r.Verb != "patch" {
				continue
			}
			if first.IsZero() || r.Time.Before(first) {
				first = r.Time
			}
			if r.Time.After(last) {
				last = r.Time
			}
		}
	}
	into.requests = append(into.requests, float64(most))
	into.firstWrite = append(into.firstWrite, first.Sub(started).Seconds())
	into.lastWrite = append(into.lastWrite, last.Sub(started).Seconds())
	return nil
}

// requests are those that the hub sent to an edge since then, watches included.
func (b *bench) requests(e *rig.Edge, since time.Time) ([]controlplane.Request, error) {
	all, err := e.Cluster.Requests(since)
	if err != nil {
		return nil, err
	}
	var hub []controlplane.Request
	for _, r := range all {
		// Hub and benchmark both come as the administrator; the API server itself does not.
		if r.User == "admin" && r.UserAgent != rig.UserAgent {
			hub = append(hub, r)
		}
	}
	return hub, nil
}

// report turns samples into figures with the targets.
func (s *syncs) report(r *figures.Table) {
	timing := func(name string, of sample, factor, plus, fixed float64, rule string) {
		floor := figures.Median(figures.Seconds(of.floor))
		target := fixed
		if target == 0 {
			target = factor*floor + plus
		}
		r.Add(figures.Figure{Name: name, Unit: "s", Floor: floor, Samples: figures.Seconds(of.skerry), Target: target, Rule: rule})
		r.Add(figures.Figure{Name: "  its first write to an edge", Unit: "s", Samples: of.firstWrite})
		r.Add(figures.Figure{Name: "  its last write to an edge", Unit: "s", Samples: of.lastWrite})
	}
	timing("creation to every edge", s.create, 1.5, 1, 0, "1.5 × floor + 1 s")
	timing("commit that changes every object", s.all, 1.3, 0.5, 0, "1.3 × floor + 0.5 s")
	timing("commit that changes one app", s.one, 0, 0, 0.6, "0.6 s")
	n := float64(s.objects)
	requests := func(name string, of sample, target float64, rule string) {
		r.Add(figures.Figure{Name: name, Unit: "", Samples: of.requests, Target: target, Rule: rule})
	}
	requests("requests to an edge, creation", s.create, 1.2*n, "1.2 per object")
	requests("requests to an edge, every object", s.all, 1.2*n, "1.2 per object")
	requests("requests to an edge, one app", s.one, 1.5*4+10, "1.5 per changed object + 10")
}
