package targeting

import (
	"fmt"
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/expression"
	"github.com/skerry-dev/skerry/internal/recovery"
)

// ReadyExpr is a readyExpr of dependsOn.
type ReadyExpr struct{ program *expression.Program }

// CompileReadyExpr reads an expression over self and dep that results in true or false.
func CompileReadyExpr(text string) (*ReadyExpr, error) {
	program, err := expression.Compile(text, expression.DependencyLimit, "self", "dep")
	return &ReadyExpr{program}, err
}

// Holds evaluates the expression. That a field is not there is an error.
func (e *ReadyExpr) Holds(self, dep map[string]any) (holds bool, err error) {
	err = recovery.Run(func() error {
		holds, _, err = e.program.Holds(map[string]any{"self": self, "dep": dep})
		return err
	})
	return holds, err
}

// ReadyExprObject is a Kustomization as readyExpr sees it.
func ReadyExprObject(ks *v1alpha1.Kustomization) (map[string]any, error) {
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(ks)
	if err != nil {
		return nil, fmt.Errorf("cannot convert Kustomization %s: %w", ks.Name, err)
	}
	object["apiVersion"], object["kind"] = v1alpha1.GroupVersion.String(), v1alpha1.KustomizationKind
	return object, nil
}

// OnCluster returns dep as it is on one cluster: with what the cluster reports of it in place of what the
// status sums up over all clusters. Where it has nothing to report (nil) it has neither conditions nor
// revisions.
func OnCluster(dep map[string]any, reported *v1alpha1.AssignmentEntryStatus) map[string]any {
	whole, _ := dep["status"].(map[string]any)
	status := maps.Clone(whole)
	if status == nil {
		status = map[string]any{}
	}
	delete(status, "lastAppliedRevision")
	delete(status, "lastAttemptedRevision")
	status["conditions"] = []any{}
	if reported != nil {
		attempted, _ := reported.Attempted()
		status["lastAppliedRevision"], status["lastAttemptedRevision"] = reported.AppliedRevision, attempted
		status["conditions"] = []any{condition(v1alpha1.ReadyCondition, reported.Ready, reported)}
		if reported.Ready == metav1.ConditionUnknown {
			status["conditions"] = append(status["conditions"].([]any), condition(v1alpha1.ReconcilingCondition, metav1.ConditionTrue, reported))
		}
	}
	one := maps.Clone(dep)
	one["status"] = status
	return one
}

func condition(kind string, status metav1.ConditionStatus, reported *v1alpha1.AssignmentEntryStatus) map[string]any {
	return map[string]any{"type": kind, "status": string(status), "reason": reported.Reason, "message": reported.Message}
}
