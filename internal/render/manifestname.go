package render

import (
	"maps"
	"strings"

	"github.com/fluxcd/pkg/envsubst/parse"

	"github.com/skerry-dev/skerry/internal/object"
)

// manifestName returns how messages name the object in place of its own name and namespace, when one of
// them has the value of a Secret in it: "${TENANT}/web", with each expression cut down to its variable.
// It is empty for any other object.
//
// A kind or version from a Secret is refused: every request and watch would name it.
func (p *part) manifestName(secret map[string]bool) (string, *Error) {
	var namespace, name string
	meta, _ := p.value["metadata"].(map[string]any)
	namespace, _ = meta["namespace"].(string)
	name, _ = meta["name"].(string)
	masked := false
	for _, f := range p.fields {
		switch f.path {
		case "kind", "apiVersion":
			if f.holdsAny(secret) {
				return "", errorf(SubstitutionFailed, "%s: what %s stands for comes from a Secret and cannot be part of it", f.path, f.variables())
			}
		case "metadata.name":
			name, masked = f.outline(), masked || f.holdsAny(secret)
		case "metadata.namespace":
			namespace, masked = f.outline(), masked || f.holdsAny(secret)
		}
	}
	for key, e := range p.keys { // "metadata: {${KEY}: …}" may become a name
		masked = masked || meta[key] != nil && e.holdsAny(secret)
	}
	switch {
	case !masked:
		return "", nil
	case namespace == "":
		return name, nil
	}
	return namespace + "/" + name, nil
}

// holdsAny reports whether the expression refers to one of the variables.
func (e *expression) holdsAny(variables map[string]bool) bool {
	names := map[string]bool{}
	e.names(names)
	for name := range names {
		if variables[name] {
			return true
		}
	}
	return false
}

// outline is the text of the expression with the names of its variables: "${DOMAIN/./-}-tls" is
// "${DOMAIN}-tls".
func (e *expression) outline() string {
	var b strings.Builder
	for _, n := range flatten(e.root) {
		switch n := n.(type) {
		case *parse.TextNode:
			b.WriteString(e.restore(n.Value))
		case *parse.FuncNode:
			b.WriteString("${" + n.Param + "}")
		}
	}
	return b.String()
}

// setManifestName sets the annotation object.ManifestNameKey, or takes it off: it is the render's own.
func setManifestName(m map[string]any, name string) {
	meta, ok := m["metadata"].(map[string]any)
	if !ok {
		return
	}
	have, _ := meta["annotations"].(map[string]any)
	if name == "" && have[object.ManifestNameKey] == nil {
		return
	}
	have = maps.Clone(have)
	if have == nil {
		have = map[string]any{}
	}
	delete(have, object.ManifestNameKey)
	if name != "" {
		have[object.ManifestNameKey] = name
	}
	meta["annotations"] = have
	if len(have) == 0 {
		delete(meta, "annotations")
	}
}
