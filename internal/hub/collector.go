package hub

import (
	"context"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/report"
)

// collectTimeout bounds one collection: a cache that is not filled yet must not hold up a scrape.
const collectTimeout = 2 * time.Second

// collector tells Prometheus the state of Kustomizations, GitRepositories and Clusters. It reads the
// manager's cache at each scrape, so that a series ends with its object, and nothing has to be kept in
// step. Labels are bounded by the number of objects: no series is per Kustomization and cluster.
type collector struct{ objects client.Reader }

var (
	objectLabels = []string{"namespace", "name"}

	kustomizationReady     = describe("kustomization_ready", "1 if the Kustomization is Ready on every cluster that is counted, else 0.")
	kustomizationSuspended = describe("kustomization_suspended", "1 if the Kustomization is suspended, else 0.")
	kustomizationClusters  = describe("kustomization_clusters", "Clusters of the Kustomization by state; each desired cluster is in one of ready, progressing, failed and unreachable.", "state")
	kustomizationRollout   = describe("kustomization_rollout_phase", "1 for the phase in which the rollout of the last change is.", "phase")
	kustomizationReadyTime = describe("kustomization_last_ready_timestamp_seconds", "When the newest revision became ready everywhere, in seconds since 1970.")
	kustomizationPending   = describe("kustomization_pending_revision_timestamp_seconds", "When the hub first saw the change that is not verified yet, in seconds since 1970; absent when the last one is.")
	sourceReady            = describe("gitrepository_ready", "1 if the GitRepository is Ready, else 0.")
	sourceArtifactTime     = describe("gitrepository_artifact_timestamp_seconds", "When the newest revision was fetched, in seconds since 1970.")
	clusterReady           = describe("cluster_ready", "1 if the Cluster is Ready to be worked on, else 0.")
	clusterKustomizations  = describe("cluster_kustomizations", "Kustomizations assigned to the Cluster by state; each is in one of ready, progressing, failed, suspended and unreachable.", "state")
	clusterVerifiedTime    = describe("cluster_verified_timestamp_seconds", "When the objects of the Kustomization that was verified longest ago were last known to stand as wanted on the cluster, in seconds since 1970.")
	clusterSeenTime        = describe("cluster_last_seen_timestamp_seconds", "When the cluster last answered, in seconds since 1970, to within a few minutes while it is reachable.")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("skerry_"+name, help, append(append([]string{}, objectLabels...), labels...), nil)
}

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		kustomizationReady, kustomizationSuspended, kustomizationClusters, kustomizationRollout, kustomizationReadyTime,
		kustomizationPending, sourceReady, sourceArtifactTime, clusterReady, clusterSeenTime, clusterKustomizations, clusterVerifiedTime,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. A list that fails leaves its series out of this scrape:
// Prometheus marks them stale, and an alert on their absence fires, which zeros would not do.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	gauge := func(d *prometheus.Desc, o metav1.Object, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, append([]string{o.GetNamespace(), o.GetName()}, labels...)...)
	}
	kustomizations := &v1alpha1.KustomizationList{}
	if c.objects.List(ctx, kustomizations, client.UnsafeDisableDeepCopy) == nil {
		for i := range kustomizations.Items {
			collectKustomization(&kustomizations.Items[i], gauge)
		}
	}
	sources := &v1alpha1.GitRepositoryList{}
	if c.objects.List(ctx, sources, client.UnsafeDisableDeepCopy) == nil {
		for i := range sources.Items {
			source := &sources.Items[i]
			gauge(sourceReady, source, ready(source.Status.Conditions))
			if a := source.Status.Artifact; a != nil {
				gauge(sourceArtifactTime, source, float64(a.LastUpdateTime.Unix()))
			}
		}
	}
	clusters := &v1alpha1.ClusterList{}
	if c.objects.List(ctx, clusters, client.UnsafeDisableDeepCopy) == nil {
		assigned := map[client.ObjectKey]*v1alpha1.Assignment{}
		assignments := &v1alpha1.AssignmentList{}
		if c.objects.List(ctx, assignments, client.UnsafeDisableDeepCopy) == nil {
			for i := range assignments.Items {
				assigned[client.ObjectKeyFromObject(&assignments.Items[i])] = &assignments.Items[i]
			}
		}
		for i := range clusters.Items {
			cluster := &clusters.Items[i]
			if a := assigned[client.ObjectKeyFromObject(cluster)]; a != nil {
				collectAssignment(cluster, a, gauge)
			}
			gauge(clusterReady, cluster, ready(cluster.Status.Conditions))
			if seen := cluster.Status.LastSeen; seen != nil {
				gauge(clusterSeenTime, cluster, float64(seen.Unix()))
			}
		}
	}
}

