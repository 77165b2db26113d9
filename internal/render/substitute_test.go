package render

import (
	"errors"
	"strings"
	"testing"
)

// TestValuesOfVariablesStayOutOfErrors puts a value where it makes an object that is refused.
func TestValuesOfVariablesStayOutOfErrors(t *testing.T) {
	const value = "hunter2/secret %"
	object := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web, namespace: apps}\n"
	for name, manifest := range map[string]string{
		"apiVersion":    strings.Replace(object, "v1", "${v}", 1),
		"no group":      strings.Replace(object, "v1", "/${v}", 1),
		"kind":          strings.Replace(object, "ConfigMap", "${v}", 1),
		"name":          strings.Replace(object, "name: web", `name: "x-${v}"`, 1),
		"namespace":     strings.Replace(object, "namespace: apps", `namespace: "${v}"`, 1),
		"same name":     strings.Replace(object, "name: web", `name: "${ok}"`, 1) + "---\n" + strings.Replace(object, "name: web", `name: "${same}"`, 1),
		"same key":      object + "data:\n  ${v}: a\n  ${also}: b\n",
		"integer":       "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: ${v}\n",
		"boolean":       "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  paused: ${v}\n",
		"list":          "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  strategy: ${v}\n",
		"labels":        "apiVersion: v1\nkind: Widget\nmetadata:\n  name: web\n  labels: ${list}\n",
		"number":        "apiVersion: v1\nkind: Widget\nmetadata:\n  name: web\n  labels: ${map}\n",
		"expression":    object + "data:\n  a: ${v/${v}\n",
		"unsupported":   object + "data:\n  a: ${v:?" + value + "}\n",
		"too large":     object + "data:\n  a: ${large}${large}${large}${large}\n",
		"without value": object + "data:\n  a: ${v} ${nothing}\n",
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{PostBuild: &PostBuild{SubstituteFrom: []Source{{Data: map[string]string{
				"v": value, "also": value, "ok": "hunter2secret", "same": "hunter2secret", "list": "[hunter2secret]", "map": "{a: 4711}", "large": strings.Repeat("hunter2secret", 1<<16),
			}, Secret: true}}}}
			_, err := Build(t.Context(), repo(t, map[string]string{"web.yaml": manifest}), o)
			failed := new(Error)
			if !errors.As(err, &failed) {
				t.Fatalf("Build: %v; want an *Error", err)
			}
			if text := failed.Error(); strings.Contains(text, "hunter2") || strings.Contains(text, "4711") || failed.Path != "web.yaml" {
				t.Errorf("the message is not right: %s", text)
			}
		})
	}
}

// TestVariablesAreBoundedInSum: each object may grow to what an API server takes, all of them may not.
func TestVariablesAreBoundedInSum(t *testing.T) {
	one := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web-N}\ndata: {a: \"${v}\"}\n---\n"
	var all strings.Builder
	for i := range 100 {
		all.WriteString(strings.Replace(one, "N", strings.Repeat("n", i+1), 1))
	}
	o := Options{PostBuild: &PostBuild{Substitute: map[string]string{"v": strings.Repeat("x", 1<<20)}}}
	if _, err := Build(t.Context(), repo(t, map[string]string{"a.yaml": all.String()}), o); reasonOf(err) != TooLarge {
		t.Errorf("Build: %v; want %s", err, TooLarge)
	}
}
