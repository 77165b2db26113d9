package render

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/openapi"

	"github.com/skerry-dev/skerry/internal/tree"
)

// repo returns a tree of text files, with a digest of its own.
func repo(tb testing.TB, files map[string]string) *tree.Tree {
	tb.Helper()
	entries := map[string]tree.File{}
	digest := ""
	for _, name := range slices.Sorted(maps.Keys(files)) {
		entries[name] = tree.File{Data: []byte(files[name])}
		digest += fmt.Sprintf("%q=%q,", name, files[name])
	}
	t, err := tree.New(hash("test", []byte(digest)), entries)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// busyOptions use every option.
func busyOptions() Options {
	return Options{
		Vars:            map[string]string{"cluster_name": "shop", "a": "1", "b": "2", "c": "3"},
		PostBuild:       &PostBuild{Substitute: map[string]string{"x": "${a}", "y": "z"}, SubstituteFrom: []Source{{Data: map[string]string{"d": "4", "e": "5"}}}},
		TargetNamespace: "shop",
		NamePrefix:      "p-",
		NameSuffix:      "-s",
		CommonMetadata:  CommonMetadata{Labels: map[string]string{"l1": "a", "l2": "b", "l3": "c"}, Annotations: map[string]string{"a1": "a", "a2": "b"}},
		Patches: []kustomize.Patch{{
			Patch:  "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: any\nspec:\n  template:\n    spec:\n      containers:\n        - name: web\n          env:\n            - {name: CLUSTER, value: '${cluster_name} ${x}'}\n",
			Target: &kustomize.Selector{Kind: "Deployment"},
		}},
		Images: []kustomize.Image{{Name: "ghcr.io/example/web", NewTag: "2.0.0"}},
	}
}

func TestSameInputSameBytes(t *testing.T) {
	for _, bases := range []bool{false, true} {
		var want []byte
		for i := range 20 {
			// Maps are made anew each time, and so iterate in another order.
			r, err := Build(t.Context(), workload(t, 3, bases), busyOptions())
			if err != nil {
				t.Fatal(err)
			}
			got := r.Bundle.Encode()
			if i == 0 {
				want = got
			}
			if !bytes.Equal(want, got) {
				t.Fatalf("run %d differs:\n%s", i, cmp.Diff(string(want), string(got)))
			}
			if r.Digest != r.Bundle.Digest() {
				t.Errorf("Digest = %s; want %s", r.Digest, r.Bundle.Digest())
			}
		}
		if !bytes.Contains(want, []byte(`"value":"shop 1"`)) || !bytes.Contains(want, []byte("web:2.0.0")) {
			t.Errorf("the options were not applied: %s", want)
		}
	}
}

// TestOrderOfFilesDoesNotMatter builds the same files listed in shuffled orders.
func TestOrderOfFilesDoesNotMatter(t *testing.T) {
	var want []byte
	for seed := range uint64(10) {
		files := map[string]string{}
		var names []string
		for _, name := range []string{"one", "two", "three"} {
			for file, text := range app(name) {
				files[name+"-"+file] = text
				names = append(names, name+"-"+file)
			}
		}
		slices.Sort(names)
		rand.New(rand.NewPCG(seed, 7)).Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		files["kustomization.yaml"] = "resources: [" + strings.Join(names, ", ") + "]\n"
		r, err := Build(t.Context(), repo(t, files), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if seed == 0 {
			want = r.Bundle.Encode()
		}
		if diff := cmp.Diff(string(want), string(r.Bundle.Encode())); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
	}
}

// TestBasesAreTheSameAsTheirFiles holds what makes bases fast to what kustomize makes of them.
func TestBasesAreTheSameAsTheirFiles(t *testing.T) {
	flat, err := Build(t.Context(), workload(t, 5, false), busyOptions())
	if err != nil {
		t.Fatal(err)
	}
	bases, err := Build(t.Context(), workload(t, 5, true), busyOptions())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(flat.Bundle.Encode()), string(bases.Bundle.Encode())); diff != "" {
		t.Error(diff)
	}
}

// TestBuildsAtTheSameTime shows, with -race, that builds need no lock between them: patches and
// namespaces read kustomize's process-wide schema, and a build with a schema of its own, which would
// change it, is refused before it can.
func TestBuildsAtTheSameTime(t *testing.T) {
	repos := []*tree.Tree{workload(t, 4, false), workload(t, 4, true)}
	poison := repo(t, map[string]string{
		"kustomization.yaml": "openapi: {path: schema.json}\nresources: [base]\n",
		"schema.json":        `{"definitions": {"poison": {"x-kubernetes-group-version-kind": [{"group": "apps", "kind": "Deployment", "version": "v1"}]}}}`,
	})
	want := make([]string, len(repos))
	for i, r := range repos {
		made, err := Build(t.Context(), r, busyOptions())
		if err != nil {
			t.Fatal(err)
		}
		want[i] = made.Digest
	}
	version := openapi.GetSchemaVersion()
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			made, err := Build(t.Context(), repos[i%2], busyOptions())
			if err != nil || made.Digest != want[i%2] {
				t.Errorf("build %d: %v, or another digest", i, err)
			}
		})
		all.Go(func() {
			_, err := Build(t.Context(), poison, Options{})
			if reasonOf(err) != SchemaRefused {
				t.Errorf("build with a schema: %v; want %s", err, SchemaRefused)
			}
		})
	}
	all.Wait()
	if got := openapi.GetSchemaVersion(); got != version {
		t.Errorf("the schema is %s; it was %s", got, version)
	}
}

