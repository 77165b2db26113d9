package hub

import (
	"context"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/engine/machine"
)

// passes are the metrics of the engines. A series ends with its Kustomization or Cluster: at each scrape
// those are left out of which the manager's cache has no object. Labels are bounded by the number of
// objects: no series is per Kustomization and cluster.
type passes struct {
	objects client.Reader

	duration           *prometheus.HistogramVec
	kustomizationDrift *prometheus.CounterVec
	clusterDrift       *prometheus.CounterVec
	breaker            *prometheus.GaugeVec

	mu             sync.Mutex          // guards what follows
	kustomizations map[engine.Key]bool // that have series
	clusters       map[engine.Key]bool
}

func newPasses(objects client.Reader) *passes {
	return &passes{
		objects: objects, kustomizations: map[engine.Key]bool{}, clusters: map[engine.Key]bool{},
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "skerry", Name: "pass_duration_seconds", Help: "How long a pass over the Kustomization took on one cluster, verifications included.",
			Buckets: []float64{0.01, 0.05, 0.1, 0.5, 1, 5, 30, 120},
		}, objectLabels),
		kustomizationDrift: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "skerry", Name: "kustomization_drift_corrections_total", Help: "Objects of the Kustomization put back that somebody had changed or deleted, on all clusters.",
		}, objectLabels),
		clusterDrift: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "skerry", Name: "cluster_drift_corrections_total", Help: "Objects put back on the cluster that somebody had changed or deleted.",
		}, objectLabels),
		breaker: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "skerry", Name: "cluster_breaker_state", Help: "The circuit breaker of the cluster: 0 closed (it answers), 1 half open (it is tried), 2 open (it is left alone until the next try).",
		}, objectLabels),
	}
}

// ended takes the end of a pass.
func (p *passes) ended(r engine.PassResult) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kustomizations[r.Kustomization], p.clusters[r.Cluster] = true, true
	p.duration.WithLabelValues(r.Kustomization.Namespace, r.Kustomization.Name).Observe(r.Duration.Seconds())
	p.kustomizationDrift.WithLabelValues(r.Kustomization.Namespace, r.Kustomization.Name).Add(float64(r.Drift))
	p.clusterDrift.WithLabelValues(r.Cluster.Namespace, r.Cluster.Name).Add(float64(r.Drift))
}

// breakerChanged takes a state of the breaker of a cluster.
func (p *passes) breakerChanged(key engine.Key, s engine.BreakerState) {
	value := map[engine.BreakerState]float64{machine.Closed: 0, machine.HalfOpen: 1, machine.Open: 2}[s]
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clusters[key] = true
	p.breaker.WithLabelValues(key.Namespace, key.Name).Set(value)
}

func (p *passes) vectors() []prometheus.Collector {
	return []prometheus.Collector{p.duration, p.kustomizationDrift, p.clusterDrift, p.breaker}
}

// Describe implements prometheus.Collector.
func (p *passes) Describe(ch chan<- *prometheus.Desc) {
	for _, v := range p.vectors() {
		v.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (p *passes) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	p.forget(ctx)
	for _, v := range p.vectors() {
		v.Collect(ch)
	}
}

// forget ends the series of objects that are gone. After a list that fails all stay.
func (p *passes) forget(ctx context.Context) {
	kustomizations, clusters := &v1alpha1.KustomizationList{}, &v1alpha1.ClusterList{}
	if p.objects.List(ctx, kustomizations, client.UnsafeDisableDeepCopy) != nil || p.objects.List(ctx, clusters, client.UnsafeDisableDeepCopy) != nil {
		return
	}
	there := map[engine.Key]bool{}
	for i := range kustomizations.Items {
		there[client.ObjectKeyFromObject(&kustomizations.Items[i])] = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for key := range p.kustomizations {
		if !there[key] {
			p.duration.DeleteLabelValues(key.Namespace, key.Name)
			p.kustomizationDrift.DeleteLabelValues(key.Namespace, key.Name)
			delete(p.kustomizations, key)
		}
	}
	clear(there)
	for i := range clusters.Items {
		there[client.ObjectKeyFromObject(&clusters.Items[i])] = true
	}
	for key := range p.clusters {
		if !there[key] {
			p.clusterDrift.DeleteLabelValues(key.Namespace, key.Name)
			p.breaker.DeleteLabelValues(key.Namespace, key.Name)
			delete(p.clusters, key)
		}
	}
}
