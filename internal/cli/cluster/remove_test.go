package cluster

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

func TestSummaryOfARemoval(t *testing.T) {
	c := &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Name: "shop-1"}}
	c.Status.Conditions = []metav1.Condition{{Type: "Reachable", Status: "True"}}
	a := &v1alpha1.Assignment{
		Spec: v1alpha1.AssignmentSpec{Entries: []v1alpha1.AssignmentEntry{{Name: "apps"}, {Name: "base"}}},
		Status: v1alpha1.AssignmentStatus{Entries: []v1alpha1.AssignmentEntryStatus{
			{Name: "apps", Objects: v1alpha1.ObjectCounts{Applied: 3}}, {Name: "base", Objects: v1alpha1.ObjectCounts{Applied: 4}},
		}},
	}
	for policy, want := range map[v1alpha1.ClusterDeletionPolicy]string{
		v1alpha1.ClusterDeletionDelete:  "cluster shop-1: delete: 7 objects of 2 kustomizations are deleted there, then the hub's inventories, claim and account",
		v1alpha1.ClusterDeletionOrphan:  "cluster shop-1: orphan: 7 objects of 2 kustomizations stay there and belong to nobody; the hub's inventories, claim and account are deleted",
		v1alpha1.ClusterDeletionAbandon: "cluster shop-1: abandon: 7 objects of 2 kustomizations stay there, and so do the hub's inventories, claim and account; nothing is sent to it",
	} {
		if diff := cmp.Diff(want, strings.Join(summary(c, a, policy), "\n")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", policy, diff)
		}
	}
	c.Status.Conditions = nil
	if got := summary(c, a, v1alpha1.ClusterDeletionDelete); len(got) != 2 || got[1] != "it does not answer: it is waited for for five minutes, and then forgotten" {
		t.Errorf("unreachable: %q", got)
	}
	if got := summary(c, a, v1alpha1.ClusterDeletionAbandon); len(got) != 1 {
		t.Errorf("unreachable and forgotten: %q", got)
	}
}

// TestNothingIsDeletedOnAClusterUnasked: without a terminal, only --yes lets objects be deleted; what would go is told.
func TestNothingIsDeletedOnAClusterUnasked(t *testing.T) {
	scheme, err := factory.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		policy  string
		own     v1alpha1.ClusterDeletionPolicy
		yes     bool
		refused bool
	}{
		"by the flag":      {policy: "delete", refused: true},
		"by the Cluster":   {own: v1alpha1.ClusterDeletionDelete, refused: true},
		"with --yes":       {policy: "delete", yes: true},
		"what stays":       {policy: "orphan", own: v1alpha1.ClusterDeletionDelete},
		"what is left be":  {policy: "abandon"},
		"without anything": {},
	} {
		t.Run(name, func(t *testing.T) {
			c := &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "shop", UID: "1"}, Spec: v1alpha1.ClusterSpec{DeletionPolicy: tt.own}}
			made := fake.NewClientBuilder().WithScheme(scheme).WithObjects(c).Build()
			streams, _, _, stderr := iostreams.Test()
			o := &RemoveOptions{Name: "shop", DeletionPolicy: tt.policy, Yes: tt.yes, Factory: &factory.Factory{
				IO: streams, Now: time.Now, Flags: &factory.Flags{Namespace: "fleet"}, Hub: func() (*factory.Hub, error) { return &factory.Hub{WithWatch: made}, nil },
			}}
			err := runRemove(t.Context(), o)
			if refused := err != nil && strings.Contains(err.Error(), "--yes is needed"); refused != tt.refused || err != nil && !refused {
				t.Errorf("error is %v", err)
			}
			if !strings.Contains(stderr.String(), "cluster shop: ") {
				t.Errorf("what becomes of it is not told: %s", stderr)
			}
			live := &v1alpha1.Cluster{}
			err = made.Get(t.Context(), client.ObjectKeyFromObject(c), live)
			if there := err == nil && live.Spec.DeletionPolicy == tt.own; there != tt.refused {
				t.Errorf("it is there as it was: %v, %v", there, err)
			}
		})
	}
}