// TestFirstBuildsAtTheSameTime begins with many builds at once in a process that has made none: kyaml
// fills its schema when first asked, which without warm is a race, and a fatal one.
func TestFirstBuildsAtTheSameTime(t *testing.T) {
	const mark = "SKERRY_TEST_FIRST_BUILDS"
	if os.Getenv(mark) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFirstBuildsAtTheSameTime$")
		cmd.Env = append(os.Environ(), mark+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	custom := repo(t, map[string]string{"w.yaml": "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: x, namespace: y}\n"})
	patched := workload(t, 1, false)
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			r, o := custom, Options{TargetNamespace: "x"}
			if i%2 == 0 {
				r, o = patched, busyOptions()
			}
			if _, err := Build(t.Context(), r, o); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func reasonOf(err error) Reason {
	if failed, ok := errors.AsType[*Error](err); ok {
		return failed.Reason
	}
	return ""
}

func TestDeadline(t *testing.T) {
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	_, err := Build(ctx, workload(t, 1, false), Options{})
	if reasonOf(err) != Timeout {
		t.Errorf("after the deadline: %v; want %s", err, Timeout)
	}
	cancelled, stop := context.WithCancel(t.Context())
	stop()
	_, err = Build(cancelled, workload(t, 1, false), Options{})
	if !errors.Is(err, context.Canceled) || reasonOf(err) != "" {
		t.Errorf("cancelled: %v; want context.Canceled", err)
	}
}

// TestSecretsStayOut breaks a build around a secret in as many ways as kustomize quotes one.
func TestSecretsStayOut(t *testing.T) {
	const value = "hunter2secret"
	secret := "apiVersion: v1\nkind: Secret\nmetadata:\n  name: login\n  namespace: a\nstringData:\n  password: " + value + "\n"
	for name, files := range map[string]map[string]string{
		"literal without a key":      {"kustomization.yaml": "secretGenerator: [{name: x, literals: [" + value + "]}]\n"},
		"literal twice":              {"kustomization.yaml": "secretGenerator: [{name: x, literals: ['a=" + value + "', 'a=" + value + "']}]\n"},
		"env file with bad bytes":    {"kustomization.yaml": "secretGenerator: [{name: x, envs: [e]}]\n", "e": "a=" + value + "\xff\n"},
		"merge into nothing":         {"kustomization.yaml": "secretGenerator: [{name: x, behavior: merge, literals: ['a=" + value + "']}]\n"},
		"no name":                    {"kustomization.yaml": "secretGenerator: [{literals: ['a=" + value + "']}]\n"},
		"labels that are none":       {"kustomization.yaml": "labels: [{pairs: {a: b}}]\nresources: [s.yaml]\n", "s.yaml": strings.Replace(secret, "  namespace: a\n", "  labels: ["+value+"]\n", 1)},
		"same after the namespace":   {"kustomization.yaml": "namespace: b\nresources: [s.yaml]\n", "s.yaml": secret + "---\n" + strings.Replace(secret, "namespace: a", "namespace: c", 1)},
		"patch of another shape":     {"kustomization.yaml": "resources: [s.yaml]\npatches: [{patch: '{apiVersion: v1, kind: Secret, metadata: {name: login, namespace: a}, stringData: [" + value + "]}'}]\n", "s.yaml": secret},
		"patch and path":             {"kustomization.yaml": "resources: [s.yaml]\npatches: [{path: s.yaml, patch: '{stringData: {a: " + value + "}}'}]\n", "s.yaml": secret},
		"patch that is none":         {"kustomization.yaml": "resources: [s.yaml]\npatches: [{patch: '[" + value + "]'}]\n", "s.yaml": secret},
		"JSON patch without target":  {"kustomization.yaml": "resources: [s.yaml]\npatches: [{patch: '[{op: add, path: /data, value: " + value + "}]'}]\n", "s.yaml": secret},
		"JSON patch that tests":      {"kustomization.yaml": "resources: [s.yaml]\npatches: [{target: {kind: Secret}, patch: '[{op: test, path: /stringData/password, value: no" + value + "}]'}]\n", "s.yaml": secret},
		"two patches in one":         {"kustomization.yaml": "resources: [s.yaml]\npatches:\n- target: {kind: Secret}\n  patch: |\n    " + strings.ReplaceAll(secret+"---\n"+secret, "\n", "\n    ") + "\n", "s.yaml": secret},
		"replacement into a secret":  {"kustomization.yaml": "resources: [s.yaml]\nreplacements: [{source: {kind: Secret, fieldPath: stringData.password}, targets: [{select: {kind: Secret}, fieldPaths: [stringData.password.x.y]}]}]\n", "s.yaml": secret},
		"no kind":                    {"s.yaml": strings.Replace(secret, "kind: Secret\n", "", 1)},
		"no name in the object":      {"s.yaml": strings.Replace(secret, "  name: login\n", "", 1)},
		"key twice":                  {"s.yaml": secret + "  password: " + value + "\n"},
		"does not parse":             {"s.yaml": secret + " password: " + value + "\n"},
		"tag that does not fit":      {"s.yaml": secret + "  pin: !!int " + value + "\n"},
		"number in stringData":       {"s.yaml": strings.Replace(secret, value, "4711", 1)},
		"data that is none":          {"s.yaml": secret + "data: " + value + "\n"},
		"transformer of another one": {"kustomization.yaml": "resources: [s.yaml]\ntransformers:\n- |\n  apiVersion: builtin\n  kind: SecretGenerator\n  metadata: {name: x}\n  literals: ['a=" + value + "']\n", "s.yaml": secret},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Build(t.Context(), repo(t, files), Options{})
			var failed *Error
			if !errors.As(err, &failed) {
				t.Fatalf("Build: %v; want an *Error", err)
			}
			if text := failed.Error(); strings.Contains(text, value) || strings.Contains(text, "4711") || strings.Contains(text, "\n") || strings.Contains(text, "0x") || len(text) > 400 {
				t.Errorf("the message is no good: %s", text)
			}
			_, again := Build(t.Context(), repo(t, files), Options{})
			if diff := cmp.Diff(err.Error(), again.Error()); diff != "" {
				t.Errorf("the same failure has another message: %s", diff)
			}
		})
	}
}

