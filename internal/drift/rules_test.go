package drift

import (
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
)

func parse(t *testing.T, text string) object.Object {
	t.Helper()
	m := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	o, err := object.FromMap(m)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func fields(t *testing.T, text string) *fieldpath.Set {
	t.Helper()
	set := &fieldpath.Set{}
	if err := set.FromJSON(strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	return set
}

func compiled(t *testing.T, rules ...v1alpha1.IgnoreRule) *Rules {
	t.Helper()
	r, err := Compile(rules)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
  labels: {app: web, skerry.dev/owner: me}
  annotations: {team: island, a/b: c}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: side, image: "side:1"}
      - name: web
        image: "web:1"
        args: [a, b]
        ports: [{containerPort: 80}, {containerPort: 443, name: tls}]
        resources: {limits: {cpu: "1", memory: 1Gi}}
`

// TestTargetsSelectAsInFlux: group, version, kind, name and namespace are whole-word patterns, labels and
// annotations are selectors, and a rule without a target is for every object.
func TestTargetsSelectAsInFlux(t *testing.T) {
	o := parse(t, deployment)
	for _, tc := range []struct {
		target *kustomize.Selector
		is     bool
	}{
		{nil, true},
		{&kustomize.Selector{}, true},
		{&kustomize.Selector{Kind: "Deployment"}, true},
		{&kustomize.Selector{Kind: "Deploy"}, false},
		{&kustomize.Selector{Kind: "StatefulSet|Deployment"}, true},
		{&kustomize.Selector{Kind: "(StatefulSet|Deployment)"}, true},
		{&kustomize.Selector{Group: "apps", Version: "v1"}, true},
		{&kustomize.Selector{Group: "apps", Version: "v1beta1"}, false},
		{&kustomize.Selector{Name: "we.*"}, true},
		{&kustomize.Selector{Name: "eb"}, false},
		{&kustomize.Selector{Namespace: "shop"}, true},
		{&kustomize.Selector{Namespace: "shop2?"}, true},
		{&kustomize.Selector{Namespace: "depot"}, false},
		{&kustomize.Selector{LabelSelector: "app in (web,api)"}, true},
		{&kustomize.Selector{LabelSelector: "app!=web"}, false},
		{&kustomize.Selector{AnnotationSelector: "team=island", Kind: "Deployment"}, true},
		{&kustomize.Selector{AnnotationSelector: "team=island", Kind: "Job"}, false},
	} {
		got := compiled(t, v1alpha1.IgnoreRule{Paths: []string{"/spec/replicas"}, Target: tc.target}).For(&o)
		if (got != nil) != tc.is {
			t.Errorf("%+v: selected is %v", tc.target, got != nil)
		}
	}
}

func TestRulesThatCannotBeFollowedAreNamed(t *testing.T) {
	for want, r := range map[string]v1alpha1.IgnoreRule{
		"does not begin with a slash":            {Paths: []string{"spec/replicas"}},
		"skerry.dev/ssa: Ignore":                 {Paths: []string{""}},
		"has an empty part":                      {Paths: []string{"/spec//replicas"}},
		"part of the object's identity":          {Paths: []string{"/metadata/name"}},
		"target.kind is no regular expression":   {Paths: []string{"/spec"}, Target: &kustomize.Selector{Kind: "("}},
		"target.labelSelector is no selector":    {Paths: []string{"/spec"}, Target: &kustomize.Selector{LabelSelector: "a in b"}},
		"paths is empty":                         {},
		"use fewer rules, or shorter ones":       {Paths: []string{"/spec/" + strings.Repeat("x", MaxRules)}},
		"target.annotationSelector is no select": {Paths: []string{"/spec"}, Target: &kustomize.Selector{AnnotationSelector: "!!"}},
	} {
		if _, err := Compile([]v1alpha1.IgnoreRule{r}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// TestWithout leaves out what others own, and nothing else.
func TestWithout(t *testing.T) {
	o := parse(t, deployment)
	const containers = `{"f:spec":{"f:template":{"f:spec":{"f:containers":`
	for name, tc := range map[string]struct {
		paths  []string
		others string // managed fields of other managers
		gone   string // of the manifest, as an edit of its text: "from -> to"
	}{
		"nothing is theirs":  {[]string{"/spec/replicas"}, `{"f:spec":{"f:selector":{}}}`, ""},
		"replicas":           {[]string{"/spec/replicas"}, `{"f:spec":{"f:replicas":{}}}`, "  replicas: 2\n -> "},
		"a key with a slash": {[]string{"/metadata/annotations/a~1b"}, `{"f:metadata":{"f:annotations":{"f:a/b":{}}}}`, ", a/b: c -> "},
		"what is theirs of all annotations": {[]string{"/metadata/annotations"},
			`{"f:metadata":{"f:annotations":{".":{},"f:deployment.kubernetes.io/revision":{},"f:team":{}}}}`, "team: island,  -> "},
		"the owner label is never left out": {[]string{"/metadata/labels"},
			`{"f:metadata":{"f:labels":{"f:app":{},"f:skerry.dev/owner":{}}}}`, "app: web, skerry -> skerry"},
		"an entry of a list by its place in Git": {[]string{"/spec/template/spec/containers/1/resources"},
			containers + `{"k:{\"name\":\"side\"}":{"f:resources":{}},"k:{\"name\":\"web\"}":{".":{},"f:image":{},"f:resources":{"f:limits":{"f:cpu":{}}}}}}}}}`, `cpu: "1",  -> `},
		"what is empty then goes as well": {[]string{"/spec/template/spec/containers/1/resources"},
			containers + `{"k:{\"name\":\"web\"}":{"f:resources":{"f:limits":{"f:cpu":{},"f:memory":{}}}}}}}}}`, "        resources: {limits: {cpu: \"1\", memory: 1Gi}}\n -> "},
		"the key of an entry stays": {[]string{"/spec/template/spec/containers/1"},
			containers + `{"k:{\"name\":\"web\"}":{".":{},"f:name":{},"f:image":{}}}}}}}`, "        image: \"web:1\"\n -> "},
		"an entry with a key of two fields": {[]string{"/spec/template/spec/containers/1/ports/1/name"},
			containers + `{"k:{\"name\":\"web\"}":{"f:ports":{"k:{\"containerPort\":443,\"protocol\":\"TCP\"}":{"f:name":{}}}}}}}}}`, ", name: tls -> "},
		"a list that is one field": {[]string{"/spec/template/spec/containers/1/args"},
			containers + `{"k:{\"name\":\"web\"}":{"f:args":{}}}}}}}`, "        args: [a, b]\n -> "},
		"an entry that Git does not have": {[]string{"/spec/template/spec/containers/7/image"},
			containers + `{"k:{\"name\":\"web\"}":{"f:image":{}}}}}}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			is := compiled(t, v1alpha1.IgnoreRule{Paths: tc.paths}).For(&o)
			theirs := fieldpath.NewSet()
			if is != nil {
				_, theirs = is.Split(fields(t, tc.others))
			}
			raw, err := theirs.ToJSON()
			if err != nil {
				t.Fatal(err)
			}
			want := deployment
			if from, to, ok := strings.Cut(tc.gone, " -> "); ok {
				if want = strings.Replace(deployment, from, to, 1); want == deployment {
					t.Fatalf("%q is not in the manifest", from)
				}
			}
			got := Without(o, string(raw))
			if diff := cmp.Diff(string(parse(t, want).Body), string(got.Body)); diff != "" {
				t.Error(diff)
			}
			if got.Digest != o.Digest {
				t.Error("the digest is that of what Git wants")
			}
		})
	}
}

