package main

import (
	"context"
	"time"

	"k8s.io/client-go/rest"

	"github.com/skerry-dev/skerry/e2e/bench/workload"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// floorConcurrency is how many requests the floor has under way, over all edges together.
const floorConcurrency = 32

func floor(ctx context.Context, edges []*rig.Edge, all []workload.Object) (time.Duration, error) {
	targets := make([]workload.Target, len(edges))
	for i, e := range edges {
		client, err := rest.HTTPClientFor(e.Kube.Config)
		if err != nil {
			return 0, err
		}
		targets[i] = workload.Target{Host: e.Kube.Config.Host, Client: client}
	}
	return workload.Floor(ctx, targets, all, floorConcurrency)
}
