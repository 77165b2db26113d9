// Command bench measures Skerry on real API servers beside the floor in the same run: one
// server-side apply per object and edge, 32 at a time, from objects that are rendered already.
//
// Edges are API servers without a controller manager. The Deployments of the workload have no
// replicas and no namespace is deleted, so controllers would do nothing for the figures but take
// from the cores that the floor and Skerry share. Kustomizations of the workload therefore do not
// wait for health; in the chain of dependsOn, where health counts, the benchmark plays the one
// controller that is missing.
//
// A push is announced by the annotation that `skerry reconcile source` sets and a webhook would;
// the clock starts before it. It stops when the Kustomization on the hub is ready at the revision on
// every edge, which is later than the last write to an edge.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/skerry-dev/skerry/e2e/bench/figures"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

type options struct {
	workloads   string
	repetitions int
	drifts      int
	idle        time.Duration
	json        string
	keep        bool
}

func main() {
	var o options
	flag.StringVar(&o.workloads, "workloads", "4x25,8x50", "edges x apps of four objects, separated by commas")
	flag.IntVar(&o.repetitions, "repetitions", 5, "how often each sync is measured")
	flag.IntVar(&o.drifts, "drifts", 40, "how many objects are changed or deleted by hand")
	flag.DurationVar(&o.idle, "idle", time.Minute, "how long to watch the hub do nothing")
	flag.StringVar(&o.json, "json", "", "also write the results to this file")
	flag.BoolVar(&o.keep, "keep", false, "keep the logs of everything that ran")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	missed, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	if missed > 0 {
		fmt.Printf("\n%d targets missed\n", missed)
		os.Exit(1)
	}
	fmt.Println("\nall targets met")
}

// run measures every workload and returns how many targets were missed.
func run(ctx context.Context, o options) (int, error) {
	sizes, err := parseWorkloads(o.workloads)
	if err != nil {
		return 0, err
	}
	var results []figures.Table
	missed := 0
	for _, size := range sizes {
		result, err := measure(ctx, o, size[0], size[1])
		if err != nil {
			return missed, fmt.Errorf("%d edges, %d apps: %w", size[0], size[1], err)
		}
		if err := result.Print(os.Stdout); err != nil {
			return missed, err
		}
		results = append(results, *result)
		missed += result.Missed()
	}
	if o.json != "" {
		return missed, figures.WriteJSON(o.json, results)
	}
	return missed, nil
}

// measure starts what one workload needs, measures and stops it again.
func measure(ctx context.Context, o options, edges, apps int) (_ *figures.Table, err error) {
	dir, err := os.MkdirTemp("", "skerry-bench-")
	if err != nil {
		return nil, err
	}
	if o.keep {
		fmt.Fprintln(os.Stderr, "logs are in", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	fmt.Fprintf(os.Stderr, "starting etcd and %d kube-apiservers\n", edges+1)
	all := rig.Options{Dir: dir}
	for i := range edges {
		all.Edges = append(all.Edges, rig.EdgeOptions{Name: fmt.Sprintf("edge-%d", i+1), Audit: true})
	}
	r, err := rig.New(ctx, all)
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := r.Close(); err == nil {
			err = cerr
		}
	}()
	b := &bench{options: o, rig: r, apps: apps, result: &figures.Table{
		Title: fmt.Sprintf("%d edges, %d apps of 4 objects: %d objects per edge; medians of %d", edges, apps, apps*4, o.repetitions),
	}}
	if err := b.run(ctx); err != nil {
		return nil, fmt.Errorf("%w\nthe end of the hub's log:\n%s", err, r.Hub.LogTail(30))
	}
	return b.result, nil
}

func parseWorkloads(text string) ([][2]int, error) {
	var sizes [][2]int
	for _, word := range splitComma(text) {
		var edges, apps int
		if n, err := fmt.Sscanf(word, "%dx%d", &edges, &apps); n != 2 || err != nil || edges < 1 || apps < 2 {
			return nil, fmt.Errorf("%q is no workload: want EDGESxAPPS, for example 4x25", word)
		}
		sizes = append(sizes, [2]int{edges, apps})
	}
	return sizes, nil
}