// TestEncodeKeepsTheKustomization holds that what options are written into is otherwise what it was.
func TestEncodeKeepsTheKustomization(t *testing.T) {
	var want types.Kustomization
	err := want.Unmarshal([]byte(`
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
metadata: {name: x, annotations: {a: b}}
namePrefix: a-
nameSuffix: -b
namespace: ns
resources: [a.yaml]
components: [c]
crds: [d.yaml]
configurations: [e.yaml]
commonLabels: {a: b}
labels: [{pairs: {c: d}, includeSelectors: true, includeTemplates: true, fields: [{path: spec/x, create: true, kind: X}]}]
commonAnnotations: {a: b}
patches: [{path: p.yaml, target: {kind: X, name: why, labelSelector: a=b}, options: {allowNameChange: true}}, {patch: "- op: add"}]
patchesStrategicMerge: [s.yaml]
patchesJson6902: [{path: j.yaml, target: {version: v1, kind: X, name: why}}]
images: [{name: i, newName: j, newTag: "1", digest: d}]
replacements:
- path: r.yaml
- source: {kind: X, name: why, fieldPath: a.b, options: {delimiter: /, index: 1}}
  targets: [{select: {kind: Z}, reject: [{name: w}], fieldPaths: [c.d], options: {create: true}}]
replicas: [{name: x, count: 3}]
vars: [{name: V, objref: {kind: X, name: why, apiVersion: v1}, fieldref: {fieldpath: a.b}}]
sortOptions: {order: legacy, legacySortOptions: {orderFirst: [A], orderLast: [B]}}
configMapGenerator: [{name: c, namespace: ns, behavior: merge, files: [f], envs: [e], literals: [a=b], options: {labels: {a: b}, immutable: true}}]
secretGenerator: [{name: s, type: Opaque, literals: [a=b]}]
generatorOptions: {disableNameSuffixHash: true, annotations: {a: b}}
generators: [g.yaml]
transformers: [t.yaml]
validators: [v.yaml]
buildMetadata: [originAnnotations]
`))
	if err != nil {
		t.Fatal(err)
	}
	want.FixKustomization()
	data, failed := encode(want)
	if failed != nil {
		t.Fatal(failed)
	}
	var got types.Kustomization
	if err := got.Unmarshal(data); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(want, got) {
		t.Errorf("the kustomization became %s", data)
	}
}

