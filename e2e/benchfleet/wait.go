package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/skerry-dev/skerry/internal/sleep"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// waitTimeout bounds each wait.
const waitTimeout = 10 * time.Minute

// awaitReady waits until Kustomizations are ready at their commits on all their clusters.
func (w *world) awaitReady(ctx context.Context, apps ...*app) error {
	return w.awaitAll(ctx, apps, func(a *app) rig.Condition {
		return rig.MustExpect("Ready=True", "status.lastAppliedRevision~"+a.commit+"$",
			fmt.Sprintf("status.clusters.ready=%d", w.clustersOf(a)))
	})
}

func (w *world) awaitAll(ctx context.Context, apps []*app, holds func(*app) rig.Condition) error {
	ctx, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	for _, a := range apps {
		group.Go(func() error {
			_, err := w.rig.HubKube.Await(ctx, a.ref(), holds(a))
			return err
		})
	}
	return group.Wait()
}

// awaitCount waits until a Kustomization counts so many clusters under a word of status.clusters; a
// count of 0 is not written.
func (w *world) awaitCount(ctx context.Context, a *app, word string, n int) error {
	ctx, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	_, err := w.rig.HubKube.Await(ctx, a.ref(), func(o *unstructured.Unstructured) (bool, string) {
		if o == nil {
			return false, "not there"
		}
		got, _, _ := unstructured.NestedInt64(o.Object, "status", "clusters", word)
		return got == int64(n), fmt.Sprintf("%d clusters are %s", got, word)
	})
	return err
}

// What an idle hub may use: a share of one core, and requests beyond watches a minute and edge.
const (
	idleCPU      = 0.10
	idleRequests = 2
)

// look is what had been used at some time.
type look struct {
	at       time.Time
	cpu      time.Duration
	requests int64
}

func (w *world) look(ctx context.Context) (look, error) {
	usage, err := w.rig.Hub.Usage()
	if err != nil {
		return look{}, err
	}
	counters, err := w.sim.Counters(ctx)
	return look{time.Now(), usage.CPU, counters.Beyond()}, err
}

// idleBetween says whether so little was used from one look to the next, by a fleet of so many, that
// the hub was idle. A fleet that is looked after now and then is.
func idleBetween(a, b look, clusters int) bool {
	passed := b.at.Sub(a.at)
	return (b.cpu-a.cpu).Seconds() <= idleCPU*passed.Seconds() &&
		float64(b.requests-a.requests) <= idleRequests*passed.Minutes()*float64(clusters)+1
}

// awaitIdle waits until the hub asks the edges for next to nothing and has next to nothing to compute
// for some seconds, and returns when that began.
func (w *world) awaitIdle(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	const looks = 6
	var last []look
	for {
		now, err := w.look(ctx)
		if err != nil {
			return time.Time{}, err
		}
		if last = append(last, now); len(last) > looks+1 {
			last = last[1:]
		}
		if len(last) > looks && idleBetween(last[0], now, w.joined) {
			return last[0].at, nil
		}
		if err := sleep.For(ctx, w.quiet/looks); err != nil {
			return time.Time{}, fmt.Errorf("the hub does not become idle: %w", err)
		}
	}
}