// TestAnotherRuleIsAChange: an object is applied anew when its rules change, and no other is.
func TestAnotherRuleIsAChange(t *testing.T) {
	o := parse(t, deployment)
	rule := func(paths ...string) v1alpha1.IgnoreRule {
		return v1alpha1.IgnoreRule{Paths: paths, Target: &kustomize.Selector{Kind: "Deployment"}}
	}
	digest := func(rules ...v1alpha1.IgnoreRule) string {
		out, _ := compiled(t, rules...).Apply([]object.Object{o})
		return out[0].Digest
	}
	if digest() != o.Digest || digest(v1alpha1.IgnoreRule{Paths: []string{"/x"}, Target: &kustomize.Selector{Kind: "Job"}}) != o.Digest {
		t.Error("a rule that is not for an object changes it")
	}
	if digest(rule("/spec/replicas")) == o.Digest || digest(rule("/spec/replicas")) == digest(rule("/spec/replicas", "/spec/paused")) {
		t.Error("a rule makes no difference")
	}
	once := digest(rule("/spec/replicas"))
	if again := digest(rule("/spec/replicas")); again != once {
		t.Error("the same rule makes a difference")
	}
}

// TestLost names what a manifest has and its manager does not own any more.
func TestLost(t *testing.T) {
	o := parse(t, deployment)
	const all = `{"f:metadata":{"f:annotations":{"f:a/b":{},"f:team":{}},"f:labels":{"f:app":{},"f:skerry.dev/owner":{}}},
		"f:spec":{"f:replicas":{},"f:selector":{},"f:template":{"f:metadata":{"f:labels":{"f:app":{}}},"f:spec":{"f:containers":{
		"k:{\"name\":\"side\"}":{".":{},"f:image":{},"f:name":{}},
		"k:{\"name\":\"web\"}":{".":{},"f:args":{},"f:image":{},"f:name":{},
			"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}},"k:{\"containerPort\":443,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:name":{}}},
			"f:resources":{"f:limits":{"f:cpu":{},"f:memory":{}}}}}}}}}`
	for name, tc := range map[string]struct{ from, to, want string }{
		"nothing":            {"", "", ""},
		"a number":           {`"f:replicas":{},`, "", ".spec.replicas"},
		"a map that is one":  {`"f:selector":{},`, "", ".spec.selector.matchLabels.app"},
		"an annotation":      {`"f:team":{}`, `"f:z":{}`, ".metadata.annotations.team"},
		"a list that is one": {`"f:args":{},`, "", `.spec.template.spec.containers[name="web"].args`},
		"of an entry":        {`"f:cpu":{},`, "", `.spec.template.spec.containers[name="web"].resources.limits.cpu`},
		"an entry":           {`"k:{\"name\":\"side\"}":{".":{},"f:image":{},"f:name":{}},`, "", ".spec.template.spec.containers"},
	} {
		set := strings.Replace(all, tc.from, tc.to, 1)
		if tc.from != "" && set == all {
			t.Fatalf("%s: not in the fields", name)
		}
		var got []string
		for _, p := range Lost(o, fields(t, set), nil) {
			got = append(got, p.String())
		}
		if diff := cmp.Diff(tc.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	is := compiled(t, v1alpha1.IgnoreRule{Paths: []string{"/spec/replicas"}}).For(&o)
	if got := Lost(o, fields(t, strings.Replace(all, `"f:replicas":{},`, "", 1)), is); len(got) > 0 {
		t.Errorf("an ignored field is lost: %v", got)
	}
}