// TestEveryFieldIsKnown fails when kustomize gets a field that nobody has looked at. A field is
// either followed, in fields.go and weighed here, or refers to no file.
func TestEveryFieldIsKnown(t *testing.T) {
	followed := []string{
		"Resources", "Bases", "Components", "Crds", "Configurations",
		"Patches", "PatchesStrategicMerge", "PatchesJson6902", "Replacements",
		"ConfigMapGenerator", "SecretGenerator", "Generators", "Transformers", "Validators",
	}
	refused := []string{"OpenAPI", "HelmGlobals", "HelmCharts", "HelmChartInflationGenerator"}
	harmless := []string{
		"TypeMeta", "MetaData", "NamePrefix", "NameSuffix", "Namespace", "CommonLabels", "Labels", "CommonAnnotations",
		"Images", "ImageTags", "Replicas", "Vars", "SortOptions", "GeneratorOptions", "BuildMetadata",
	}
	known := slices.Sorted(slices.Values(slices.Concat(followed, refused, harmless)))
	var got []string
	for field := range reflect.TypeFor[types.Kustomization]().Fields() {
		got = append(got, field.Name)
	}
	slices.Sort(got)
	if diff := cmp.Diff(known, got); diff != "" {
		t.Error(diff)
	}
	for _, sources := range []any{types.KvPairSources{}, types.ConfigMapArgs{}, types.SecretArgs{}, types.ReplacementField{}, types.Patch{}} {
		for field := range reflect.TypeOf(sources).Fields() {
			if !slices.Contains([]string{
				"LiteralSources", "FileSources", "EnvSources", "EnvSource", "GeneratorArgs", "Type",
				"Replacement", "Path", "Patch", "Target", "Options",
			}, field.Name) {
				t.Errorf("%T has a field %s", sources, field.Name)
			}
		}
	}
}
