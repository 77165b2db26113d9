package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/recovery"
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

// hasVariable reports whether substitution could change a value.
func hasVariable(v any) bool {
	switch v := v.(type) {
	case string:
		return hasReference(v)
	case []any:
		return slices.ContainsFunc(v, hasVariable)
	case map[string]any:
		for key, value := range v {
			if hasReference(key) || hasVariable(value) {
				return true
			}
		}
	}
	return false
}

func newTemplate(m map[string]any, root *yaml.Node, from origins) (template, *Error) {
	kind, name := identity(root)
	t := template{kind: kind, name: name, types: fieldTypes(root, from)}
	var err error
	if t.raw, err = json.Marshal(m); err != nil {
		return template{}, t.fail(errorf(InvalidObject, "a value is not JSON"))
	}
	return t, nil
}

func (t template) String() string { return t.kind + "/" + t.name }

// fail returns the error as one of the object, so that its file can be looked for.
func (t template) fail(err *Error) *Error {
	err.Message = t.String() + ": " + err.Message
	err.kind, err.name = t.kind, t.name
	return err
}

// plain returns the object with its "${" as they are.
func (t template) plain(common CommonMetadata) (object.Object, *Error) {
	m, err := decodeJSON(t.raw)
	if err != nil {
		return object.Object{}, t.fail(errorf(InvalidObject, "not an object"))
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

// part is a template, parsed. Values are substituted into single strings of the object and never into
// its text, so that a value cannot add a key, end a string or be cut at a "#".
type part struct {
	template
	value  map[string]any
	fields []field                // the strings with variables, in the order of eachString
	keys   map[string]*expression // the keys with variables
}

type field struct {
	*expression
	kind fieldType
	path string
}

// compile parses templates.
func compile(templates []template) (*program, *Error) {
	p := &program{}
	names := map[string]bool{}
	for _, t := range templates {
		made, err := t.compile(names)
		if err != nil {
			return nil, t.fail(err)
		}
		p.parts = append(p.parts, made)
	}
	p.names = slices.Sorted(maps.Keys(names))
	return p, nil
}

func (t template) compile(names map[string]bool) (part, *Error) {
	// Each "${" is a level of recursion.
	if refs := bytes.Count(t.raw, []byte("${")); len(t.raw) > maxTemplate || refs > maxReferences {
		return part{}, errorf(TooLarge, "too large to substitute variables in")
	}
	value, err := decodeJSON(t.raw)
	if err != nil {
		return part{}, errorf(InvalidObject, "not an object")
	}
	made := part{template: t, value: value, keys: map[string]*expression{}}
	if err := made.compileKeys(value, names); err != nil {
		return part{}, err
	}
	_, failed := eachString(value, func(path []string, s string) (any, *Error) {
		e, err := parseExpression(s, "")
		if err != nil {
			err.Message = pathOf(path) + ": " + err.Message
			return nil, err
		}
		kind := typeText
		if i := len(made.fields); i < len(t.types) {
			kind = fieldType(t.types[i])
		}
		e.names(names)
		made.fields = append(made.fields, field{e, kind, pathOf(path)})
		return s, nil
	})
	return made, failed
}

func (p *part) compileKeys(v any, names map[string]bool) *Error {
	switch v := v.(type) {
	case []any:
		for _, child := range v {
			if err := p.compileKeys(child, names); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if err := p.compileKeys(v[key], names); err != nil {
				return err
			}
			if !hasReference(key) || p.keys[key] != nil {
				continue
			}
			e, err := parseExpression(key, "")
			if err != nil {
				return err
			}
			e.names(names)
			p.keys[key] = e
		}
	}
	return nil
}

func indexOf(i int) string { return "\x00" + strconv.Itoa(i) }

// bare matches the keys that need no brackets in a path.
var bare = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_-]*$`)

// pathOf writes a path as people do: "spec.containers[0].args" and "data[run.sh]".
func pathOf(path []string) string {
	var b strings.Builder
	for _, p := range path {
		i, isIndex := strings.CutPrefix(p, "\x00")
		switch {
		case isIndex:
			b.WriteString("[" + i + "]")
		case !bare.MatchString(p):
			b.WriteString("[" + oneLine(p) + "]")
		case b.Len() > 0:
			b.WriteString("." + p)
		default:
			b.WriteString(p)
		}
	}
	return b.String()
}

// maxNamed is how many variables or objects a message names.
const maxNamed = 10

// missingVariables refuses variables without a value: an empty one would quietly change what a script
// or a path means. It names all of the first object that has some.
func missingVariables(parts []part, vars map[string]string) *Error {
	var failed *Error
	others := 0
	for i := range parts {
		missing, err := parts[i].missing(vars)
		switch {
		case err != nil:
			return err
		case len(missing) == 0:
		case failed != nil:
			others++
		default:
			failed = parts[i].fail(errorf(SubstitutionFailed, "%s", noValue(missing)))
		}
	}
	if others > 0 {
		failed.Message += fmt.Sprintf(" (so it is in %d more objects)", others)
	}
	return failed
}

// absent is a variable without a value, and the first field that needs it.
type absent struct{ name, path string }

func (p *part) missing(vars map[string]string) ([]absent, *Error) {
	var all []absent
	known := map[string]bool{}
	add := func(e *expression, path string) *Error {
		names := map[string]bool{}
		if err := check(e.root, vars, names); err != nil {
			err.Message = path + ": " + err.Message
			return p.fail(err)
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if !known[name] {
				known[name] = true
				all = append(all, absent{name, path})
			}
		}
		return nil
	}
	for _, f := range p.fields {
		if err := add(f.expression, f.path); err != nil {
			return nil, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(p.keys)) {
		if err := add(p.keys[key], "a key"); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func noValue(missing []absent) string {
	var named []string
	for _, m := range missing[:min(len(missing), maxNamed)] {
		named = append(named, fmt.Sprintf("%q (in %s)", m.name, m.path))
	}
	text, first := "variable "+named[0]+" has no value", missing[0].name
	if len(missing) > 1 {
		text = "variables " + strings.Join(named, ", ") + " have no value"
	}
	if more := len(missing) - len(named); more > 0 {
		text = strings.Replace(text, " have no value", fmt.Sprintf(" and %d more have no value", more), 1)
	}
	return text + fmt.Sprintf(": define it in postBuild or the Cluster's vars, give a default with ${%s:=…}, write $${%s} to keep the text, or annotate the object with %s: disabled",
		first, first, disableKeys[0])
}

// run returns the object with the variables in it.
func (p *part) run(vars map[string]string, secret map[string]bool, common CommonMetadata) (_ object.Object, failed *Error) {
	defer func() {
		if recover() != nil {
			recovery.CountInput()
			failed = errorf(SubstitutionFailed, "an expression cannot be evaluated")
		}
		if failed != nil {
			failed = p.fail(failed)
		}
	}()
	next := 0
	made, err := eachString(p.value, func(_ []string, s string) (any, *Error) {
		f := p.fields[next]
		next++
		return f.resolve(vars)
	})
	if err != nil {
		return object.Object{}, err
	}
	if len(p.keys) > 0 {
		if made, err = p.renameKeys(made, vars); err != nil {
			return object.Object{}, err
		}
	}
	m := made.(map[string]any)
	setMetadata(m, "labels", common.Labels)
	setMetadata(m, "annotations", common.Annotations)
	name, err := p.manifestName(secret)
	if err != nil {
		return object.Object{}, err
	}
	setManifestName(m, name)
	o, invalid := object.FromMap(m)
	if invalid != nil {
		// The error may quote kind and name, which have values of variables in them.
		return object.Object{}, errorf(InvalidObject, "once variables are in it, %s", object.WithoutValues(invalid))
	}
	return o, nil
}

// size returns how many bytes the object becomes at most; more than it may is an error.
func (p *part) size(vars map[string]string) (float64, *Error) {
	e, sum := estimate{vars: vars}, float64(len(p.raw))
	for _, f := range p.fields {
		sum += e.node(f.root)
	}
	for _, key := range p.keys {
		sum += e.node(key.root) // of each place that has the key; one is enough to refuse by
	}
	if sum > maxTemplate || e.work > maxWork {
		return 0, p.fail(errorf(TooLarge, "variables make it too large"))
	}
	return sum, nil
}

// renameKeys substitutes in the keys of maps.
func (p *part) renameKeys(v any, vars map[string]string) (_ any, err *Error) {
	switch v := v.(type) {
	case []any:
		for i := range v {
			if v[i], err = p.renameKeys(v[i], vars); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		m := make(map[string]any, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			name := key
			if e := p.keys[key]; e != nil {
				if name, err = e.evaluate(vars); err != nil {
					return nil, err
				}
			}
			if _, twice := m[name]; twice {
				return nil, errorf(SubstitutionFailed, "variables make two keys of one map the same: %s is one of them", oneLine(key))
			}
			if m[name], err = p.renameKeys(v[key], vars); err != nil {
				return nil, err
			}
		}
		return m, nil
	}
	return v, nil
}

// resolve returns the value of a field. As in YAML, the manifest's quoting decides: what it quotes is a
// string, exactly; what it does not may be a number, a boolean, null or a list. The schema of
// Kubernetes decides before that, for its own kinds.
func (f field) resolve(vars map[string]string) (any, *Error) {
	text, err := f.evaluate(vars)
	if err != nil {
		return nil, err
	}
	if f.kind == typeText {
		return text, nil
	}
	quoted := f.isQuoted(vars)
	if quoted {
		text = unquote(text)
	}
	v, ok := text, true
	var made any = v
	switch f.kind {
	case typeEntry:
	case typeString:
		if text == "" && !quoted {
			made = nil
		}
	case typeInteger, typeNumber, typeBoolean:
		made, ok = scalarOf(text, f.kind)
	case typeIntOrString:
		if integer.MatchString(text) {
			made = json.Number(text)
		} else if text == "" {
			made = nil
		}
	case typeCollection:
		made, ok = collection(text)
	default:
		if !quoted {
			made = f.untyped(text)
		}
	}
	if !ok {
		return nil, errorf(SubstitutionFailed, "%s: what %s stands for is not %s", f.path, f.variables(), wanted[f.kind])
	}
	return made, nil
}

var wanted = map[fieldType]string{
	typeInteger: "an integer", typeNumber: "a number", typeBoolean: "true or false", typeCollection: "a list or map, as in [\"a\", \"b\"]",
}

func (f field) variables() string {
	names := map[string]bool{}
	f.names(names)
	sorted := slices.Sorted(maps.Keys(names))
	for i, name := range sorted {
		sorted[i] = "${" + name + "}"
	}
	if len(sorted) > maxNamed {
		sorted = append(sorted[:maxNamed], "…")
	}
	return strings.Join(sorted, ", ")
}

// unquote returns what stands between the quotes that variables put around a text.
func unquote(text string) string {
	var s string
	if len(text) < 2 {
		return text
	}
	if err := yaml.Unmarshal([]byte(text), &s); err == nil && !strings.ContainsAny(text, "\r\n") {
		return s
	}
	return text[1 : len(text)-1]
}

var (
	integer = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)
	decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]*)\.[0-9]+$`)
)

