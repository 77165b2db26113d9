package main

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/skerry-dev/skerry/e2e/bench/figures"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// holes measures what clusters in a black hole (packets get no answer, connecting neither) cost the
// others: the 99th percentile of the time until a healthy cluster has a commit of four objects that
// is for all. The healthy ones are the same half of the fleet throughout. Rounds go none, 10 %, 50 %,
// 10 %, none, so that whatever drifts with time cancels out, with a commit for each repetition once
// the hub knows who is gone; the ratio is that of the medians over all rounds of a kind.
func (w *world) holes(ctx context.Context) error {
	if err := w.connected(ctx); err != nil {
		return err
	}
	a := small("holes")
	if err := w.deploy(ctx, a); err != nil {
		return err
	}
	p99 := map[int][]float64{}
	for _, share := range []int{0, 10, 50, 10, 0} {
		if err := w.dropShare(ctx, a, share); err != nil {
			return err
		}
		for range w.repetitions {
			took, err := w.healthyP99(ctx, a, share)
			if err != nil {
				return fmt.Errorf("with %d %% gone: %w", share, err)
			}
			p99[share] = append(p99[share], took)
		}
		w.progress("%d %% gone: p99 %.2f s", share, figures.Median(p99[share]))
	}
	none := figures.Median(p99[0])
	w.table.Add(figures.Figure{Name: "p99 of healthy clusters, none in a black hole", Unit: "s", Samples: p99[0]})
	for _, of := range []struct {
		share  int
		target float64
	}{{10, 1.05}, {50, 1.2}} {
		w.table.Add(figures.Figure{
			Name: fmt.Sprintf("p99 of healthy clusters, %d %% in a black hole, to that", of.share), Unit: "×",
			Value: figures.Median(p99[of.share]) / none, Samples: p99[of.share], Target: of.target, Rule: "Argo CD: out of memory",
		})
	}
	return nil
}

// dropShare lets that share of the edges, the last ones, fall into a black hole and no others, and
// returns when the hub knows.
func (w *world) dropShare(ctx context.Context, a *app, share int) error {
	gone := w.clusters * share / 100
	if err := w.sim.Restore(ctx); err != nil {
		return err
	}
	if gone > 0 {
		if err := w.sim.Drop(ctx, w.clusters-gone, w.clusters-1); err != nil {
			return err
		}
	}
	if err := w.probeAll(ctx); err != nil {
		return err
	}
	return w.awaitCount(ctx, a, "unreachable", gone)
}

// probeAll asks the hub to look at each cluster now, as a person does who knows that something has
// changed: else it would take as long as its probes of dead clusters are apart.
func (w *world) probeAll(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writesAtOnce)
	for i := range w.joined {
		group.Go(func() error {
			return w.annotate(ctx, rig.Ref{Kind: "clusters.skerry.dev", Namespace: namespace, Name: edgeName(i)})
		})
	}
	return group.Wait()
}

func (w *world) healthyP99(ctx context.Context, a *app, share int) (float64, error) {
	alive := w.clusters - w.clusters*share/100
	got, err := w.commitAndWatch(ctx, a, func(ctx context.Context) error {
		return w.awaitAll(ctx, []*app{a}, func(a *app) rig.Condition {
			return rig.MustExpect("status.lastAppliedRevision~"+a.commit+"$", fmt.Sprintf("status.clusters.ready=%d", alive))
		})
	})
	if err != nil {
		return 0, err
	}
	half := w.clusters - w.clusters*50/100
	var names []string
	for i := range half {
		names = append(names, edgeName(i))
	}
	times := got.seconds(func(name string) bool { return slices.Contains(names, name) })
	if len(times) != half {
		return 0, fmt.Errorf("%d of %d healthy edges have the commit", len(times), half)
	}
	return figures.Percentile(times, 99), nil
}
