package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"

	"github.com/skerry-dev/skerry/e2e/bench/figures"
	"github.com/skerry-dev/skerry/internal/sleep"
)

// perCluster is how many Kustomizations each cluster has when the hub is restarted.
const perCluster = 10

// unwritten is how old the time of a verification has to be before the hub writes another that says
// nothing else.
const unwritten = 65 * time.Second

// restarts measures how long a hub takes after its end, by SIGTERM or by SIGKILL, which is when the
// clock starts, until it is verified and idle. Verified: every entry of every Assignment says Ready
// with a verification that is later than the end of the old hub, and the edges have as many watches as
// before. Idle: from some moment after that on, the hub asked the edges for nothing and computed next
// to nothing for three seconds; that moment counts. No edge may be written to meanwhile.
func (w *world) restarts(ctx context.Context) error {
	if err := w.pairs(ctx); err != nil {
		return err
	}
	var took, verified, writes []float64
	for _, kill := range []bool{false, true} {
		r, err := w.restart(ctx, kill)
		if err != nil {
			return err
		}
		w.progress("restart (kill %t): ready after %.1f s, verified after %.1f s, idle after %.1f s; requests %v",
			kill, r.ready.Seconds(), r.verified.Seconds(), r.idle.Seconds(), r.requests)
		took, verified, writes = append(took, max(r.verified, r.idle).Seconds()), append(verified, r.verified.Seconds()), append(writes, float64(r.writes))
	}
	usage, err := w.rig.Hub.Usage()
	if err != nil {
		return err
	}
	name := fmt.Sprintf("restart with %d clusters × %d Kustomizations", w.clusters, perCluster)
	for i, how := range []string{"SIGTERM", "SIGKILL"} {
		w.table.Add(figures.Figure{Name: fmt.Sprintf("%s, %s, until verified and idle", name, how), Unit: "s", Samples: took[i : i+1], Target: 30, Rule: "30 s"})
		w.table.Add(figures.Figure{Name: "  of it, until verified", Unit: "s", Samples: verified[i : i+1]})
		w.table.Add(figures.Figure{Name: "  writes to edges meanwhile", Samples: writes[i : i+1], Zero: true, Rule: "none"})
	}
	w.table.Add(figures.Figure{Name: "  peak memory of the restarted hub", Unit: "MiB", Samples: []float64{float64(usage.PeakRSS) / (1 << 20)}})
	return nil
}

// pairs puts ten Kustomizations onto every cluster: what other measures have left there, and as many
// small ones as it takes.
func (w *world) pairs(ctx context.Context) error {
	if err := w.connected(ctx); err != nil {
		return err
	}
	whole := 0
	for _, a := range w.apps {
		if !a.some {
			whole++
		}
	}
	var more []*app
	for i := whole; i < perCluster; i++ {
		more = append(more, small(fmt.Sprintf("more-%d", i)))
	}
	if err := w.deploy(ctx, more...); err != nil {
		return err
	}
	// Each source was at the commit that was the newest when it was needed. A hub that starts looks at
	// all of them, and what it then has to send out is no part of verifying.
	for _, a := range w.apps {
		if err := w.annotate(ctx, a.source()); err != nil {
			return err
		}
	}
	_, err := w.awaitIdle(ctx)
	return err
}

// restarted is how one restart went.
type restarted struct {
	ready, verified, idle time.Duration
	writes                int64
	requests              map[string]int64
}

func (w *world) restart(ctx context.Context, kill bool) (restarted, error) {
	var r restarted
	if err := sleep.For(ctx, unwritten); err != nil {
		return r, err
	}
	if _, err := w.awaitIdle(ctx); err != nil {
		return r, err
	}
	before, err := w.sim.Counters(ctx)
	if err != nil {
		return r, err
	}
	started := time.Now()
	if kill {
		w.rig.Hub.Kill()
	} else if err := w.rig.Hub.Stop(); err != nil {
		return r, err
	}
	ended := time.Now()
	if err := w.rig.Hub.Start(ctx); err != nil {
		return r, err
	}
	r.ready = time.Since(started)
	if err := w.awaitVerified(ctx, ended, before.OpenWatches); err != nil {
		return r, err
	}
	r.verified = time.Since(started)
	idle, err := w.awaitIdle(ctx)
	if err != nil {
		return r, err
	}
	r.idle = idle.Sub(started)
	after, err := w.sim.Counters(ctx)
	if err != nil {
		return r, err
	}
	did := after.Sub(before)
	r.writes, r.requests = did.Writes, did.Requests
	return r, nil
}

// awaitVerified watches the Assignments until each says that each of its entries was verified after
// a time, and then waits for the watches on the edges.
func (w *world) awaitVerified(ctx context.Context, after time.Time, watches int64) error {
	ctx, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	client, err := w.rig.HubKube.Resource("assignments.skerry.dev", namespace)
	if err != nil {
		return err
	}
	missing := map[string]bool{}
	for i := range w.joined {
		missing[edgeName(i)] = true
	}
	see := func(o runtime.Object) {
		if a, ok := o.(*unstructured.Unstructured); ok && allVerified(a, after) {
			delete(missing, a.GetName())
		}
	}
	for len(missing) > 0 {
		if err := follow(ctx, client, see, func() bool { return len(missing) == 0 }); err != nil {
			return fmt.Errorf("%d Assignments are not verified: %w", len(missing), err)
		}
	}
	for {
		c, err := w.sim.Counters(ctx)
		if err != nil || c.OpenWatches >= watches {
			return err
		}
		if err := sleep.For(ctx, 200*time.Millisecond); err != nil {
			return fmt.Errorf("%d of %d watches are open: %w", c.OpenWatches, watches, err)
		}
	}
}

// follow lists and watches until done says so, or the watch ends.
func follow(ctx context.Context, client dynamic.ResourceInterface, see func(runtime.Object), done func() bool) error {
	list, err := client.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range list.Items {
		see(&list.Items[i])
	}
	events, err := client.Watch(ctx, metav1.ListOptions{ResourceVersion: list.GetResourceVersion()})
	if err != nil {
		return err
	}
	defer events.Stop()
	for !done() {
		event, ok := <-events.ResultChan()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case !ok:
			return nil
		case event.Type == watch.Error:
			return errors.New("the watch failed")
		}
		see(event.Object)
	}
	return nil
}

// allVerified says whether each entry of an Assignment is ready by a verification after a time. The
// times of the API have whole seconds, rounded down.
func allVerified(a *unstructured.Unstructured, after time.Time) bool {
	wanted, _, _ := unstructured.NestedSlice(a.Object, "spec", "entries")
	entries, _, _ := unstructured.NestedSlice(a.Object, "status", "entries")
	for _, e := range entries {
		entry, _ := e.(map[string]any)
		text, _ := entry["verifiedAt"].(string)
		at, err := time.Parse(time.RFC3339, text)
		if err != nil || at.Before(after.Truncate(time.Second)) || entry["ready"] != string(metav1.ConditionTrue) {
			return false
		}
	}
	return len(entries) > 0 && len(entries) == len(wanted)
}
