package receiver

import (
	"errors"
	"fmt"

	"github.com/skerry-dev/skerry/internal/expression"
	"github.com/skerry-dev/skerry/internal/recovery"
)

// filterSteps bounds what the filters of one webhook may take in sum, over all resources.
const filterSteps = 1_000_000

// Filter decides for which resources a webhook is. The zero Filter admits every resource.
type Filter struct{ programs []*expression.Program }

// NewFilter compiles the expressions that must all be true for a type of sender; empty ones are left out.
func NewFilter(kind string, expressions ...string) (Filter, error) {
	variables := []string{"res", "req"}
	if HasClaims(kind) {
		variables = append(variables, "claims")
	}
	var f Filter
	for _, text := range expressions {
		if text == "" {
			continue
		}
		program, err := expression.Compile(text, expression.DependencyLimit, variables...)
		if err != nil {
			return Filter{}, fmt.Errorf("cannot compile the filter: %w", err)
		}
		f.programs = append(f.programs, program)
	}
	return f, nil
}

// Evaluation evaluates filters for one webhook. It parses the body when the first filter needs it. It is
// not safe for concurrent use.
type Evaluation struct {
	webhook Webhook
	claims  map[string]any
	payload map[string]any
	steps   uint64
}

// Admits reports whether the filter is true for a resource. That the body has no such field is an error,
// as in Flux. The message never holds the body.
func (e *Evaluation) Admits(f Filter, resource map[string]any) (bool, error) {
	if len(f.programs) == 0 {
		return true, nil
	}
	if e.payload == nil {
		var err error
		if e.payload, err = Payload(e.webhook); err != nil {
			return false, err
		}
	}
	for _, program := range f.programs {
		if e.steps > filterSteps {
			return false, errors.New("the filters of this webhook take too many steps in sum")
		}
		var holds bool
		err := recovery.Run(func() (err error) {
			var steps uint64
			holds, steps, err = program.Holds(map[string]any{"res": resource, "req": e.payload, "claims": e.claims})
			e.steps += steps
			return err
		})
		if err != nil {
			return false, fmt.Errorf("cannot evaluate the filter: %w", err)
		}
		if !holds {
			return false, nil
		}
	}
	return true, nil
}
