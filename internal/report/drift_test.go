package report

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// TestDriftThatIsLeftIsACondition: it names the first object, counts the others, and is gone with the last.
func TestDriftThatIsLeftIsACondition(t *testing.T) {
	at := func(cluster string, drifted int32, records ...v1alpha1.DriftRecord) TargetFacts {
		return TargetFacts{Cluster: cluster, Reported: &v1alpha1.AssignmentEntryStatus{Drifted: drifted, Drifts: records}}
	}
	changed := v1alpha1.DriftRecord{
		Object: "ConfigMap/shop/web", Change: v1alpha1.DriftChanged, Paths: []string{".data.a", ".data.b"}, MorePaths: 3, Manager: "kubectl-edit", Action: v1alpha1.DriftReported,
	}
	deleted := v1alpha1.DriftRecord{Object: "ConfigMap/shop/gone", Change: v1alpha1.DriftDeleted, Action: v1alpha1.DriftReported}
	corrected := v1alpha1.DriftRecord{Object: "ConfigMap/shop/web", Change: v1alpha1.DriftChanged, Action: v1alpha1.DriftCorrected}
	for name, tc := range map[string]struct {
		mode    v1alpha1.DriftMode
		targets []TargetFacts
		want    string
	}{
		"nothing differs":        {v1alpha1.DriftReport, []TargetFacts{at("a", 0, corrected), {Cluster: "b"}}, ""},
		"it is corrected":        {v1alpha1.DriftCorrect, []TargetFacts{at("a", 0, corrected)}, ""},
		"the mode has changed":   {v1alpha1.DriftOff, []TargetFacts{at("a", 1, changed)}, ""},
		"one object":             {v1alpha1.DriftReport, []TargetFacts{at("b", 0), at("a", 1, deleted)}, "1 object on 1 of 2 clusters: a: ConfigMap/shop/gone deleted"},
		"some on two clusters":   {v1alpha1.DriftReport, []TargetFacts{at("b", 4, deleted), at("a", 1, changed)}, "5 objects on 2 of 2 clusters: a: ConfigMap/shop/web changed: .data.a, .data.b and 3 more by kubectl-edit"},
		"the records are hidden": {v1alpha1.DriftReport, []TargetFacts{at("a", 1)}, "1 object on 1 of 1 cluster"},
	} {
		ks := &v1alpha1.Kustomization{Spec: v1alpha1.KustomizationSpec{Drift: &v1alpha1.Drift{Mode: tc.mode}}}
		got := Kustomization(KustomizationFacts{Object: ks, Now: time.Unix(1, 0), Targets: tc.targets})
		message := condition(got.Status.Conditions, v1alpha1.DriftedCondition).Message
		if diff := cmp.Diff(tc.want, message); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if c := condition(got.Status.Conditions, v1alpha1.DriftedCondition); tc.want != "" && (c.Status != metav1.ConditionTrue || c.Reason != v1alpha1.DriftDetectedReason) {
			t.Errorf("%s: %+v", name, c)
		}
	}
}
