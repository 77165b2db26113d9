package hub

import (
	"context"
	"testing"

	clientmetrics "k8s.io/client-go/tools/metrics"
)

// hosts remembers what it is told of hosts.
type hosts []string

func (h *hosts) Increment(_ context.Context, _, _, host string) { *h = append(*h, host) }

// TestNoSeriesPerCluster: a thousand clusters are not a thousand series of each result.
func TestNoSeriesPerCluster(t *testing.T) {
	if _, ok := clientmetrics.RequestResult.(withoutHost); !ok {
		t.Errorf("results of requests are counted by %T", clientmetrics.RequestResult)
	}
	var seen hosts
	withoutHost{&seen}.Increment(t.Context(), "200", "GET", "edge.example.com:6443")
	if len(seen) != 1 || seen[0] != "" {
		t.Errorf("counted for the hosts %q, want one without a name", seen)
	}
}
