package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/e2e/bench/figures"
)

// state measures what the hub keeps in its API for each pair of a Kustomization and a Cluster: all
// Assignments and the statuses of all Kustomizations, as the JSON that etcd holds, managed fields
// included, over the number of entries. There are ten Kustomizations on each cluster, each of which
// has had a second commit, so that the entries also hold what a cluster goes back to.
func (w *world) state(ctx context.Context) error {
	if err := w.pairs(ctx); err != nil {
		return err
	}
	if err := w.pushAll(ctx); err != nil {
		return err
	}
	pairs, assignments, managed := 0, 0, 0
	err := w.each(ctx, "assignments.skerry.dev", func(o map[string]any) {
		entries, _, _ := unstructured.NestedSlice(o, "spec", "entries")
		pairs += len(entries)
		assignments += size(o)
		meta, _ := o["metadata"].(map[string]any)
		managed += size(meta["managedFields"])
	})
	if err != nil {
		return err
	}
	statuses := 0
	if err := w.each(ctx, "kustomizations.skerry.dev", func(o map[string]any) { statuses += size(o["status"]) }); err != nil {
		return err
	}
	if pairs < perCluster*w.joined {
		return fmt.Errorf("there are %d pairs, want at least %d", pairs, perCluster*w.joined)
	}
	per := func(bytes int) []float64 { return []float64{float64(bytes) / float64(pairs)} }
	w.table.Add(figures.Figure{Name: fmt.Sprintf("state on the hub per pair, of %d", pairs), Unit: "B", Samples: per(assignments + statuses), Target: 1024, Rule: "1 KiB (KubeFleet: 16 KB)"})
	w.table.Add(figures.Figure{Name: "  of it, statuses of Kustomizations", Unit: "B", Samples: per(statuses)})
	w.table.Add(figures.Figure{Name: "  of it, managed fields", Unit: "B", Samples: per(managed)})
	return nil
}

// pushAll brings the next version of every Kustomization to its clusters, with one commit.
func (w *world) pushAll(ctx context.Context) error {
	apps := slices.Collect(maps.Values(w.apps))
	if err := w.commit(apps...); err != nil {
		return err
	}
	for _, a := range apps {
		if err := w.annotate(ctx, a.source()); err != nil {
			return err
		}
	}
	return w.awaitReady(ctx, apps...)
}

// each calls do for every object of a kind.
func (w *world) each(ctx context.Context, kind string, do func(map[string]any)) error {
	client, err := w.rig.HubKube.Resource(kind, namespace)
	if err != nil {
		return err
	}
	list, err := client.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range list.Items {
		do(list.Items[i].Object)
	}
	return nil
}

// size is the length of a value as JSON.
func size(v any) int {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // it was JSON
	}
	return len(raw)
}
