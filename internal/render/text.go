package render

import (
	"maps"
	"slices"
	"strings"

	"github.com/skerry-dev/skerry/internal/recovery"
)

// documentEnd ends a document of a YAML stream.
const documentEnd = "\n---\n"

// Text substitutes variables in a text by the rules that hold for one string of a manifest: the same expressions,
// the same escapes, and the same limits for each document of a YAML stream. A value goes in as it is. It returns
// the variables that have neither a value nor a default, sorted; each of them became empty.
func Text(text string, vars map[string]string) (out string, missing []string, _ *Error) {
	absent := map[string]bool{}
	var b strings.Builder
	for _, document := range strings.SplitAfter(text, documentEnd) {
		made, err := substitute(document, vars, absent)
		if err != nil {
			return "", nil, err
		}
		b.WriteString(made)
	}
	return b.String(), slices.Sorted(maps.Keys(absent)), nil
}

func substitute(text string, vars map[string]string, absent map[string]bool) (_ string, failed *Error) {
	if !hasReference(text) {
		return text, nil
	}
	defer func() {
		if recover() != nil {
			recovery.CountInput()
			failed = errorf(SubstitutionFailed, "an expression cannot be evaluated")
		}
	}()
	// Each "${" is a level of recursion.
	if len(text) > maxTemplate || strings.Count(text, "${") > maxReferences {
		return "", errorf(TooLarge, "a document is too large to substitute variables in: more than %d MiB or %d references", maxTemplate>>20, maxReferences)
	}
	e, err := parseExpression(text, "")
	if err != nil {
		return "", err
	}
	if err := check(e.root, vars, absent); err != nil {
		return "", err
	}
	cost := estimate{vars: vars}
	if size := cost.node(e.root); size > maxTemplate || cost.work > maxWork {
		return "", errorf(TooLarge, "variables make a document too large")
	}
	return e.evaluate(vars)
}
