package deleting

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

func assigned(namespace, name, entry string, objects int32) v1alpha1.Assignment {
	return v1alpha1.Assignment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.AssignmentSpec{Entries: []v1alpha1.AssignmentEntry{{Name: "other"}, {Name: entry}}},
		Status:     v1alpha1.AssignmentStatus{Entries: []v1alpha1.AssignmentEntryStatus{{Name: "other", Objects: v1alpha1.ObjectCounts{Applied: 99}}, {Name: entry, Objects: v1alpha1.ObjectCounts{Applied: objects}}}},
	}
}

func TestDeletionNamesClustersAndObjects(t *testing.T) {
	up := []metav1.Condition{{Type: v1alpha1.ReachableCondition, Status: metav1.ConditionTrue}}
	clusters := []v1alpha1.Cluster{
		{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "one"}, Status: v1alpha1.ClusterStatus{Conditions: up}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "two"}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: "three"}, Status: v1alpha1.ClusterStatus{Conditions: up}},
	}
	on := []v1alpha1.Assignment{assigned("apps", "one", "web", 3), assigned("apps", "two", "web", 0), assigned("edge", "three", "apps/web", 4), assigned("edge", "four", "web", 9)}
	ks := &v1alpha1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "web"}}
	no := false
	for name, tt := range map[string]struct {
		spec v1alpha1.KustomizationSpec
		on   []v1alpha1.Assignment
		want string
	}{
		"delete": {v1alpha1.KustomizationSpec{}, on, `kustomization web: 7 objects on 3 clusters, to be deleted:
  edge/three: 4 objects
  one: 3 objects
  two: 0 objects, does not answer
it stays until 1 cluster that does not answer is back, or removed`},
		"orphan": {v1alpha1.KustomizationSpec{Prune: &no}, on[:1], "kustomization web: 3 objects on 1 cluster, to stay and belong to nobody:\n  one: 3 objects"},
		"none":   {v1alpha1.KustomizationSpec{}, nil, "kustomization web has nothing on any cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			ks.Spec = tt.spec
			if diff := cmp.Diff(tt.want, strings.Join(kustomizationLines(ks, tt.on, clusters), "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDeletionOfASourceNamesItsUsers(t *testing.T) {
	source := &v1alpha1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "fleet"}}
	user := func(namespace, name, of string) v1alpha1.Kustomization {
		return v1alpha1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1alpha1.KustomizationSpec{SourceRef: v1alpha1.SourceReference{Name: "fleet", Namespace: of}}}
	}
	got := sourceLines(source, []v1alpha1.Kustomization{user("apps", "web", ""), user("edge", "api", "apps"), user("edge", "no", "")})
	if want := "source fleet is used by 2 kustomizations: edge/api, web; what they have applied stays as it is, and they get no further commit"; len(got) != 1 || got[0] != want {
		t.Errorf("%q", got)
	}
	if got := sourceLines(source, nil); got[0] != "no kustomization uses source fleet" {
		t.Errorf("%q", got)
	}
}
