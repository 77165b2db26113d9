package status

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// BenchmarkStatus makes and writes the report of 10,000 clusters with two Kustomizations each.
func BenchmarkStatus(b *testing.B) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	at := metav1.NewTime(now.Add(-time.Minute))
	ready := []metav1.Condition{{Type: "Ready", Status: "True", Reason: "Succeeded"}, {Type: "Reachable", Status: "True", Reason: "Succeeded"}}
	f := Facts{Now: now}
	for i := range 10_000 {
		meta := metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: fmt.Sprintf("shop-%05d", i)}
		f.Clusters = append(f.Clusters, v1alpha1.Cluster{ObjectMeta: meta, Status: v1alpha1.ClusterStatus{Conditions: ready, LastSeen: &at}})
		a := v1alpha1.Assignment{ObjectMeta: meta}
		for _, name := range []string{"apps", "base"} {
			a.Spec.Entries = append(a.Spec.Entries, v1alpha1.AssignmentEntry{Name: name, Revision: "main@sha1:89abcdef0189abcdef0189abcdef0189abcdef01", Digest: "sha256:aa"})
			a.Status.Entries = append(a.Status.Entries, v1alpha1.AssignmentEntryStatus{
				Name: name, AppliedRevision: "main@sha1:89abcdef0189abcdef0189abcdef0189abcdef01", AppliedDigest: "sha256:aa", Ready: "True", VerifiedAt: &at,
				Drifts: []v1alpha1.DriftRecord{{Object: "ConfigMap/default/app", Change: v1alpha1.DriftChanged, At: at, Action: v1alpha1.DriftCorrected}},
			})
		}
		f.Assignments = append(f.Assignments, a)
	}
	streams, _, _, _ := iostreams.Test()
	for b.Loop() {
		Text(Summarize(f), View{Now: now, IO: streams})
	}
}
