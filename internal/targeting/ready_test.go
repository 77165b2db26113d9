package targeting

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

func TestReadyExpr(t *testing.T) {
	self, dep := graph("apps")[0], graph("infra")[0]
	self.Labels, dep.Labels = map[string]string{"version": "2"}, map[string]string{"version": "2"}
	dep.Generation, dep.Status.ObservedGeneration, dep.Status.LastAppliedRevision = 3, 3, "whole"
	dep.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "False", Reason: "Failed"}}
	ready := &v1alpha1.AssignmentEntryStatus{Ready: "True", Reason: "Succeeded", AppliedRevision: "main@sha1:1"}
	working := &v1alpha1.AssignmentEntryStatus{Ready: "Unknown", Reason: "Progressing", AppliedRevision: "main@sha1:1", Revision: "main@sha1:2", Digest: "d"}
	const readyAtAll = "dep.status.conditions.filter(e, e.type == 'Ready').all(e, e.status == 'True') && dep.status.conditions.exists(e, e.type == 'Ready') && dep.status.observedGeneration == dep.metadata.generation"
	for name, tt := range map[string]struct {
		expr     string
		reported *v1alpha1.AssignmentEntryStatus
		want     string // an error by a part of its text
	}{
		"labels of both":                         {"dep.metadata.labels['version'] == self.metadata.labels['version']", nil, "true"},
		"ready on the cluster":                   {readyAtAll, ready, "true"},
		"at work on the cluster":                 {readyAtAll, working, "false"},
		"nothing on the cluster":                 {readyAtAll, nil, "false"},
		"a revision of the cluster":              {"dep.status.lastAppliedRevision == 'main@sha1:1'", ready, "true"},
		"the revision that is attempted":         {"dep.status.lastAttemptedRevision.endsWith(':2')", working, "true"},
		"the revision of all clusters is hidden": {"dep.status.lastAppliedRevision == 'whole'", nil, "no such key"},
		"spec":                                   {"dep.spec.interval == '0s'", nil, "true"},
		"a field that is not there":              {"dep.status.nothing == 'x'", ready, "no such key"},
		"has":                                    {"has(dep.status.nothing)", ready, "false"},
		"no bool":                                {"dep.metadata.name", nil, "and not in bool"},
		"no CEL":                                 {"dep.status.", nil, "Syntax error"},
		"an unknown variable":                    {"other.metadata.name == 'x'", nil, "undeclared reference"},
		"loops within loops within loops":        {"[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, dep.metadata.generation > 0)))))", nil, "too many steps"},
	} {
		t.Run(name, func(t *testing.T) {
			expr, err := CompileReadyExpr(tt.expr)
			got := ""
			if err == nil {
				var s, d map[string]any
				if s, err = ReadyExprObject(&self); err != nil {
					t.Fatal(err)
				}
				if d, err = ReadyExprObject(&dep); err != nil {
					t.Fatal(err)
				}
				var holds bool
				if holds, err = expr.Holds(s, OnCluster(d, tt.reported)); err == nil {
					got = map[bool]string{true: "true", false: "false"}[holds]
				}
			}
			if err != nil {
				got = err.Error()
			}
			if got != tt.want && (err == nil || !strings.Contains(got, tt.want)) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
	if dep.Status.LastAppliedRevision != "whole" {
		t.Error("the Kustomization was changed, which others share")
	}
}

func TestADependencyWithAReadyExprIsTheHubsToDecide(t *testing.T) {
	ks := graph("a:b,c")[0]
	ks.Spec.DependsOn[0].ReadyExpr = "true"
	if got := strings.Join(DependsOnEntries(&ks, "fleet"), " "); got != "c" {
		t.Errorf("the engine waits for %q", got)
	}
	if got := strings.Join(names(Dependencies(&ks)), " "); got != "b c" {
		t.Errorf("dependencies %q: of a circle, and of what a commit changes, each counts", got)
	}
}
