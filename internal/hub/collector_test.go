package hub

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"context"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

func fleetOfOne() []client.Object {
	at := metav1.NewTime(time.Unix(1000, 0))
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "fleet", Name: name} }
	is := func(s metav1.ConditionStatus) []metav1.Condition {
		return []metav1.Condition{{Type: v1alpha1.ReadyCondition, Status: s}}
	}
	return []client.Object{
		&v1alpha1.Kustomization{ObjectMeta: meta("shop"), Status: v1alpha1.KustomizationStatus{
			Conditions: is(metav1.ConditionUnknown),
			Clusters:   v1alpha1.ClusterCounts{Desired: 3, Ready: 1, Failed: 2, Updated: 3},
			Rollout:    &v1alpha1.RolloutStatus{Phase: v1alpha1.RolloutHalted},
			History:    []v1alpha1.HistoryEntry{{Revision: "main@sha1:1", ReadyAt: at}},
		}},
		&v1alpha1.GitRepository{ObjectMeta: meta("config"), Status: v1alpha1.GitRepositoryStatus{
			Conditions: is(metav1.ConditionTrue), Artifact: &v1alpha1.Artifact{LastUpdateTime: at},
		}},
		&v1alpha1.Cluster{ObjectMeta: meta("shop-1"), Status: v1alpha1.ClusterStatus{Conditions: is(metav1.ConditionFalse), LastSeen: &at}},
	}
}

func fakeObjects(t *testing.T, funcs interceptor.Funcs, objects ...client.Object) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithInterceptorFuncs(funcs).Build()
}

// TestCollectorShowsUnknownAsNotReady: only what is known to be ready counts as ready.
func TestCollectorShowsUnknownAsNotReady(t *testing.T) {
	want := `
# HELP skerry_cluster_ready 1 if the Cluster is Ready to be worked on, else 0.
# TYPE skerry_cluster_ready gauge
skerry_cluster_ready{name="shop-1",namespace="fleet"} 0
# HELP skerry_gitrepository_ready 1 if the GitRepository is Ready, else 0.
# TYPE skerry_gitrepository_ready gauge
skerry_gitrepository_ready{name="config",namespace="fleet"} 1
# HELP skerry_kustomization_clusters Clusters of the Kustomization by state; each desired cluster is in one of ready, progressing, failed and unreachable.
# TYPE skerry_kustomization_clusters gauge
skerry_kustomization_clusters{name="shop",namespace="fleet",state="desired"} 3
skerry_kustomization_clusters{name="shop",namespace="fleet",state="failed"} 2
skerry_kustomization_clusters{name="shop",namespace="fleet",state="progressing"} 0
skerry_kustomization_clusters{name="shop",namespace="fleet",state="ready"} 1
skerry_kustomization_clusters{name="shop",namespace="fleet",state="unreachable"} 0
skerry_kustomization_clusters{name="shop",namespace="fleet",state="updated"} 3
# HELP skerry_kustomization_last_ready_timestamp_seconds When the newest revision became ready everywhere, in seconds since 1970.
# TYPE skerry_kustomization_last_ready_timestamp_seconds gauge
skerry_kustomization_last_ready_timestamp_seconds{name="shop",namespace="fleet"} 1000
# HELP skerry_kustomization_ready 1 if the Kustomization is Ready on every cluster that is counted, else 0.
# TYPE skerry_kustomization_ready gauge
skerry_kustomization_ready{name="shop",namespace="fleet"} 0
# HELP skerry_kustomization_rollout_phase 1 for the phase in which the rollout of the last change is.
# TYPE skerry_kustomization_rollout_phase gauge
skerry_kustomization_rollout_phase{name="shop",namespace="fleet",phase="halted"} 1
`
	err := testutil.CollectAndCompare(collector{fakeObjects(t, interceptor.Funcs{}, fleetOfOne()...)}, strings.NewReader(want),
		"skerry_cluster_ready", "skerry_gitrepository_ready", "skerry_kustomization_clusters", "skerry_kustomization_last_ready_timestamp_seconds",
		"skerry_kustomization_ready", "skerry_kustomization_rollout_phase")
	if err != nil {
		t.Error(err)
	}
}

// TestCollectorLeavesOutWhatCannotBeListed: a list that fails is no list of nothing, and no zeros.
func TestCollectorLeavesOutWhatCannotBeListed(t *testing.T) {
	objects := fakeObjects(t, interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
		if _, ok := list.(*v1alpha1.ClusterList); ok {
			return errors.New("no")
		}
		return c.List(ctx, list, opts...)
	}}, fleetOfOne()...)
	if n := testutil.CollectAndCount(collector{objects}, "skerry_cluster_ready"); n != 0 {
		t.Errorf("%d series of clusters that could not be listed", n)
	}
	if n := testutil.CollectAndCount(collector{objects}, "skerry_kustomization_ready"); n != 1 {
		t.Errorf("%d series of Kustomizations, want 1", n)
	}
}

