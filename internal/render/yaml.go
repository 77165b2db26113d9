package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"
)

// MarshalYAML writes a decoded object as YAML for people to read, with sorted keys. Numbers are to be
// json.Number: they are written as they are, where a float64 would round them.
func MarshalYAML(v any) ([]byte, error) {
	node, err := nodeOf(v)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	e.CompactSeqIndent()
	if err := e.Encode(node); err != nil {
		return nil, fmt.Errorf("cannot encode as yaml: %w", err)
	}
	return b.Bytes(), nil
}

func nodeOf(v any) (*yaml.Node, error) {
	switch v := v.(type) {
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: v.String()}, nil
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		if len(v) == 0 {
			n.Style = yaml.FlowStyle
		}
		for _, item := range v {
			child, err := nodeOf(item)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		return n, nil
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode}
		if len(v) == 0 {
			n.Style = yaml.FlowStyle
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			key, err := nodeOf(name)
			if err != nil {
				return nil, err
			}
			value, err := nodeOf(v[name])
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, key, value)
		}
		return n, nil
	}
	n := &yaml.Node{}
	if err := n.Encode(v); err != nil {
		return nil, fmt.Errorf("cannot encode as yaml: %w", err)
	}
	return n, nil
}
