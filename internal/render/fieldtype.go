package render

import (
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/kyaml/openapi"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"
)

// fieldType is what a scalar with variables may become.
type fieldType byte

const (
	// typeText is a string, exactly: the manifest quotes it, or writes it as a block.
	typeText fieldType = 's'
	// typeString is an unquoted scalar in a field that the schema of Kubernetes types as a string.
	typeString fieldType = 't'
	// typeEntry is the same in a map of strings, which cannot hold null.
	typeEntry fieldType = 'm'
	// typeAny is an unquoted scalar in a field whose type is not known.
	typeAny fieldType = 'a'
	// typeInteger, typeNumber, typeBoolean, typeIntOrString and typeCollection are fields that the
	// schema types so, quoted or not: a string there would be refused by every API server.
	typeInteger     fieldType = 'i'
	typeNumber      fieldType = 'n'
	typeBoolean     fieldType = 'b'
	typeIntOrString fieldType = 'o'
	typeCollection  fieldType = 'c'
)

// fieldTypes returns the types of all strings with variables of an object, in the order in which
// eachString visits them.
func fieldTypes(root *yaml.Node, restored origins) []byte {
	f := typer{origins: restored}
	f.visit(root, schemaOf(root), "", "", 0)
	return f.types
}

func schemaOf(root *yaml.Node) *openapi.ResourceSchema {
	return openapi.SchemaForResourceType(kyaml.TypeMeta{APIVersion: scalar(root, "apiVersion"), Kind: scalar(root, "kind")})
}

type typer struct {
	origins origins
	types   []byte
}

// visit goes through an object and its schema. key is that of the node, and parent that above it.
func (f *typer) visit(n *yaml.Node, schema *openapi.ResourceSchema, key, parent string, depth int) {
	switch n.Kind {
	case yaml.MappingNode:
		at := make(map[string]*yaml.Node, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			at[n.Content[i].Value] = n.Content[i+1]
		}
		for _, k := range slices.Sorted(maps.Keys(at)) {
			f.visit(at[k], property(schema, k), k, key, depth+1)
		}
	case yaml.SequenceNode:
		for _, child := range n.Content {
			f.visit(child, element(schema), key, parent, depth+1)
		}
	case yaml.ScalarNode:
		if n.ShortTag() == "!!str" && hasReference(n.Value) {
			quoted := n.Style != 0 || f.origins.isQuoted(key, n.Value)
			f.types = append(f.types, byte(typeOf(schema, quoted, key, parent, depth)))
		}
	default: // kustomize has replaced all aliases
	}
}

func property(s *openapi.ResourceSchema, key string) *openapi.ResourceSchema {
	if s == nil || s.Schema == nil {
		return nil
	}
	return s.Field(key)
}

func element(s *openapi.ResourceSchema) *openapi.ResourceSchema {
	if s == nil || s.Schema == nil {
		return nil
	}
	return s.Elements()
}

// stringMaps are the fields that are a map of strings in every kind that has them.
var stringMaps = []string{"labels", "annotations", "matchLabels", "nodeSelector"}

func typeOf(schema *openapi.ResourceSchema, quoted bool, key, parent string, depth int) fieldType {
	declared, format := "", ""
	if schema != nil && schema.Schema != nil && len(schema.Schema.Type) == 1 {
		declared, format = schema.Schema.Type[0], schema.Schema.Format
	}
	switch {
	case format == "int-or-string":
		return typeIntOrString
	case declared == "integer":
		return typeInteger
	case declared == "number":
		return typeNumber
	case declared == "boolean":
		return typeBoolean
	case declared == "array" || declared == "object" && !quoted:
		return typeCollection
	case quoted:
		return typeText
	case slices.Contains(stringMaps, parent):
		return typeEntry
	case declared == "string" && slices.Contains([]string{"data", "stringData", "binaryData"}, parent):
		return typeEntry
	case declared == "string", depth == 1 && (key == "apiVersion" || key == "kind"), depth == 2 && parent == "metadata" && (key == "name" || key == "namespace"):
		return typeString
	}
	return typeAny
}

// eachString calls f for each string with variables in the values of an object, in order, and puts
// what it returns in its place. Keys are in order too, and left to renameKeys.
func eachString(v any, f func(path []string, s string) (any, *Error)) (any, *Error) {
	return visitStrings(v, nil, f)
}

func visitStrings(v any, path []string, f func(path []string, s string) (any, *Error)) (_ any, err *Error) {
	switch v := v.(type) {
	case string:
		if hasReference(v) {
			return f(path, v)
		}
	case []any:
		list := make([]any, len(v))
		for i := range v {
			if list[i], err = visitStrings(v[i], append(path, indexOf(i)), f); err != nil {
				return nil, err
			}
		}
		return list, nil
	case map[string]any:
		m := make(map[string]any, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if m[key], err = visitStrings(v[key], append(path, key), f); err != nil {
				return nil, err
			}
		}
		return m, nil
	}
	return v, nil
}
