package build

import "go.yaml.in/yaml/v3"

// toValue converts what kustomize made into plain values: maps with string keys, slices, strings,
// int, int64, uint64, float64, bool and nil. Going by way of text, as kustomize's own conversion
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
	return v, nil
}
