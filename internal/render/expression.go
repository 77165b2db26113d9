package render

import (
	"slices"
	"strings"

	"github.com/fluxcd/pkg/envsubst"
	"github.com/fluxcd/pkg/envsubst/parse"
)

// expression is one string of a manifest that refers to variables, parsed by Flux's own parser of
// ${...}. The parser is given the one string and never the YAML around it, so a value cannot change
// what the manifest is.
type expression struct {
	source string
	root   parse.Node
	text   *envsubst.Template
	// dollar and null stand in root for a "$" that begins no reference and for a NUL, which the
	// parser would take for an escape and for the end of the text.
	dollar, null string
}

// hasReference reports whether substitution could change a string. "$${" is one: it becomes "${".
func hasReference(s string) bool { return strings.Contains(s, "${") }

// parseExpression parses a string. The error names the variable at which the parser stopped. The
// stand-ins are chosen so that avoid does not hold them either.
func parseExpression(s, avoid string) (*expression, *Error) {
	e := &expression{source: s}
	e.dollar = unusedRune(s + avoid)
	e.null = unusedRune(s + avoid + e.dollar)
	protected := e.protect(s)
	tree, err := parse.Parse(protected)
	if err != nil {
		return nil, errorf(SubstitutionFailed, "cannot read the expression %s (a literal ${ is written $${)", firstBroken(protected))
	}
	if e.text, err = envsubst.Parse(protected); err != nil {
		return nil, errorf(SubstitutionFailed, "cannot read an expression (a literal ${ is written $${)")
	}
	e.root = tree.Root
	return e, nil
}

// unusedRune returns a noncharacter of Unicode that a string does not hold.
func unusedRune(s string) string {
	for r := '\ufdd0'; ; r++ {
		if c := string(r); r > '\ufdef' || !strings.Contains(s, c) {
			return c
		}
	}
}

// protect replaces every "$" that begins no reference. Of a run of dollars before "{", each pair is one
// literal "$", as in Flux, so that an odd run ends in a reference: "$${a}" is the text "${a}", and
// "$$${a}" is "$" and the value. A run that is not before "{" stays as it is: "$$", "$1", "$(cmd)".
func (e *expression) protect(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] == 0 {
			b.WriteString(e.null)
			i++
			continue
		}
		if s[i] != '$' {
			b.WriteByte(s[i])
			i++
			continue
		}
		run := i
		for run < len(s) && s[run] == '$' {
			run++
		}
		n := run - i
		switch {
		case run == len(s) || s[run] != '{':
			b.WriteString(strings.Repeat(e.dollar, n))
		case n%2 == 1:
			b.WriteString(strings.Repeat(e.dollar, n/2) + "$")
		default:
			b.WriteString(strings.Repeat(e.dollar, n/2))
		}
		i = run
	}
	return b.String()
}

func (e *expression) restore(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, e.dollar, "$"), e.null, "\x00")
}

// maxSearch bounds how many references are tried to find the one that cannot be read.
const maxSearch = 200

// firstBroken returns the beginning of the reference at which parsing stops, up to the end of its
// name: what follows may be a secret.
func firstBroken(s string) string {
	end := len(s)
	for range maxSearch {
		at := strings.LastIndex(s[:end], "${")
		if at < 0 {
			break
		}
		if _, err := parse.Parse(s[at:]); err != nil {
			name := s[at+2:]
			stop := strings.IndexFunc(name, func(r rune) bool { return !isNameRune(r) })
			if stop >= 0 {
				name = name[:stop]
			}
			return `"${` + name + `…"`
		}
		end = at
	}
	return "${…"
}

func isNameRune(r rune) bool {
	return r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}

// flatten returns the top-level nodes of the expression, in order.
func flatten(n parse.Node) []parse.Node {
	list, ok := n.(*parse.ListNode)
	if !ok {
		return []parse.Node{n}
	}
	var all []parse.Node
	for _, child := range list.Nodes {
		all = append(all, flatten(child)...)
	}
	return all
}

// isWhole reports whether the expression is one reference and no text beside it.
func (e *expression) isWhole() bool {
	_, ok := e.root.(*parse.FuncNode)
	return ok
}

// names adds the variables that the expression refers to.
func (e *expression) names(names map[string]bool) { eachName(e.root, names) }

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

// isDefault reports whether an operator gives a value in place of one that is not set.
func isDefault(operator string) bool {
	return slices.Contains([]string{"=", "-", ":=", ":-"}, operator)
}

// check adds the variables that have no value where one is needed, and refuses the operators that
// Flux lists as unsupported, because its library gives them another meaning than a shell.
func check(n parse.Node, vars map[string]string, missing map[string]bool) *Error {
	switch n := n.(type) {
	case *parse.ListNode:
		for _, child := range n.Nodes {
			if err := check(child, vars, missing); err != nil {
				return err
			}
		}
	case *parse.FuncNode:
		value, ok := vars[n.Param]
		switch {
		case n.Name == ":+" || n.Name == ":?":
			return errorf(SubstitutionFailed, "${%s%s…} is not supported: give a default with ${%s:=…}, or write $${%s%s…} to keep the text",
				n.Param, n.Name, n.Param, n.Param, n.Name)
		case isDefault(n.Name) && value != "":
			return nil // the default is not needed, and neither are its variables
		case !ok && !isDefault(n.Name):
			missing[n.Param] = true
		}
		for _, arg := range n.Args {
			if err := check(arg, vars, missing); err != nil {
				return err
			}
		}
	}
	return nil
}

// evaluate returns the text of the expression. It must have been checked and estimated.
func (e *expression) evaluate(vars map[string]string) (string, *Error) {
	names := map[string]bool{}
	e.names(names)
	for name := range names {
		if value := vars[name]; strings.Contains(value, e.dollar) || strings.Contains(value, e.null) {
			return e.evaluateAvoiding(names, vars)
		}
	}
	text, err := e.text.Execute(func(name string) (string, bool) { return vars[name], true })
	if err != nil {
		return "", errorf(SubstitutionFailed, "an expression cannot be evaluated")
	}
	return e.restore(text), nil
}

// evaluateAvoiding evaluates where a value holds what stands for a "$": with other stand-ins.
func (e *expression) evaluateAvoiding(names map[string]bool, vars map[string]string) (string, *Error) {
	var values strings.Builder
	for name := range names {
		values.WriteString(vars[name])
	}
	other, err := parseExpression(e.source, values.String())
	if err != nil {
		return "", err
	}
	if strings.Contains(values.String(), other.dollar) || strings.Contains(values.String(), other.null) {
		return "", errorf(SubstitutionFailed, "a value holds every noncharacter of Unicode")
	}
	return other.evaluate(vars)
}

// isQuoted reports whether the expression is text between two variables that are the same quote. It is
// how Flux's documentation keeps a number a string: ${quote}${id}${quote}.
func (e *expression) isQuoted(vars map[string]string) bool {
	nodes := flatten(e.root)
	if len(nodes) < 3 {
		return false
	}
	first, ok := nodes[0].(*parse.FuncNode)
	last, also := nodes[len(nodes)-1].(*parse.FuncNode)
	if !ok || !also || first.Name != "" || last.Name != "" {
		return false
	}
	quote := vars[first.Param]
	return vars[last.Param] == quote && (quote == `"` || quote == `'`)
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
