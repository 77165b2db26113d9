package targeting

import (
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/recovery"
)

// readyCostLimit bounds the steps of one evaluation, as an expression may loop over lists within lists. The
// usual ones take some ten; at the limit, one takes about a millisecond for each cluster.
const readyCostLimit = 100_000

// readyEnvironment has the functions of Flux's, so that an expression means here what it means there. It is
// made when the first expression is compiled: most hubs have none.
var readyEnvironment = sync.OnceValues(func() (*cel.Env, error) {
	object := cel.ObjectType("google.protobuf.Struct")
	return cel.NewEnv(cel.HomogeneousAggregateLiterals(), cel.EagerlyValidateDeclarations(true), cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(), ext.Strings(), ext.Sets(), ext.Encoders(),
		cel.Variable("self", object), cel.Variable("dep", object))
})

// ReadyExpr is a readyExpr of dependsOn.
type ReadyExpr struct{ program cel.Program }

// CompileReadyExpr reads an expression over self and dep that results in true or false.
func CompileReadyExpr(expression string) (*ReadyExpr, error) {
	env, err := readyEnvironment()
	if err != nil {
		return nil, err
	}
	e := &ReadyExpr{}
	return e, recovery.Run(func() error { // the library parses what a tenant wrote
		compiled, issues := env.Compile(expression)
		if issues != nil && issues.Err() != nil {
			return issues.Err()
		}
		if out := compiled.OutputType(); out != cel.BoolType {
			return fmt.Errorf("it results in %s and not in bool", out)
		}
		e.program, err = env.Program(compiled, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(readyCostLimit))
		return err
	})
}

// Holds evaluates the expression. That a field is not there is an error.
func (e *ReadyExpr) Holds(self, dep map[string]any) (holds bool, err error) {
	err = recovery.Run(func() error {
		value, _, err := e.program.Eval(map[string]any{"self": self, "dep": dep})
		if err != nil {
			return err
		}
		result, ok := value.(types.Bool)
		if !ok {
			return errors.New("it does not result in true or false")
		}
		holds = bool(result)
		return nil
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
