package render

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// minRedacted is the length in bytes from which a value is looked for in a message; shorter ones
// stand in any text.
const minRedacted = 4

// redact takes out of a message what may come from a Secret. The message has been cut already where
// kustomize is known to quote; this is for where it is not known to.
func (c *closure) redact(message string) string {
	var values []string
	for p, data := range c.files {
		if o := c.opened[p]; o != nil {
			values = append(values, o.values...)
		}
		if _, isYAML := c.roles[p]; !isYAML {
			values = append(values, generatorValues(string(data))...)
			continue
		}
		_ = eachDocument(data, func(doc *yaml.Node, _ int) *Error {
			values = append(values, secretValues(resolveNode(doc), 0)...)
			return nil
		})
	}
	// The longest first: a value may be part of another.
	slices.SortFunc(values, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	for _, value := range values {
		for _, form := range []string{value, strings.Trim(strconv.Quote(value), `"`), oneLine(value)} {
			if len(form) >= minRedacted && len(form) <= len(message) {
				message = strings.ReplaceAll(message, form, "***")
			}
		}
	}
	return message
}

// generatorValues are the values of a file that a generator reads, as a whole, or line by line.
func generatorValues(text string) []string {
	values := []string{text}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		_, value, _ := strings.Cut(line, "=")
		values = append(values, line, value)
	}
	return values
}

// isSecret reports whether the content of a field is, or may be put into, that of a Secret: in objects,
// patches, and generators.
func isSecret(of *yaml.Node, field string) bool {
	switch field {
	case "stringData", "literals":
		return true
	case "data":
		return scalar(of, "kind") != "ConfigMap"
	case "value":
		return lookup(of, "op") != nil
	}
	return false
}

// secretValues returns the scalars of secret fields, and those in patches inside a string.
func secretValues(n *yaml.Node, depth int) []string {
	if n == nil || depth > maxDepth {
		return nil
	}
	var values []string
	for i, child := range n.Content {
		child = resolveNode(child)
		switch {
		case child == nil:
		case n.Kind == yaml.MappingNode && i%2 == 1 && isSecret(n, n.Content[i-1].Value):
			values = append(values, scalars(child, depth)...)
		case child.Kind == yaml.ScalarNode && isInline(child.Value):
			values = append(values, inlineValues(child.Value, depth)...)
		default:
			values = append(values, secretValues(child, depth+1)...)
		}
	}
	return values
}

// inlineValues looks into YAML that stands in a string, such as a patch.
func inlineValues(text string, depth int) (values []string) {
	if _, err := scan([]byte(text), false); err != nil {
		return generatorValues(text)
	}
	_ = eachDocument([]byte(text), func(doc *yaml.Node, _ int) *Error {
		values = append(values, secretValues(resolveNode(doc), depth+1)...)
		return nil
	})
	return values
}

func scalars(n *yaml.Node, depth int) []string {
	switch {
	case n == nil || depth > maxDepth:
		return nil
	case n.Kind == yaml.ScalarNode:
		values := generatorValues(n.Value)
		if plain, err := base64.StdEncoding.DecodeString(n.Value); err == nil {
			values = append(values, string(plain))
		}
		return values
	}
	var values []string
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			continue
		}
		values = append(values, scalars(resolveNode(child), depth+1)...)
	}
	return values
}
