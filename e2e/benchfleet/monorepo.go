package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/skerry-dev/skerry/e2e/bench/figures"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// monorepo is the source of all Kustomizations of its measures.
const monorepo = "monorepo"

// fromMonorepo brings so many small Kustomizations of one source to every cluster.
func (w *world) fromMonorepo(ctx context.Context, n int) ([]*app, error) {
	var apps []*app
	var manifests strings.Builder
	manifests.WriteString(gitRepository(monorepo, w.url))
	for i := range n {
		a := small(fmt.Sprintf("mono-%02d", i))
		apps = append(apps, a)
		manifests.WriteString(a.kustomization(monorepo))
	}
	if err := w.commit(apps...); err != nil {
		return nil, err
	}
	w.progress("deploying %d Kustomizations of one source", n)
	if err := w.rig.HubKube.Apply(ctx, manifests.String()); err != nil {
		return nil, err
	}
	return apps, w.awaitReady(ctx, apps...)
}

// one measures a commit that touches one of many Kustomizations of one source, on every cluster: until
// all say that they are ready at it, and what was written to the hub's API. A cluster that the commit
// alters is written to twice, the decision and the report; each Kustomization says the revision.
func (w *world) one(ctx context.Context) error {
	if err := w.join(ctx, w.options.grid); err != nil {
		return err
	}
	apps, err := w.fromMonorepo(ctx, w.options.grid)
	if err != nil {
		return err
	}
	got, err := w.commitToMonorepo(ctx, apps, func() (string, error) {
		err := w.commit(apps[0])
		return apps[0].commit, err
	})
	if err != nil {
		return err
	}
	name := fmt.Sprintf("a commit that touches 1 of %d Kustomizations on %d clusters", len(apps), w.joined)
	w.table.Add(figures.Figure{Name: name + ", until all are ready", Unit: "s", Samples: got.ready})
	w.table.Add(figures.Figure{Name: "  writes of Assignments (two a cluster, and what gathers)", Samples: got.sum(), Target: float64(4 * w.joined), Rule: "in proportion to 1"})
	w.table.Add(figures.Figure{Name: "  writes of statuses of Kustomizations", Samples: got.kustomizations})
	w.table.Add(figures.Figure{Name: "  all writes to the hub's API, but for leases", Samples: got.all})
	return w.remove(ctx, monorepo, apps)
}

// nothing measures a commit that changes nothing for ten Kustomizations on every cluster.
func (w *world) nothing(ctx context.Context) error {
	if err := w.connected(ctx); err != nil {
		return err
	}
	apps, err := w.fromMonorepo(ctx, perCluster)
	if err != nil {
		return err
	}
	got, err := w.commitToMonorepo(ctx, apps, func() (string, error) {
		return w.repo.Commit("main", gitserver.Change{Write: map[string]string{"README.md": time.Now().String()}})
	})
	if err != nil {
		return err
	}
	name := fmt.Sprintf("a commit that changes nothing for %d clusters × %d Kustomizations", w.joined, len(apps))
	w.table.Add(figures.Figure{Name: name, Unit: "s", Samples: got.ready, Target: 2, Rule: "2 s"})
	w.table.Add(figures.Figure{Name: "  writes of specs of Assignments", Samples: got.specs, Zero: true, Rule: "none"})
	w.table.Add(figures.Figure{Name: "  writes of their statuses (times of verifications, whatever is committed)", Samples: got.statuses})
	w.table.Add(figures.Figure{Name: "  all writes to the hub's API, but for leases", Samples: got.all})
	return w.remove(ctx, monorepo, apps)
}

// committed is what commits to the monorepo came to, a sample for each.
type committed struct{ ready, specs, statuses, kustomizations, all []float64 }

// sum is all writes of Assignments.
func (c committed) sum() []float64 {
	var out []float64
	for i := range c.specs {
		out = append(out, c.specs[i]+c.statuses[i])
	}
	return out
}

// commitToMonorepo commits as often as is measured. The writes are counted after the hub has become
// idle, so that no late one is missed.
func (w *world) commitToMonorepo(ctx context.Context, apps []*app, commit func() (string, error)) (committed, error) {
	var got committed
	for range w.repetitions {
		if _, err := w.awaitIdle(ctx); err != nil {
			return got, err
		}
		before, err := w.hubWrites(ctx)
		if err != nil {
			return got, err
		}
		revision, err := commit()
		if err != nil {
			return got, err
		}
		for _, a := range apps {
			a.commit = revision
		}
		started := time.Now()
		if err := w.annotate(ctx, rig.Ref{Kind: "gitrepositories.skerry.dev", Namespace: namespace, Name: monorepo}); err != nil {
			return got, err
		}
		if err := w.awaitReady(ctx, apps...); err != nil {
			return got, err
		}
		got.ready = append(got.ready, time.Since(started).Seconds())
		if _, err := w.awaitIdle(ctx); err != nil {
			return got, err
		}
		after, err := w.hubWrites(ctx)
		if err != nil {
			return got, err
		}
		all := 0.0
		for resource := range after {
			if after[resource] -= before[resource]; after[resource] > 0 {
				w.progress("written: %s %.0f", resource, after[resource])
				all += after[resource]
			}
		}
		got.specs, got.statuses = append(got.specs, after["assignments"]), append(got.statuses, after["assignments/status"])
		got.kustomizations = append(got.kustomizations, after["kustomizations/status"])
		got.all = append(got.all, all)
	}
	return got, nil
}

// hubWrites counts the writes that the hub's API server has answered, by "resource/subresource". Leases
// are renewed whatever happens, and are left out.
func (w *world) hubWrites(ctx context.Context) (map[string]float64, error) {
	config, err := clientcmd.BuildConfigFromFlags("", w.rig.HubKubeconfig)
	if err != nil {
		return nil, err
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(res.Body)
	if err != nil {
		return nil, fmt.Errorf("cannot read the metrics of the hub's API server: %w", err)
	}
	counts := map[string]float64{}
	for _, m := range families["apiserver_request_total"].GetMetric() {
		resource := label(m, "resource")
		if resource == "leases" || resource == "" || !slices.Contains([]string{"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"}, label(m, "verb")) {
			continue
		}
		if sub := label(m, "subresource"); sub != "" {
			resource += "/" + sub
		}
		counts[resource] += m.GetCounter().GetValue()
	}
	return counts, nil
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}
