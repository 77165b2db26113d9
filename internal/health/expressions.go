package health

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/expression"
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
	program *expression.Program
	answer  Status
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
		p, err := expression.Parse(x.expression, expression.ObjectLimit)
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

// Covers reports whether there is an expression for a kind. No kind is judged by nil.
func (e *Expressions) Covers(gk schema.GroupKind) bool { return e != nil && e.of[gk] != nil }

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
// An expression that asks for a field which is not there leaves the object in progress. The second result
// is how many steps the expressions took.
func (e *Expressions) Of(u *unstructured.Unstructured) (Status, uint64) {
	gk := u.GroupVersionKind().GroupKind()
	switch {
	case !e.Covers(gk):
		return Of(u), 0
	case u.GetDeletionTimestamp() != nil:
		return Deleting(u.GetFinalizers()), 0
	case stale(u):
		return progress("its controller has not looked at this generation yet"), 0
	}
	var s Status
	var steps uint64
	if err := recovery.Run(func() error { s = e.of[gk].evaluate(u.Object, &steps); return nil }); err != nil {
		return progress("its spec.healthCheckExprs cannot be evaluated: %v", err), steps
	}
	return s, steps
}

// Unevaluated is the health of an object whose expressions are not evaluated for now, because those of the
// Kustomization have taken what they may take in sum; where says on which clusters.
func Unevaluated(where string) Status {
	s := progress("its spec.healthCheckExprs are not evaluated for now: those of the Kustomization have taken more steps than they may %s", where)
	s.Unevaluated = true
	return s
}

func (e evaluator) evaluate(fields map[string]any, steps *uint64) Status {
	for _, q := range e {
		holds, n, err := q.program.Holds(fields)
		*steps += n
		switch {
		case errors.Is(err, expression.ErrTooManySteps):
			s := progress("its spec.healthCheckExprs take too many steps")
			s.Unevaluated = true
			return s
		case errors.Is(err, expression.ErrNotBool):
			return progress("its spec.healthCheckExprs are neither true nor false")
		case err != nil:
			return progress("its spec.healthCheckExprs have no answer: a field that they ask for is not there")
		case holds:
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
