package health

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"
	"github.com/google/cel-go/interpreter"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/recovery"
)

// Expressions judge the objects of some kinds by CEL, in place of the rules of this package. They are
// safe for concurrent use.
type Expressions struct {
	of map[schema.GroupKind]evaluator
}

// evaluator holds the programs for the objects of one kind, in the order in which they are asked.
type evaluator []question

type question struct {
	program cel.Program
	answer  Status
}

// environment has the functions that Flux's health checks have, so that an expression means here what it
// means there. It is made when the first expression is compiled: most hubs have none.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(cel.HomogeneousAggregateLiterals(), cel.EagerlyValidateDeclarations(true), cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(), ext.Strings(), ext.Sets(), ext.Encoders())
})

// costLimit bounds the steps of one expression over one object: an expression may loop over lists within
// lists of what a cluster shows. Usual ones take some hundred.
const costLimit = 1_000_000

// program reads one expression. It is parsed and not checked against types, as in Flux: the fields of the
// object are the variables, and which there are is known when it is there.
func program(expression string) (cel.Program, error) {
	env, err := environment()
	if err != nil {
		return nil, err
	}
	parsed, issues := env.Parse(expression)
	if issues != nil && issues.Err() != nil {
		return nil, issues.Err()
	}
	return env.Program(parsed, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(costLimit))
}

func newEvaluator(check v1alpha1.HealthCheckExpressions) (evaluator, error) {
	var e evaluator
	for _, x := range []struct {
		field, expression string
		answer            Status
	}{
		{"inProgress", check.InProgress, progress("is in progress, by spec.healthCheckExprs")},
		{"failed", check.Failed, failure("failed, by spec.healthCheckExprs")},
		{"current", check.Current, Status{Phase: Current}},
	} {
		if x.expression == "" {
			continue
		}
		p, err := program(x.expression)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", x.field, err)
		}
		e = append(e, question{p, x.answer})
	}
	return e, nil
}

// Compile reads the expressions of a Kustomization. An error names the kind, the field and the place; it
// shows the expression, which stands in the Kustomization.
func Compile(checks []v1alpha1.HealthCheckExpressions) (*Expressions, error) {
	e := &Expressions{of: make(map[schema.GroupKind]evaluator, len(checks))}
	for i, check := range checks {
		gv, err := schema.ParseGroupVersion(check.APIVersion)
		if err != nil {
			return nil, fmt.Errorf("spec.healthCheckExprs[%d].apiVersion: %w", i, err)
		}
		gk := gv.WithKind(check.Kind).GroupKind()
		if e.of[gk] != nil {
			return nil, fmt.Errorf("spec.healthCheckExprs[%d]: %s is judged by an earlier one already", i, gk)
		}
		var of evaluator
		err = recovery.Run(func() (err error) { // the library parses what a stranger wrote
			of, err = newEvaluator(check)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("spec.healthCheckExprs[%d] of %s: %s", i, gk, Clean(err.Error()))
		}
		e.of[gk] = of
	}
	return e, nil
}

// Judges says whether there is an expression for a kind. No kind is judged by nil.
func (e *Expressions) Judges(gk schema.GroupKind) bool { return e != nil && e.of[gk] != nil }

// Kinds are those that are judged, in no order.
func (e *Expressions) Kinds() []schema.GroupKind {
	if e == nil {
		return nil
	}
	kinds := make([]schema.GroupKind, 0, len(e.of))
	for gk := range e.of {
		kinds = append(kinds, gk)
	}
	return kinds
}

// Of returns the health of an object: by the expressions for its kind, or as Of does where there is none.
// An expression that asks for a field which is not there leaves the object in progress.
func (e *Expressions) Of(u *unstructured.Unstructured) Status {
	gk := u.GroupVersionKind().GroupKind()
	switch {
	case !e.Judges(gk):
		return Of(u)
	case u.GetDeletionTimestamp() != nil:
		return Deleting(u.GetFinalizers())
	case stale(u):
		return progress("its controller has not looked at this generation yet")
	}
	var s Status
	if err := recovery.Run(func() error { s = e.of[gk].judge(u.Object); return nil }); err != nil {
		return progress("its spec.healthCheckExprs cannot be evaluated: %v", err)
	}
	return s
}

func (e evaluator) judge(fields map[string]any) Status {
	for _, q := range e {
		v, _, err := q.program.Eval(fields)
		var cancelled interpreter.EvalCancelledError
		switch answer, ok := v.(types.Bool); {
		case errors.As(err, &cancelled):
			return progress("its spec.healthCheckExprs take too many steps")
		case err != nil:
			return progress("its spec.healthCheckExprs have no answer: a field that they ask for is not there")
		case !ok:
			return progress("its spec.healthCheckExprs are neither true nor false")
		case bool(answer):
			return q.answer
		}
	}
	return progress("none of its spec.healthCheckExprs is true")
}

// Compiler compiles each list of expressions once, whatever the number of clusters: what is compiled is
// a hundred times as large as its text.
type Compiler struct {
	mu       sync.Mutex
	compiled map[string]*Expressions // guarded by mu
}

// compiledLimit bounds what is kept. Beyond it all is forgotten, and those in use stay with their users.
const compiledLimit = 256

// Compile is Compile, once for equal lists. No checks are nil.
func (c *Compiler) Compile(checks []v1alpha1.HealthCheckExpressions) (*Expressions, error) {
	if len(checks) == 0 {
		return nil, nil //nolint:nilnil // nil judges nothing
	}
	text, err := json.Marshal(checks)
	if err != nil {
		return nil, fmt.Errorf("spec.healthCheckExprs: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.compiled[string(text)]; e != nil {
		return e, nil
	}
	e, err := Compile(checks)
	if err != nil {
		return nil, err
	}
	if c.compiled == nil || len(c.compiled) >= compiledLimit {
		c.compiled = map[string]*Expressions{}
	}
	c.compiled[string(text)] = e
	return e, nil
}
