package render

import (
	"strings"
	"testing"
)

// A key that YAML reads as null is named as such: kustomize has it twice in what it makes of the file.
func TestAKeyThatIsNullIsNamed(t *testing.T) {
	const head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata:\n"
	for data, want := range map[string]string{
		"  null: a\n":              "ConfigMap/web: the key null is YAML's null, and no string: put it in quotes",
		"  ~: a\n":                 "ConfigMap/web: the key ~ is YAML's null, and no string: put it in quotes",
		"  Null: a\n  b: c\n":      "ConfigMap/web: the key Null is YAML's null, and no string: put it in quotes",
		"  \"null\": a\n":          "",
		"  null-and-more: a\n":     "",
		"  true: a\n  1: b\n":      "",
		"  a: b\n  a: c\n":         `key "a" is already set in line 5`,
		"  null: a\n  \"null\": b": `key "null" is already set in line 5`,
	} {
		for name, files := range map[string]map[string]string{
			"alone":                  {"a.yaml": head + data},
			"under a kustomization":  {"a.yaml": head + data, "kustomization.yaml": "resources: [a.yaml]\n"},
			"with a patch beside it": {"a.yaml": head + data, "kustomization.yaml": "resources: [a.yaml]\npatches: [{patch: '{apiVersion: v1, kind: ConfigMap, metadata: {name: web, labels: {a: b}}}'}]\n"},
		} {
			_, err := Build(t.Context(), repo(t, files), Options{})
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%q %s: %v; want %q", data, name, err, want)
			}
		}
	}
}
