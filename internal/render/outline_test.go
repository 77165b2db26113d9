package render

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/object"
)

func TestOutlinesNameWhatADirectoryMayGive(t *testing.T) {
	const encrypted = "apiVersion: v1\nkind: Secret\nmetadata: {name: login}\nstringData: {password: \"ENC[AES256_GCM,data:YQ==,iv:YQ==,tag:YQ==,type:str]\"}\nsops: {mac: \"ENC[AES256_GCM,data:YQ==,iv:YQ==,tag:YQ==,type:str]\", age: []}\n"
	files := map[string]string{
		"kustomization.yaml": "namePrefix: shop-\nresources: [a.yaml, login.yaml]\nconfigMapGenerator: [{name: made, literals: [a=1]}]\n",
		"login.yaml":         encrypted,
		"a.yaml": `{apiVersion: v1, kind: ConfigMap, metadata: {name: plain}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: "x-${a}-${b}-y"}}
---
{apiVersion: "${g}/v1", kind: "${k}", metadata: {name: any}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: "web-${tenant:=acme}"}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: literal, annotations: {a: "$${a}"}}}
`,
	}
	got, err := NewCache(0).Outlines(t.Context(), repo(t, files), Options{PostBuild: &PostBuild{}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[Outline]bool{
		{"", "ConfigMap", "shop-plain"}: true, {"", "ConfigMap", "shop-x-*-y"}: true, {"*", "*", "shop-any"}: true, {"apps", "Deployment", "shop-web-*"}: true,
		{"", "ConfigMap", "shop-literal"}: true, {"", "ConfigMap", "shop-made-*"}: true, {"", "Secret", "shop-login"}: true,
	}
	have := map[Outline]bool{}
	for _, l := range got {
		have[l] = true
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Error(diff)
	}
}

func TestOutlinesOfWhatCannotBeBuiltAreNotKnown(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"broken":  {"a.yaml": "a: ["},
		"no path": {"other/a.yaml": "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}"},
	} {
		if got, err := NewCache(0).Outlines(t.Context(), repo(t, files), Options{Path: "apps"}); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestOutlineMatches(t *testing.T) {
	id := object.ID{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web-acme-1"}
	for outline, want := range map[Outline]bool{
		{"apps", "Deployment", "web-acme-1"}:          true,
		{"apps", "Deployment", "web-*"}:               true,
		{"apps", "Deployment", "web-*-1"}:             true,
		{"apps", "Deployment", "web-*-2"}:             false,
		{"apps", "Deployment", "web-acme-1*acme-1"}:   false, // the two ends would overlap
		{"apps", "Deployment", "*"}:                   true,
		{"*", "*", "web-acme-1"}:                      true,
		{"", "Deployment", "web-acme-1"}:              false,
		{"apps", "StatefulSet", "*"}:                  false,
		{"apps", "Deployment", "web"}:                 false,
		{"apps", "Deployment", "web-*-made-*-1"}:      true, // all between the first and the last
		{"apps", "Deployment", "web-*-made-*-more-*"}: true,
	} {
		if got := outline.Matches(id); got != want {
			t.Errorf("%v matches %s: %t", outline, id, got)
		}
	}
}
