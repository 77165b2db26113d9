package holder

import (
	"context"
	"strconv"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// builder indexes what a fake client reads.
type builder struct{ *fake.ClientBuilder }

func (b builder) IndexField(_ context.Context, of client.Object, field string, by client.IndexerFunc) error {
	b.WithIndex(of, field, by)
	return nil
}

// TestClaimIsOfTheSameUID: the index finds Clusters with other uids as well.
func TestClaimIsOfTheSameUID(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	const uid = "8ae2ed8e-0c4c-4f0e-a6a2-4f6d5a0f6a8e"
	similar := ""
	for i := 0; similar == ""; i++ {
		if other := strconv.Itoa(i); uidGroup(other) == uidGroup(uid) {
			similar = other
		}
	}
	cluster := func(name, uid string) *v1alpha1.Cluster {
		c := &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: name, UID: types.UID(name)}}
		c.Spec.Agent = &v1alpha1.Agent{}
		c.Status.UID = uid
		return c
	}
	with := builder{fake.NewClientBuilder().WithScheme(scheme).WithObjects(cluster("own", ""), cluster("other", similar))}
	if err := IndexUIDs(t.Context(), with); err != nil {
		t.Fatal(err)
	}
	hub := with.Build()
	claimed := BetterClaim(t.Context(), hub, time.Now)
	own := types.NamespacedName{Namespace: "fleet", Name: "own"}
	if by, yes := claimed(own, uid); yes {
		t.Errorf("%s has the uid %s, and a claim to %s", by.Name, similar, uid)
	}
	if by, yes := claimed(own, similar); !yes || by.Name != "other" {
		t.Errorf("the Cluster with the uid was not found: %v", by)
	}
}
