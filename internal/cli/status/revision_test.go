package status

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// TestClusterIsAtTheLastRevisionThatRendersWhatItHas: the entry is labelled with the first one.
func TestClusterIsAtTheLastRevisionThatRendersWhatItHas(t *testing.T) {
	const same, other = "sha256:aaaaaaaaaaaaaaaa", "sha256:bbbbbbbbbbbbbbbb"
	ks := v1alpha1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "apps"}}
	ks.Status.Rendered = []v1alpha1.RenderedRevision{{Revision: "main@sha1:9", Digests: []string{v1alpha1.RenderedDigest(same)}}}
	f := Facts{Kustomizations: []v1alpha1.Kustomization{ks}}
	for name, applied := range map[string]string{"edge-1": same, "edge-2": other} {
		meta := metav1.ObjectMeta{Namespace: "fleet", Name: name}
		f.Clusters = append(f.Clusters, v1alpha1.Cluster{ObjectMeta: meta})
		f.Assignments = append(f.Assignments, v1alpha1.Assignment{
			ObjectMeta: meta,
			Spec:       v1alpha1.AssignmentSpec{Entries: []v1alpha1.AssignmentEntry{{Name: "apps", Revision: "main@sha1:5", Digest: same}}},
			Status: v1alpha1.AssignmentStatus{Entries: []v1alpha1.AssignmentEntryStatus{
				{Name: "apps", AppliedRevision: "main@sha1:5", AppliedDigest: applied, Ready: metav1.ConditionTrue},
			}},
		})
	}
	want := map[string]string{"edge-1": "main@sha1:9", "edge-2": "main@sha1:5"}
	for _, c := range Summarize(f).Clusters {
		if run := c.Runs[0]; run.Revision != want[c.Name] || run.Wanted != "main@sha1:9" {
			t.Errorf("%s is at %s and wants %s, want %s", c.Name, run.Revision, run.Wanted, want[c.Name])
		}
	}
}
