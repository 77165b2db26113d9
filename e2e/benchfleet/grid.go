package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/skerry-dev/skerry/e2e/bench/figures"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// grid measures how long many Kustomizations of one repository take to many clusters: from before
// the first of them is created until the last is ready everywhere. The clusters are connected before.
func (w *world) grid(ctx context.Context) error {
	if err := w.join(ctx, w.options.grid); err != nil {
		return err
	}
	if err := w.deploy(ctx, small("first")); err != nil { // every cluster is connected
		return err
	}
	for _, mode := range []struct {
		staged       bool
		source, name string
	}{
		{false, "atonce", "creation to all ready, all at once"},
		{true, "staged", "creation to all ready, staged by default"},
	} {
		var samples []float64
		for i := range w.repetitions {
			took, err := w.createMany(ctx, fmt.Sprintf("%s%d", mode.source, i), mode.staged)
			if err != nil {
				return err
			}
			w.progress("%s: %.2f s", mode.name, took.Seconds())
			samples = append(samples, took.Seconds())
		}
		w.table.Add(figures.Figure{Name: mode.name, Unit: "s", Samples: samples, Target: 15, Rule: "15 s (Rancher Fleet: 51 s)"})
	}
	return nil
}

func (w *world) createMany(ctx context.Context, source string, staged bool) (time.Duration, error) {
	var apps []*app
	var manifests strings.Builder
	manifests.WriteString(gitRepository(source, w.url))
	for i := range w.options.grid {
		a := small(fmt.Sprintf("%s-%02d", source, i))
		a.staged = staged
		apps = append(apps, a)
		manifests.WriteString(a.kustomization(source))
	}
	if err := w.commit(apps...); err != nil {
		return 0, err
	}
	if _, err := w.awaitIdle(ctx); err != nil {
		return 0, err
	}
	took, err := w.counted(ctx, "creation", func() error {
		if err := w.rig.HubKube.Apply(ctx, manifests.String()); err != nil {
			return err
		}
		return w.awaitReady(ctx, apps...)
	})
	if err != nil {
		return 0, err
	}
	_, err = w.counted(ctx, "removal", func() error { return w.remove(ctx, source, apps) })
	return took, err
}

// counted says what something took: its time, the processors, and what was written to the hub's API server.
func (w *world) counted(ctx context.Context, what string, do func() error) (time.Duration, error) {
	written, err := w.hubWrites(ctx)
	if err != nil {
		return 0, err
	}
	before, started := w.machine(), time.Now()
	if err := do(); err != nil {
		return 0, err
	}
	took := time.Since(started)
	w.progress("%s: %s", what, w.machine().Since(before))
	after, err := w.hubWrites(ctx)
	if err != nil {
		return 0, err
	}
	var counts []string
	for _, resource := range slices.Sorted(maps.Keys(after)) {
		if n := after[resource] - written[resource]; n > 0 {
			counts = append(counts, fmt.Sprintf("%s %.0f", resource, n))
		}
	}
	w.progress("%s: written: %s", what, strings.Join(counts, ", "))
	return took, nil
}

// remove deletes Kustomizations with all that they put onto clusters, and their source.
func (w *world) remove(ctx context.Context, source string, apps []*app) error {
	for _, a := range apps {
		if _, err := w.rig.HubKube.Delete(ctx, a.ref()); err != nil {
			return err
		}
	}
	if err := w.awaitAll(ctx, apps, func(*app) rig.Condition { return rig.Absent }); err != nil {
		return err
	}
	_, err := w.rig.HubKube.Delete(ctx, rig.Ref{Kind: "gitrepositories.skerry.dev", Namespace: namespace, Name: source})
	return err
}
