// Package expression evaluates CEL expressions that users write over what clusters report. There is one
// environment, with the functions that Flux's controllers have, so that an expression means here what it
// means there; each evaluation is bounded in steps, and what the expressions of one cluster take is
// bounded in sum (Budget), as is what those of all clusters take (Shares).
package expression

import (
	"errors"
	"fmt"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"
	"github.com/google/cel-go/interpreter"

	"github.com/skerry-dev/skerry/internal/recovery"
)

// Limits of the steps of one evaluation. An expression may loop over lists within lists of what a cluster
// reports; usual ones take ten to a few hundred steps. A thousand steps take about 0.3 ms.
const (
	// ObjectLimit is for an expression over one object of an edge.
	ObjectLimit = 1_000_000
	// DependencyLimit is for a readyExpr of dependsOn, which is evaluated for each cluster in turn.
	DependencyLimit = 100_000
)

var (
	// ErrTooManySteps means that an evaluation was ended at its limit.
	ErrTooManySteps = errors.New("it takes too many steps")
	// ErrNotBool means that an expression results in something else than true or false.
	ErrNotBool = errors.New("it does not result in true or false")
)

// environment is made when the first expression is read: most hubs have none.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(cel.HomogeneousAggregateLiterals(), cel.EagerlyValidateDeclarations(true), cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(), ext.Strings(), ext.Sets(), ext.Encoders())
})

// Program is an expression that was read. It is safe for concurrent use.
type Program struct {
	program cel.Program
	limit   uint64
}

// Parse reads an expression over the fields of an object, which are its variables. It is not checked
// against types, as in Flux: which fields there are is known when the object is there.
func Parse(text string, limit uint64) (*Program, error) {
	return read(limit, func() (*cel.Env, *cel.Ast, error) {
		env, err := environment()
		if err != nil {
			return nil, nil, err
		}
		ast, issues := env.Parse(text)
		return env, ast, issues.Err()
	})
}

// Compile reads an expression over objects of these names that results in true or false.
func Compile(text string, limit uint64, variables ...string) (*Program, error) {
	return compile(text, limit, variables, func(out *cel.Type) error {
		if out != cel.BoolType {
			return fmt.Errorf("it results in %s and not in bool", out)
		}
		return nil
	})
}

// CompileValue reads an expression over objects of these names that results in any value.
func CompileValue(text string, limit uint64, variables ...string) (*Program, error) {
	return compile(text, limit, variables, func(*cel.Type) error { return nil })
}

func compile(text string, limit uint64, variables []string, check func(*cel.Type) error) (*Program, error) {
	return read(limit, func() (*cel.Env, *cel.Ast, error) {
		env, err := environment()
		if err != nil {
			return nil, nil, err
		}
		var options []cel.EnvOption
		for _, name := range variables {
			options = append(options, cel.Variable(name, cel.ObjectType("google.protobuf.Struct")))
		}
		if env, err = env.Extend(options...); err != nil {
			return nil, nil, err
		}
		ast, issues := env.Compile(text)
		if issues.Err() != nil {
			return nil, nil, issues.Err()
		}
		return env, ast, check(ast.OutputType())
	})
}

// read makes a program. The library reads what a user wrote, so a panic of it is an error.
func read(limit uint64, parse func() (*cel.Env, *cel.Ast, error)) (*Program, error) {
	p := &Program{limit: limit}
	return p, recovery.Run(func() error {
		env, ast, err := parse()
		if err != nil {
			return err
		}
		p.program, err = env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(limit))
		return err
	})
}

// Holds evaluates the expression and returns how many steps that took. That a field is not there is an
// error; ErrTooManySteps and ErrNotBool are told apart by errors.Is. It may panic, as the library does.
func (p *Program) Holds(variables map[string]any) (bool, uint64, error) {
	value, steps, err := p.Value(variables)
	if err != nil {
		return false, steps, err
	}
	result, ok := value.(types.Bool)
	if !ok {
		return false, steps, ErrNotBool
	}
	return bool(result), steps, nil
}

// Value is Holds for an expression that may result in any value, which another one may take as a variable.
func (p *Program) Value(variables map[string]any) (any, uint64, error) {
	value, details, err := p.program.Eval(variables)
	var steps uint64
	if cost := details.ActualCost(); cost != nil {
		steps = *cost
	}
	if cancelled, ok := errors.AsType[interpreter.EvalCancelledError](err); ok && cancelled.Cause == interpreter.CostLimitExceeded {
		return nil, p.limit, fmt.Errorf("%w: more than %d", ErrTooManySteps, p.limit)
	}
	if err != nil {
		return nil, steps, err
	}
	return value, steps, nil
}
