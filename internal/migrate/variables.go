package migrate

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// substitution notes what spec.postBuild does otherwise, and where in the files.
func (c *conversion) substitution() {
	n := c.field("spec.postBuild")
	if n == nil {
		return
	}
	c.change(n, "spec.postBuild", "a variable without a value and without a default is refused; a value stays in the string that it stands in, with its line breaks")
	known, unknown := c.variables()
	for _, name := range c.below() {
		data := c.files[name]
		if bytes.Contains(data, []byte("substitute: disabled")) {
			continue
		}
		n := 0
		for line := range strings.Lines(string(data)) {
			n++
			c.lookForVariables(name, n, line, known, unknown)
		}
	}
}

var (
	bareVariable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)
	escape       = regexp.MustCompile(`\$\$([^{$]|$)`)
)

func (c *conversion) lookForVariables(file string, n int, line string, known map[string]bool, unknown bool) {
	tell := func(format string, args ...any) {
		c.changes = append(c.changes, Note{File: file, Line: n, Outcome: Changed, Object: c.title(), Field: "spec.postBuild", Text: fmt.Sprintf(format, args...)})
	}
	for _, at := range bareVariable.FindAllStringSubmatchIndex(line, -1) {
		name := line[at[2]:at[3]]
		if at[0] > 0 && line[at[0]-1] == '$' || known[name] || unknown {
			continue
		}
		tell("${%s} has no value and no default: Flux leaves the place empty, here it is refused; write ${%s:=}", name, name)
	}
	if escape.MatchString(line) {
		tell("$$ is an escape before { only: here it stays, Flux writes one $")
	}
}

// variables are those that postBuild sets. unknown says that it takes some from what is not in the repository.
func (c *conversion) variables() (known map[string]bool, unknown bool) {
	known = map[string]bool{}
	keys := func(n *yaml.Node) {
		if n == nil || n.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			known[n.Content[i].Value] = true
		}
	}
	keys(c.field("spec.postBuild.substitute"))
	for _, from := range items(c.node, "spec", "postBuild", "substituteFrom") {
		found := false
		kind, name := scalar(from, "kind"), scalar(from, "name")
		for file, data := range c.files {
			if !isYAML(file) || !bytes.Contains(data, []byte("kind: "+kind)) || !bytes.Contains(data, []byte(name)) {
				continue
			}
			docs, _ := decode(data) // what cannot be read holds nothing that is known
			for _, d := range docs {
				if scalar(d, "kind") == kind && scalar(d, "metadata", "name") == name {
					found = true
					keys(field(d, "data"))
					keys(field(d, "stringData"))
				}
			}
		}
		unknown = unknown || !found
	}
	return known, unknown
}
