package main

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/skerry-dev/skerry/e2e/bench/figures"
	"github.com/skerry-dev/skerry/e2e/bench/workload"
	"github.com/skerry-dev/skerry/internal/sleep"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

type m = map[string]any

// kinds is an app of one object of each of ten kinds, so that every cluster has ten watches.
func kinds(name string) *app {
	return &app{name: name, objects: func(version string) []workload.Object {
		of := func(apiVersion, kind, plural string, rest m) workload.Object {
			body := m{"apiVersion": apiVersion, "kind": kind, "metadata": m{
				"name": name, "namespace": "default", "annotations": m{"example.com/version": version},
			}}
			maps.Copy(body, rest)
			return workload.Object{Kind: workload.Kind{APIVersion: apiVersion, Name: kind, Plural: plural}, Namespace: "default", Name: name, Body: body}
		}
		selector := m{"matchLabels": m{"app": name}}
		role := m{"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
		return append(workload.App("default", name, version),
			of("v1", "ConfigMap", "configmaps", m{"data": m{"version": version}}),
			of("v1", "Secret", "secrets", m{"stringData": m{"version": version}}),
			of("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", m{"spec": m{"podSelector": selector, "policyTypes": []any{"Ingress"}}}),
			of("rbac.authorization.k8s.io/v1", "Role", "roles", m{"rules": []any{m{"apiGroups": []any{""}, "resources": []any{"pods"}, "verbs": []any{"get"}}}}),
			of("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", m{"roleRef": role, "subjects": []any{m{"kind": "ServiceAccount", "name": name, "namespace": "default"}}}),
			of("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", m{"spec": m{"selector": selector, "maxUnavailable": 1}}),
		)
	}}
}

// memory measures the hub's anonymous resident memory (heap, stacks and what the runtime keeps) per
// connected cluster, with ten watches on each: what it is with the whole fleet less what it is with a
// fifth, over the clusters in between. It is read from /proc after the hub has been idle for a while,
// without asking its garbage collector for anything; so it holds what the runtime has not given back.
func (w *world) memory(ctx context.Context) error {
	empty, err := w.settled(ctx, w.options.idle/4)
	if err != nil {
		return err
	}
	few := max(w.clusters/5, 1)
	if err := w.join(ctx, few); err != nil {
		return err
	}
	if err := w.deploy(ctx, kinds("kinds")); err != nil {
		return err
	}
	some, err := w.settled(ctx, w.options.idle/2)
	if err != nil {
		return err
	}
	simSome, err := w.sim.Usage()
	if err != nil {
		return err
	}
	before := w.machine()
	if err := w.join(ctx, w.clusters); err != nil {
		return err
	}
	if err := w.awaitReady(ctx, w.apps["kinds"]); err != nil {
		return err
	}
	w.progress("%d more clusters are connected and ready: %s", w.clusters-few, w.machine().Since(before))
	all, err := w.settled(ctx, w.options.idle)
	if err != nil {
		return err
	}
	simAll, err := w.sim.Usage()
	if err != nil {
		return err
	}
	mib := func(bytes int64) float64 { return float64(bytes) / (1 << 20) }
	w.progress("anonymous memory of the hub: %.0f MiB with none, %.0f with %d, %.0f with %d clusters; peak of all memory %.0f MiB",
		mib(empty.Anon), mib(some.Anon), few, mib(all.Anon), w.clusters, mib(all.PeakRSS))
	w.table.Add(figures.Figure{
		Name: "memory of the hub per cluster, ten watches each", Unit: "MiB",
		Samples: []float64{mib(all.Anon-some.Anon) / float64(w.clusters-few)}, Target: 0.5, Rule: "0.5 MiB",
	})
	w.table.Add(figures.Figure{
		Name: fmt.Sprintf("  anonymous memory with %d clusters, less that with none, per cluster", w.clusters), Unit: "MiB",
		Samples: []float64{mib(all.Anon-empty.Anon) / float64(w.clusters)},
	})
	w.table.Add(figures.Figure{
		Name: "  memory of the simulator per edge", Unit: "MiB",
		Samples: []float64{mib(simAll.Anon-simSome.Anon) / float64(w.clusters-few)}, Target: simMemory, Rule: "little beside the hub's",
	})
	w.table.Add(figures.Figure{Name: "  peak of all memory of the hub", Unit: "MiB", Samples: []float64{mib(all.PeakRSS)}})
	return nil
}

// settled is what the hub has used once it has been idle for so long.
func (w *world) settled(ctx context.Context, idle time.Duration) (rig.Usage, error) {
	if _, err := w.awaitIdle(ctx); err != nil {
		return rig.Usage{}, err
	}
	if err := sleep.For(ctx, idle); err != nil {
		return rig.Usage{}, err
	}
	return w.rig.Hub.Usage()
}

// connected joins all clusters, puts something onto each, and returns when the hub is idle.
func (w *world) connected(ctx context.Context) error {
	if err := w.join(ctx, w.clusters); err != nil {
		return err
	}
	if err := w.deploy(ctx, kinds("kinds")); err != nil {
		return err
	}
	_, err := w.awaitIdle(ctx)
	return err
}

// idle measures the requests to the edges, other than watches, while nothing happens, and the hub's
// processor time meanwhile.
func (w *world) idle(ctx context.Context) error {
	if err := w.connected(ctx); err != nil {
		return err
	}
	before, err := w.sim.Counters(ctx)
	if err != nil {
		return err
	}
	used, err := w.rig.Hub.Usage()
	if err != nil {
		return err
	}
	started := time.Now()
	if err := sleep.For(ctx, w.options.idle); err != nil {
		return err
	}
	after, err := w.sim.Counters(ctx)
	if err != nil {
		return err
	}
	usedNow, err := w.rig.Hub.Usage()
	if err != nil {
		return err
	}
	passed, did := time.Since(started), after.Sub(before)
	w.progress("requests in %s: %v", passed.Round(time.Second), did.Requests)
	perEdge := func(n int64) float64 { return float64(n) / passed.Minutes() / float64(w.joined) }
	w.table.Add(figures.Figure{
		Name: "requests to an idle edge beyond watches", Unit: "/min", Samples: []float64{perEdge(did.Beyond())},
		Target: 1, Rule: "under 1 a minute and edge (Flux: 229)",
	})
	w.table.Add(figures.Figure{Name: "  watches opened again", Unit: "/min", Samples: []float64{perEdge(did.Requests["watch"])}})
	w.table.Add(figures.Figure{
		Name: "  processor time of the hub meanwhile", Unit: "% of a core",
		Samples: []float64{100 * (usedNow.CPU - used.CPU).Seconds() / passed.Seconds()},
	})
	return nil
}