// untyped returns the value of an unquoted scalar in a field whose type is not known. Only what reads
// the same when it is written again is a number: "004", "1.10", "1e3" and "yes" stay the strings that
// they are, where YAML 1.1 would change them.
func (f field) untyped(text string) any {
	trimmed := strings.TrimSpace(text)
	switch {
	case trimmed == "" || trimmed == "null":
		return nil
	case integer.MatchString(trimmed):
		return json.Number(trimmed)
	case !f.isWhole():
		return text
	case trimmed == "true" || trimmed == "false":
		return trimmed == "true"
	case decimal.MatchString(trimmed):
		if n, err := strconv.ParseFloat(trimmed, 64); err == nil && strconv.FormatFloat(n, 'f', -1, 64) == trimmed {
			return json.Number(trimmed)
		}
	case trimmed[0] == '[' || trimmed[0] == '{':
		if v, ok := collection(trimmed); ok {
			return v
		}
	}
	return text
}

// scalarOf reads a value for a field of a known type, in any way that YAML 1.1 writes it.
func scalarOf(text string, kind fieldType) (any, bool) {
	text = strings.TrimSpace(text)
	if text == "" || text == "null" || text == "~" {
		return nil, true
	}
	if kind == typeBoolean {
		switch strings.ToLower(text) {
		case "true", "yes", "on", "y":
			return true, true
		case "false", "no", "off", "n":
			return false, true
		}
		return nil, false
	}
	if integer.MatchString(text) {
		return json.Number(text), true
	}
	node := &yaml.Node{Kind: yaml.ScalarNode, Value: text}
	tag := node.ShortTag()
	if tag != "!!int" && tag != "!!float" {
		return nil, false
	}
	v, err := toScalar(node)
	if n, isFloat := v.(float64); isFloat && kind == typeInteger && n != float64(int64(n)) {
		return nil, false
	}
	return v, err == nil
}

// collection reads a list or map in the flow style of YAML, of which JSON is one.
func collection(text string) (any, bool) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, true
	}
	last := text[len(text)-1]
	if text[0] == '[' && last != ']' || text[0] == '{' && last != '}' || text[0] != '[' && text[0] != '{' {
		return nil, false
	}
	if _, err := scan([]byte(text), true); err != nil {
		return nil, false
	}
	var doc, more yaml.Node
	decoder := yaml.NewDecoder(strings.NewReader(text))
	if decode(decoder, &doc) != nil || !errors.Is(decode(decoder, &more), io.EOF) {
		return nil, false
	}
	v, err := toValue(&doc) // which refuses aliases
	return v, err == nil
}
