package hub

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	clientmetrics "k8s.io/client-go/tools/metrics"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/recovery"
	"github.com/skerry-dev/skerry/internal/render"
)

// Client-go counts the requests of every client by the address of the server. With a thousand clusters
// these would be most of all series, and addresses of clusters that are gone would stay; what was sent
// to clusters has a counter of its own.
func init() { clientmetrics.RequestResult = withoutHost{clientmetrics.RequestResult} }

// withoutHost counts results of requests without saying whose they are.
type withoutHost struct{ to clientmetrics.ResultMetric }

func (w withoutHost) Increment(ctx context.Context, code, method, _ string) {
	w.to.Increment(ctx, code, method, "")
}

// metrics are the hub's own, beside those of the manager (which has the durations of reconciles by
// kind). Labels are bounded by the number of Clusters.
type metrics struct {
	clusters   *reachability
	counters   map[engine.Counter]prometheus.Counter
	passes     *passes
	collectors []prometheus.Collector // all of them
}

func newMetrics(renders *render.Cache, objects client.Reader) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "skerry", Name: name, Help: help})
	}
	ofRenders := func(name, help string, value func(render.Stats) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "skerry", Name: name, Help: help},
			func() float64 { return float64(value(renders.Stats())) })
	}
	m := &metrics{
		passes:   newPasses(objects),
		clusters: &reachability{of: map[engine.Key]bool{}},
		counters: map[engine.Counter]prometheus.Counter{
			engine.Applied:        counter("applied_objects_total", "Objects applied to clusters."),
			engine.Pruned:         counter("pruned_objects_total", "Objects deleted from clusters because they are wanted no longer."),
			engine.DriftCorrected: counter("drift_corrections_total", "Objects put back that somebody had changed or deleted."),
			engine.Requests:       counter("cluster_requests_total", "Requests to clusters."),
		},
	}
	panics := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: "skerry", Name: "recovered_panics_total", Help: "Panics that were recovered; each is an error of the program, and the log has its stack.",
	}, func() float64 { return float64(recovery.Total()) })
	inputs := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: "skerry", Name: "input_panics_total", Help: "Panics of libraries on what a repository or a cluster contains; each is told as an error of that input.",
	}, func() float64 { return float64(recovery.InputTotal()) })
	m.collectors = []prometheus.Collector{
		panics, inputs,
		collector{objects},
		m.clusters,
		m.passes,
		ofRenders("renders_total", "Directories rendered with kustomize.", func(s render.Stats) uint64 { return s.Renders }),
		ofRenders("render_cache_hits_total", "Renders that were not necessary because the same input was rendered before.", func(s render.Stats) uint64 { return s.Hits }),
	}
	for _, c := range m.counters {
		m.collectors = append(m.collectors, c)
	}
	return m
}

// register adds the metrics to a registry; nil for none.
func (m *metrics) register(to prometheus.Registerer) error {
	if to == nil {
		return nil
	}
	for _, c := range m.collectors {
		if err := to.Register(c); err != nil {
			return fmt.Errorf("cannot register metrics: %w", err)
		}
	}
	return nil
}

func (m *metrics) count(_ engine.Key, what engine.Counter, n int) {
	if c, ok := m.counters[what]; ok {
		c.Add(float64(n))
	}
}

// reachability is the metric of which clusters answer. A series is made when it is asked for: a gauge for each Cluster of a
// fleet would take ten times as much memory.
type reachability struct {
	mu sync.Mutex
	of map[engine.Key]bool // guarded by mu
}

var clusterReachable = describe("cluster_reachable", "1 if the cluster answered when it was asked last, else 0.")

// Describe implements prometheus.Collector.
func (r *reachability) Describe(ch chan<- *prometheus.Desc) { ch <- clusterReachable }

// Collect implements prometheus.Collector.
func (r *reachability) Collect(ch chan<- prometheus.Metric) {
	r.mu.Lock()
	of := maps.Clone(r.of) // the receiver of the series may be slow
	r.mu.Unlock()
	for key, reachable := range of {
		value := 0.0
		if reachable {
			value = 1
		}
		ch <- prometheus.MustNewConstMetric(clusterReachable, prometheus.GaugeValue, value, key.Namespace, key.Name)
	}
}

func (m *metrics) reachable(key engine.Key, reachable, known bool) {
	m.clusters.mu.Lock()
	defer m.clusters.mu.Unlock()
	if !known {
		delete(m.clusters.of, key)
		return
	}
	m.clusters.of[key] = reachable
}
