package build

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/envsubst"
	"github.com/fluxcd/pkg/envsubst/parse"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/internal/object"
)

// Limits of one object's template; the API server takes no larger object. Reading and evaluating one
// takes time and memory that grow faster than its text.
const (
	maxTemplate   = 3 << 20
	maxReferences = 20_000
	maxWork       = 1 << 30
)

// disableKeys are labels and annotations that, when "disabled", keep an object from substitution.
var disableKeys = []string{"kustomize.toolkit.fluxcd.io/substitute", "skerry.dev/substitute"}

func isDisabled(m map[string]any) bool {
	meta, _ := m["metadata"].(map[string]any)
	for _, field := range []string{"labels", "annotations"} {
		values, _ := meta[field].(map[string]any)
		for _, key := range disableKeys {
			if values[key] == "disabled" {
				return true
			}
		}
	}
	return false
}

// hasDollar says whether substitution could change a value.
func hasDollar(v any) bool {
	switch v := v.(type) {
	case string:
		return strings.Contains(v, "$")
	case []any:
		return slices.ContainsFunc(v, hasDollar)
	case map[string]any:
		for key, value := range v {
			if strings.Contains(key, "$") || hasDollar(value) {
				return true
			}
		}
	}
	return false
}

func newTemplate(m map[string]any) (template, *Error) {
	raw, err := json.Marshal(m)
	if err != nil {
		return template{}, errorf(InvalidObject, "%s: a value is not JSON", describe(m))
	}
	return template{name: describe(m), raw: raw}, nil
}

// plain returns the object with its "$" as they are.
func (t template) plain(common CommonMetadata) (object.Object, *Error) {
	m, err := decodeJSON(t.raw)
	if err != nil {
		return object.Object{}, errorf(InvalidObject, "%s: not an object", t.name)
	}
	return finish(m, common)
}

func decodeJSON(data []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber() // an int64 stays what it is
	var m map[string]any
	err := d.Decode(&m)
	return m, err
}

// program is the templates of a render, parsed.
type program struct {
	parts []part
	names []string // the variables they refer to, sorted
}

type part struct {
	template
	text *envsubst.Template
	tree parse.Node
}

// compile parses templates. As in Flux, what is substituted is the YAML of an object and not its
// strings, so that a variable can be a number, or a list.
func compile(templates []template) (*program, *Error) {
	p := &program{}
	names := map[string]bool{}
	for _, t := range templates {
		text, err := yaml.JSONToYAML(t.raw)
		if err != nil {
			return nil, errorf(InvalidObject, "%s: cannot be written as YAML", t.name)
		}
		// Each "$$" moves all that follows it, and each "${" is a level of recursion.
		escapes, refs := bytes.Count(text, []byte("$$")), bytes.Count(text, []byte("${"))
		if len(text) > maxTemplate || refs > maxReferences || escapes*len(text) > maxWork {
			return nil, errorf(TooLarge, "%s: too large to substitute variables in", t.name)
		}
		parsed, err := envsubst.Parse(string(text))
		if err != nil {
			return nil, errorf(SubstitutionFailed, "%s: %s (a literal ${ is written $${)", t.name, oneLine(err.Error()))
		}
		tree, err := parse.Parse(string(text))
		if err != nil {
			return nil, errorf(SubstitutionFailed, "%s: %s", t.name, oneLine(err.Error()))
		}
		eachName(tree.Root, names)
		p.parts = append(p.parts, part{template: t, text: parsed, tree: tree.Root})
	}
	p.names = slices.Sorted(maps.Keys(names))
	return p, nil
}

func eachName(n parse.Node, names map[string]bool) {
	switch n := n.(type) {
	case *parse.ListNode:
		for _, child := range n.Nodes {
			eachName(child, names)
		}
	case *parse.FuncNode:
		names[n.Param] = true
		for _, arg := range n.Args {
			eachName(arg, names)
		}
	}
}

// run returns the object with the variables in it.
func (p part) run(vars map[string]string, strict bool, common CommonMetadata) (_ object.Object, failed *Error) {
	defer func() {
		if recover() != nil {
			failed = errorf(SubstitutionFailed, "%s: an expression cannot be evaluated", p.name)
		}
	}()
	e := estimate{vars: vars}
	if length := e.node(p.tree); length > maxTemplate || e.work > maxWork {
		return object.Object{}, errorf(TooLarge, "%s: variables make it too large", p.name)
	}
	text, err := p.text.Execute(func(name string) (string, bool) {
		value, ok := vars[name]
		return value, ok || !strict
	})
	if err != nil {
		return object.Object{}, errorf(SubstitutionFailed, "%s: %s", p.name, oneLine(err.Error()))
	}
	// A value may be YAML of any kind. The parser's messages could quote it, so they are not shown.
	if _, err := scan([]byte(text), false); err != nil {
		return object.Object{}, errorf(SubstitutionFailed, "%s: is no safe YAML once variables are in it (%s)", p.name, err.Reason)
	}
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return object.Object{}, errorf(SubstitutionFailed, "%s: is no YAML once variables are in it", p.name)
	}
	m, err := decodeJSON(data)
	if err != nil {
		return object.Object{}, errorf(SubstitutionFailed, "%s: is no object once variables are in it", p.name)
	}
	return finish(m, common)
}

// estimate bounds what evaluating an expression makes and costs, without doing it: ${a//b/${c}} is
// as long as the product of its values, and ${a##*b} takes the square of one.
type estimate struct {
	vars map[string]string
	work float64
}

// node returns how many bytes a node can become at most.
func (e *estimate) node(n parse.Node) float64 {
	switch n := n.(type) {
	case *parse.TextNode:
		return float64(len(n.Value))
	case *parse.ListNode:
		sum := 0.0
		for _, child := range n.Nodes {
			sum += e.node(child)
		}
		return sum
	case *parse.FuncNode:
		return e.function(n)
	}
	return 0
}

func (e *estimate) function(n *parse.FuncNode) float64 {
	value := float64(len(e.vars[n.Param]))
	sum, longest := 0.0, 0.0
	for _, arg := range n.Args {
		length := e.node(arg)
		sum += length
		longest = max(longest, length)
	}
	e.work += value + sum
	switch n.Name {
	case "#", "##", "%", "%%":
		e.work += value * value * (longest + 1)
		return value + 20 // the length of a number, for ${#name}
	case "//":
		return value + (value+1)*longest
	case "/", "/#", "/%":
		return value + longest
	case "^", "^^", ",", ",,":
		return 3 * value
	case ":":
		return value
	}
	return max(value, sum)
}
