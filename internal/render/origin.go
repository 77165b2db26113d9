package render

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// origins is what the files of a closure say of scalars that kustomize changes when it applies a JSON
// patch: it sends the whole object through JSON with floating-point numbers, which rounds what they
// cannot hold and forgets which strings were quoted. Nil when nothing can have been changed.
type origins map[origin]*written

// origin is a key of a mapping, and its value as kustomize gives it back.
type origin struct{ key, value string }

type written struct {
	quoted, plain bool
	number        string // the digits in the file
	ambiguous     bool   // two files have other digits
}

// longNumber matches what a float64 may not hold.
var longNumber = regexp.MustCompile(`[0-9][0-9.]{15}`)

// origins reads the files of the closure, if one of them may be a JSON patch.
func (c *closure) origins() origins {
	patched, needed := false, false
	for p := range c.roles {
		data := c.files[p]
		patched = patched || c.roles[p] == roleConfig && mayBeJSONPatch(data)
		needed = needed || bytes.Contains(data, []byte("${")) || longNumber.Match(data)
	}
	if !patched || !needed {
		return nil
	}
	found := origins{}
	for p := range c.roles {
		found.file(c.files[p], 0)
	}
	return found
}

func mayBeJSONPatch(data []byte) bool { return bytes.Contains(data, []byte("op")) }

func (o origins) file(data []byte, depth int) {
	_ = eachDocument(data, func(doc *yaml.Node, _ int) *Error {
		o.add(resolveNode(doc), "", depth)
		return nil
	})
}

// add takes in a node; key is the one it is the value of.
func (o origins) add(n *yaml.Node, key string, depth int) {
	n = resolveNode(n)
	switch {
	case n == nil || depth > maxDepth:
	case n.Kind == yaml.ScalarNode:
		o.addScalar(n, key, depth)
	case n.Kind == yaml.SequenceNode:
		for _, child := range n.Content {
			o.add(child, key, depth+1)
		}
	case n.Kind == yaml.MappingNode:
		operation := lookup(n, "op") != nil
		for i := 0; i+1 < len(n.Content); i += 2 {
			name := n.Content[i].Value
			if operation && name == "value" { // of a JSON patch: its key is the end of its path
				path := strings.Split(scalar(n, "path"), "/")
				name = path[len(path)-1]
				if _, err := strconv.Atoi(name); (err == nil || name == "-") && len(path) > 1 {
					name = path[len(path)-2]
				}
				name = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
			}
			o.add(n.Content[i+1], name, depth+1)
		}
	}
}

func (o origins) addScalar(n *yaml.Node, key string, depth int) {
	if n.ShortTag() != "!!str" {
		if value, ok := rounded(n.Value); ok {
			w := o.at(origin{key, value})
			w.ambiguous = w.ambiguous || w.number != "" && w.number != n.Value
			w.number = n.Value
		}
		return
	}
	if hasReference(n.Value) {
		w := o.at(origin{key, n.Value})
		w.quoted = w.quoted || n.Style != 0
		w.plain = w.plain || n.Style == 0
	}
	if isInline(n.Value) && strings.Contains(n.Value, "op") { // a patch inside of the file
		if _, err := scan([]byte(n.Value), false); err == nil {
			o.file([]byte(n.Value), depth+1)
		}
	}
}

func (o origins) at(key origin) *written {
	if o[key] == nil {
		o[key] = &written{}
	}
	return o[key]
}

// rounded returns a number as it comes back from a float64, if that is another one.
func rounded(text string) (string, bool) {
	if len(text) < 16 || !isNumber(text) {
		return "", false
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || exact(text, f) {
		return "", false
	}
	return strconv.FormatFloat(f, 'g', -1, 64), true
}

// isQuoted reports whether a string that is not quoted any more was, in every file that has it.
func (o origins) isQuoted(key, value string) bool {
	w := o[origin{key, value}]
	return w != nil && w.quoted && !w.plain
}

// restoreNumbers puts numbers back that were rounded.
func (o origins) restoreNumbers(n *yaml.Node, key string) *Error {
	switch {
	case o == nil:
	case n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if err := o.restoreNumbers(n.Content[i+1], n.Content[i].Value); err != nil {
				return err
			}
		}
	case n.Kind == yaml.ScalarNode:
		return o.restoreNumber(n, key)
	default:
		for _, child := range n.Content {
			if err := o.restoreNumbers(child, key); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o origins) restoreNumber(n *yaml.Node, key string) *Error {
	if n.Style != 0 || n.ShortTag() == "!!str" || !strings.ContainsAny(n.Value, "e.") {
		return nil
	}
	var w *written
	if f, err := strconv.ParseFloat(n.Value, 64); err == nil {
		w = o[origin{key, strconv.FormatFloat(f, 'g', -1, 64)}]
	}
	switch {
	case w == nil || w.number == "":
		return nil
	case w.ambiguous:
		return errorf(InvalidObject, "kustomize cannot apply a JSON patch to an object with the numbers of %s: use a strategic merge patch, or quote them", oneLine(key))
	}
	n.Value, n.Tag = w.number, ""
	return nil
}
