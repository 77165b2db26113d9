package hub

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// TestWhenAHubThatHasStartedAnswersAgents: when their Clusters are handed over, and soon also where that does not get on.
func TestWhenAHubThatHasStartedAnswersAgents(t *testing.T) {
	const ms = time.Millisecond
	type look struct {
		at   time.Duration
		done int
	}
	for name, tt := range map[string]struct {
		expected int
		looks    []look // none but the last is the end
	}{
		"no agents":                          {0, []look{{0, 0}}},
		"all are handed over":                {3, []look{{0, 0}, {50 * ms, 1}, {100 * ms, 3}}},
		"slowly":                             {3, []look{{0, 0}, {3000 * ms, 1}, {3900 * ms, 2}, {4800 * ms, 3}}},
		"one cannot be handed over":          {3, []look{{0, 0}, {50 * ms, 2}, {1000 * ms, 2}, {1050 * ms, 2}}},
		"no controller gets on":              {3, []look{{0, 0}, {handoverTimeout - 1, 0}, {handoverTimeout, 0}}},
		"very many":                          {10_000, []look{{0, 0}, {handoverTimeout - 1, 4000}, {handoverTimeout, 4001}}},
		"others that came from other shards": {3, []look{{0, 0}, {50 * ms, 4}}},
	} {
		began := time.Unix(1000, 0)
		h := handover{expected: tt.expected, started: began}
		for i, l := range tt.looks {
			if got, want := h.isOver(l.done, began.Add(l.at)), i == len(tt.looks)-1; got != want {
				t.Errorf("%s: after %s, with %d of %d: %v", name, l.at, l.done, tt.expected, got)
			}
		}
	}
}

func TestAgentsThatAHubExpects(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	joined := &v1alpha1.Agent{PublicKey: "k"}
	cluster := func(name string, agent *v1alpha1.Agent, shard string) *v1alpha1.Cluster {
		return &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: name}, Spec: v1alpha1.ClusterSpec{Agent: agent}, Status: v1alpha1.ClusterStatus{Shard: shard}}
	}
	removed := cluster("removed", joined, "")
	removed.Finalizers, removed.DeletionTimestamp = []string{v1alpha1.Finalizer}, &metav1.Time{Time: time.Unix(1000, 0)}
	reader := fake.NewClientBuilder().WithScheme(scheme).WithObjects([]client.Object{
		removed, cluster("pushed", nil, ""), cluster("invited", &v1alpha1.Agent{}, ""), cluster("a", joined, ""), cluster("b", joined, ""),
		cluster("c", joined, "1/2"), cluster("d", joined, "2/2"), cluster("e", joined, "2/2"), cluster("f", joined, "2/2"),
	}...).Build()
	for shard, want := range map[string]int{"": 2, "1/2": 1, "2/2": 3, "1/3": 0} {
		if got, err := joinedAgents(t.Context(), reader, shard); got != want || err != nil {
			t.Errorf("shard %q expects %d agents, want %d (%v)", shard, got, want, err)
		}
	}
}
