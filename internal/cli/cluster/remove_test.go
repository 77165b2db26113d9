package cluster

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
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
