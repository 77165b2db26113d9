package hub

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/engine/machine"
)

// TestSeriesOfPassesEndWithTheirObjects: a Kustomization or Cluster that is gone has no series, and a list
// that fails ends none.
func TestSeriesOfPassesEndWithTheirObjects(t *testing.T) {
	failing := false
	p := newPasses(fakeObjects(t, interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
		if failing {
			return errors.New("not yet")
		}
		return c.List(ctx, list, o...)
	}}, fleetOfOne()...))
	shop, edge := engine.Key{Namespace: "fleet", Name: "shop"}, engine.Key{Namespace: "fleet", Name: "shop-1"}
	gone := engine.Key{Namespace: "fleet", Name: "gone"}
	report := func() {
		p.ended(engine.PassResult{Kustomization: shop, Cluster: edge, Duration: 20 * time.Millisecond, Drift: 2})
		p.ended(engine.PassResult{Kustomization: gone, Cluster: gone, Drift: 1})
		p.breakerChanged(edge, machine.Open)
		p.breakerChanged(gone, machine.Closed)
	}
	report()
	failing = true
	if n := testutil.CollectAndCount(p); n != 8 {
		t.Errorf("%d series while the objects cannot be listed, want all 8", n)
	}
	failing = false
	want := `
# HELP skerry_cluster_breaker_state The circuit breaker of the cluster: 0 closed (it answers), 1 half open (it is tried), 2 open (it is left alone until the next try).
# TYPE skerry_cluster_breaker_state gauge
skerry_cluster_breaker_state{name="shop-1",namespace="fleet"} 2
# HELP skerry_cluster_drift_corrections_total Objects put back on the cluster that somebody had changed or deleted.
# TYPE skerry_cluster_drift_corrections_total counter
skerry_cluster_drift_corrections_total{name="shop-1",namespace="fleet"} 2
# HELP skerry_kustomization_drift_corrections_total Objects of the Kustomization put back that somebody had changed or deleted, on all clusters.
# TYPE skerry_kustomization_drift_corrections_total counter
skerry_kustomization_drift_corrections_total{name="shop",namespace="fleet"} 2
`
	if err := testutil.CollectAndCompare(p, strings.NewReader(want), "skerry_cluster_breaker_state", "skerry_cluster_drift_corrections_total", "skerry_kustomization_drift_corrections_total"); err != nil {
		t.Error(err)
	}
	if n := testutil.CollectAndCount(p); n != 4 {
		t.Errorf("%d series, want 4", n)
	}
}
