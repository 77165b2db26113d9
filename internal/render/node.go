package render

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// toValue converts what kustomize made into plain values: maps with string keys, slices, strings,
// int, int64, uint64, float64, json.Number, bool and nil. Going by way of text, as kustomize's own conversion
// does, would cost as much as the build.
func toValue(n *yaml.Node) (any, *Error) {
	switch n.Kind {
	case yaml.DocumentNode:
		if len(n.Content) == 1 {
			return toValue(n.Content[0])
		}
		return nil, nil
	case yaml.MappingNode:
		return toMap(n)
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, child := range n.Content {
			v, err := toValue(child)
			if err != nil {
				return nil, err
			}
			list[i] = v
		}
		return list, nil
	case yaml.ScalarNode:
		return toScalar(n)
	default: // kustomize has replaced all aliases
		return nil, errorf(InvalidObject, "an alias is left where a value should be")
	}
}

func toMap(n *yaml.Node) (map[string]any, *Error) {
	m := make(map[string]any, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode {
			return nil, errorf(InvalidObject, "a key is not a string")
		}
		if key.ShortTag() == "!!null" { // kustomize writes it twice
			return nil, errorf(InvalidObject, "the key %s is YAML's null, and no string: put it in quotes", oneLine(key.Value))
		}
		if _, twice := m[key.Value]; twice {
			return nil, errorf(InvalidObject, "key %q is set twice", oneLine(key.Value))
		}
		v, err := toValue(n.Content[i+1])
		if err != nil {
			return nil, err
		}
		m[key.Value] = v
	}
	return m, nil
}

func toScalar(n *yaml.Node) (any, *Error) {
	switch n.ShortTag() {
	case "!!str", "!!timestamp":
		return n.Value, nil
	case "!!null":
		return nil, nil
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, errorf(InvalidObject, "a value does not fit its tag %s", n.ShortTag())
	}
	if f, ok := v.(float64); ok && isNumber(n.Value) && !exact(n.Value, f) {
		return json.Number(n.Value), nil // JSON can hold what a float64 cannot
	}
	return v, nil
}

var number = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?$`)

// isNumber reports whether a text is a number to JSON.
func isNumber(text string) bool { return number.MatchString(text) }

// exact reports whether a float64 that was read from a text is written back as the same number.
func exact(text string, f float64) bool {
	digits, exponent := decimalOf(text)
	same, as := decimalOf(strconv.FormatFloat(f, 'g', -1, 64))
	return digits == same && exponent == as
}

// decimalOf returns a number as its digits d, without zeros at the ends, and x of 0.d × 10^x.
func decimalOf(text string) (digits string, exponent int) {
	mantissa, power, _ := strings.Cut(strings.ToLower(strings.TrimPrefix(text, "-")), "e")
	exponent, _ = strconv.Atoi(power)
	whole, fraction, _ := strings.Cut(mantissa, ".")
	exponent += len(whole)
	digits = strings.TrimLeft(whole+fraction, "0")
	exponent -= len(whole+fraction) - len(digits)
	if digits = strings.TrimRight(digits, "0"); digits == "" {
		return "", 0
	}
	return digits, exponent
}