// TestCollectorCountsWhatIsAssignedToACluster: each Kustomization is in one state, and nothing of a cluster
// that does not answer is ready.
func TestCollectorCountsWhatIsAssignedToACluster(t *testing.T) {
	meta := metav1.ObjectMeta{Namespace: "fleet", Name: "shop-1"}
	entry := func(name, digest string) v1alpha1.AssignmentEntry {
		return v1alpha1.AssignmentEntry{Name: name, Digest: digest}
	}
	status := func(name, digest string, is metav1.ConditionStatus, verified int64) v1alpha1.AssignmentEntryStatus {
		at := metav1.NewTime(time.Unix(verified, 0))
		return v1alpha1.AssignmentEntryStatus{Name: name, AppliedDigest: digest, Ready: is, VerifiedAt: &at}
	}
	paused := entry("paused", "1")
	paused.Suspend = true
	a := &v1alpha1.Assignment{ObjectMeta: meta,
		Spec: v1alpha1.AssignmentSpec{Entries: []v1alpha1.AssignmentEntry{
			entry("ready", "1"), entry("failed", "1"), entry("new", "2"), entry("not-taken-up", "1"), entry("on-its-way", "1"), paused,
		}},
		Status: v1alpha1.AssignmentStatus{Entries: []v1alpha1.AssignmentEntryStatus{
			status("ready", "1", "True", 1000), status("failed", "1", "False", 900), status("new", "1", "True", 1100), status("on-its-way", "1", "Unknown", 1000),
		}},
	}
	want := func(ready, progressing, failed, suspended, unreachable int) string {
		var b strings.Builder
		b.WriteString("# HELP skerry_cluster_kustomizations Kustomizations assigned to the Cluster by state; each is in one of ready, progressing, failed, suspended and unreachable.\n# TYPE skerry_cluster_kustomizations gauge\n")
		for state, n := range map[string]int{"ready": ready, "progressing": progressing, "failed": failed, "suspended": suspended, "unreachable": unreachable} {
			fmt.Fprintf(&b, "skerry_cluster_kustomizations{name=\"shop-1\",namespace=\"fleet\",state=%q} %d\n", state, n)
		}
		b.WriteString("# HELP skerry_cluster_verified_timestamp_seconds When the objects of the Kustomization that was verified longest ago were last known to stand as wanted on the cluster, in seconds since 1970.\n# TYPE skerry_cluster_verified_timestamp_seconds gauge\nskerry_cluster_verified_timestamp_seconds{name=\"shop-1\",namespace=\"fleet\"} 900\n")
		return b.String()
	}
	for name, tt := range map[string]struct {
		conditions []metav1.Condition
		want       string
	}{
		"reachable":   {nil, want(1, 3, 1, 1, 0)},
		"unreachable": {[]metav1.Condition{{Type: v1alpha1.ReachableCondition, Status: "False"}}, want(0, 0, 0, 0, 6)},
	} {
		objects := fakeObjects(t, interceptor.Funcs{}, a, &v1alpha1.Cluster{ObjectMeta: meta, Status: v1alpha1.ClusterStatus{Conditions: tt.conditions}})
		if err := testutil.CollectAndCompare(collector{objects}, strings.NewReader(tt.want), "skerry_cluster_kustomizations", "skerry_cluster_verified_timestamp_seconds"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCollectorTellsSinceWhenAChangeIsPending(t *testing.T) {
	at := metav1.NewTime(time.Unix(1000, 0))
	ks := &v1alpha1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "shop"}}
	ks.Status.Rollout = &v1alpha1.RolloutStatus{RolloutChange: v1alpha1.RolloutChange{ID: "b"}, Phase: v1alpha1.RolloutHalted, StartedAt: &at, Verified: &v1alpha1.RolloutChange{ID: "a"}}
	const name = "skerry_kustomization_pending_revision_timestamp_seconds"
	if n := testutil.CollectAndCount(collector{fakeObjects(t, interceptor.Funcs{}, ks)}, name); n != 1 {
		t.Errorf("%d series of a change that is halted", n)
	}
	ks.ResourceVersion = ""
	ks.Status.Rollout.Verified.ID = "b"
	if n := testutil.CollectAndCount(collector{fakeObjects(t, interceptor.Funcs{}, ks)}, name); n != 0 {
		t.Errorf("%d series of a change that is verified", n)
	}
}
