package hub

import (
	"errors"
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