func collectKustomization(ks *v1alpha1.Kustomization, gauge func(*prometheus.Desc, metav1.Object, float64, ...string)) {
	gauge(kustomizationReady, ks, ready(ks.Status.Conditions))
	gauge(kustomizationSuspended, ks, number(ks.Spec.Suspend))
	n := ks.Status.Clusters
	gauge(kustomizationClusters, ks, float64(n.Desired), "desired")
	gauge(kustomizationClusters, ks, float64(n.Updated), "updated")
	gauge(kustomizationClusters, ks, float64(n.Ready), "ready")
	gauge(kustomizationClusters, ks, float64(n.Progressing), "progressing")
	gauge(kustomizationClusters, ks, float64(n.Failed), "failed")
	gauge(kustomizationClusters, ks, float64(n.Unreachable), "unreachable")
	if r := ks.Status.Rollout; r != nil && r.Phase != "" {
		gauge(kustomizationRollout, ks, 1, strings.ToLower(string(r.Phase)))
		if r.StartedAt != nil && (r.Verified == nil || r.Verified.ID != r.ID) {
			gauge(kustomizationPending, ks, float64(r.StartedAt.Unix()))
		}
	}
	if len(ks.Status.History) > 0 {
		gauge(kustomizationReadyTime, ks, float64(ks.Status.History[0].ReadyAt.Unix()))
	}
}

// collectAssignment counts what is assigned to a cluster. What was reported before it became unreachable
// is not shown as ready.
func collectAssignment(cluster *v1alpha1.Cluster, a *v1alpha1.Assignment, gauge func(*prometheus.Desc, metav1.Object, float64, ...string)) {
	counts := map[string]int{"ready": 0, "progressing": 0, "failed": 0, "suspended": 0, "unreachable": 0}
	reported := make(map[string]*v1alpha1.AssignmentEntryStatus, len(a.Status.Entries))
	for i := range a.Status.Entries {
		reported[a.Status.Entries[i].Name] = &a.Status.Entries[i]
	}
	can := report.AvailabilityOf(cluster)
	var oldest *metav1.Time
	for i := range a.Spec.Entries {
		e := &a.Spec.Entries[i]
		s := reported[e.Name]
		counts[entryState(can, e, s)]++
		if s != nil && s.VerifiedAt != nil && (oldest == nil || s.VerifiedAt.Before(oldest)) {
			oldest = s.VerifiedAt
		}
	}
	for state, n := range counts {
		gauge(clusterKustomizations, cluster, float64(n), state)
	}
	if oldest != nil {
		gauge(clusterVerifiedTime, cluster, float64(oldest.Unix()))
	}
}

func entryState(can report.Availability, e *v1alpha1.AssignmentEntry, s *v1alpha1.AssignmentEntryStatus) string {
	switch {
	case can.Unreachable:
		return "unreachable"
	case can.Suspended || e.Suspend:
		return "suspended"
	case s == nil || e.Remove && !s.Removed && s.Ready != metav1.ConditionFalse:
		return "progressing"
	}
	_, digest := s.Attempted()
	switch {
	case digest != e.Digest:
		return "progressing"
	case s.Ready == metav1.ConditionFalse:
		return "failed"
	case s.Ready == metav1.ConditionTrue && s.AppliedDigest == e.Digest:
		return "ready"
	}
	return "progressing"
}

// ready is 1 for True. Unknown is 0: what is not known to be right is not shown as right.
func ready(conditions []metav1.Condition) float64 {
	return number(meta.IsStatusConditionTrue(conditions, v1alpha1.ReadyCondition))
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
