package cluster

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/sharding/holder"
)

// indexed is a fake client that gets its indexes as a manager does.
type indexed struct{ *fake.ClientBuilder }

func (b indexed) IndexField(_ context.Context, of client.Object, field string, by client.IndexerFunc) error {
	b.WithIndex(of, field, by)
	return nil
}

// TestAnAgentLearnsThatTheHubReachesItsCluster: a Cluster that answers again wakes the one whose agent came meanwhile.
func TestAnAgentLearnsThatTheHubReachesItsCluster(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	named := func(name, uid string, agent bool) *v1alpha1.Cluster {
		c := cluster(func(c *v1alpha1.Cluster) { c.Name, c.Status.UID = name, uid })
		if agent {
			c.Spec.KubeConfig, c.Spec.Agent = nil, &v1alpha1.Agent{}
		}
		return c
	}
	pushed := named("pushed", "u1", false)
	with := indexed{fake.NewClientBuilder().WithScheme(scheme).WithObjects(pushed, named("pushed-too", "u1", false), named("agent", "u1", true), named("another", "u2", true), named("unknown", "", true))}
	if err := holder.IndexUIDs(t.Context(), with); err != nil {
		t.Fatal(err)
	}
	r := New(Options{Hub: hubapi.Hub{Client: with.Build()}})
	var woken []string
	for _, request := range r.requestsForOtherAgents(t.Context(), pushed) {
		woken = append(woken, request.Name)
	}
	if diff := cmp.Diff([]string{"agent"}, woken); diff != "" {
		t.Error(diff)
	}
	if got := r.requestsForOtherAgents(t.Context(), named("unknown", "", false)); len(got) > 0 {
		t.Errorf("of a Cluster that was never reached: %v", got)
	}
	ready := func(status metav1.ConditionStatus) *v1alpha1.Cluster {
		c := pushed.DeepCopy()
		c.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ReadyCondition, Status: status}}
		return c
	}
	away, back := ready(metav1.ConditionFalse), ready(metav1.ConditionTrue)
	if p := claimPredicate(); !p.Update(event.UpdateEvent{ObjectOld: away, ObjectNew: back}) || p.Update(event.UpdateEvent{ObjectOld: back, ObjectNew: away}) || p.Create(event.CreateEvent{Object: back}) {
		t.Error("other changes than those by which a claim is gained are passed")
	}
}
