package render

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"

	"github.com/skerry-dev/skerry/internal/tree"
)

func TestClean(t *testing.T) {
	for _, tc := range []struct {
		dir, ref, want string
		reason         Reason
	}{
		{dir: ".", ref: "a.yaml", want: "a.yaml"},
		{dir: ".", ref: "./a/../b", want: "b"},
		{dir: "x/y", ref: "../../a", want: "a"},
		{dir: "x/y", ref: "..", want: "x"},
		{dir: "x", ref: "..", want: "."},
		{dir: ".", ref: "~/a", want: "~/a"},
		{dir: ".", ref: "system:node.yaml", want: "system:node.yaml"},
		{dir: ".", ref: "./github.com/org/repo", want: "github.com/org/repo"},
		{dir: ".", ref: "@types/a.yaml", want: "@types/a.yaml"},
		{dir: ".", ref: "repo.git/_git/x", want: "repo.git/_git/x"},
		{dir: ".", ref: "", reason: InvalidKustomization},
		{dir: ".", ref: "/", reason: PathOutsideRoot},
		{dir: ".", ref: "//a", reason: PathOutsideRoot},
		{dir: ".", ref: "..", reason: PathOutsideRoot},
		{dir: "x", ref: "a/../../../b", reason: PathOutsideRoot},
		{dir: ".", ref: "http://a", reason: RemoteReference},
		{dir: ".", ref: "http:a", reason: RemoteReference},
		{dir: ".", ref: "HtTpS://a/b", reason: RemoteReference},
		{dir: ".", ref: "git@a:b", reason: RemoteReference},
		{dir: ".", ref: "me@a/b", reason: RemoteReference},
		{dir: ".", ref: "GitHub.com/a/b", reason: RemoteReference},
		{dir: ".", ref: "github.com:a/b", reason: RemoteReference},
		{dir: ".", ref: "Git::github.com/a/b", reason: RemoteReference},
		{dir: ".", ref: "git::git::ssh://a/b", reason: RemoteReference},
		{dir: ".", ref: "file:///a", reason: RemoteReference},
		{dir: ".", ref: "ssh://git@a/b", reason: RemoteReference},
	} {
		got, err := clean(tc.dir, tc.ref)
		switch {
		case err == nil && (tc.reason != "" || got != tc.want):
			t.Errorf("clean(%q, %q) = %q; want %q %s", tc.dir, tc.ref, got, tc.want, tc.reason)
		case err != nil && err.Reason != tc.reason:
			t.Errorf("clean(%q, %q): %s %v; want %q %s", tc.dir, tc.ref, err.Reason, err, tc.want, tc.reason)
		}
	}
}

// FuzzReference: kustomize itself, given a reference that is let through, reaches for nothing
// outside; and the path that it means stays in the tree.
func FuzzReference(f *testing.F) {
	for _, ref := range []string{
		"a.yaml", "../a", "./x:y", "https://a/b", "http:a", "git@a:b", "github.com/a/b", "git::https://a/b", "GIT::me@a/b/c",
		"file:///a", "ssh://a/b", "a//b.git?ref=x", " https://a/b", "\thttp://a", "org-12@github.com:a/b", "_git/a", "me@a?x", "gh:a/b",
	} {
		f.Add(ref)
	}
	outside := watchOutside(f)
	t0, err := tree.New("sha1:links", map[string]tree.File{
		"dir/in": {Data: []byte("../real"), Link: true}, "dir/out": {Data: []byte("../../x"), Link: true},
		"real/a.yaml": {}, "dir/a.yaml": {},
	})
	if err != nil {
		f.Fatal(err)
	}
	for _, ref := range []string{"http://a", "https://github.com/org/repo", "git@a:b/c", "github.com/a/b"} {
		if err := loadRaw(ref); !outside(err) {
			f.Fatalf("kustomize does not take %q for remote, so this test proves nothing: %v", ref, err)
		}
	}
	f.Fuzz(func(t *testing.T, ref string) {
		p, failed := clean("dir", ref)
		if failed != nil {
			return
		}
		if !fs.ValidPath(strings.ToValidUTF8(p, "x")) {
			t.Fatalf("%q means %q", ref, p)
		}
		if resolved, failed := follow(t0, p); failed == nil && !fs.ValidPath(strings.ToValidUTF8(resolved, "x")) {
			t.Fatalf("%q leads to %q", ref, resolved)
		}
		if err := loadRaw(ref); outside(err) {
			t.Fatalf("kustomize takes %q for remote: %v", ref, err)
		}
	})
}

// watchOutside makes every way out of the process fail, and returns what reports whether one was tried
// since the last call.
func watchOutside(tb testing.TB) (tried func(error) bool) {
	tb.Setenv("PATH", "") // no git can be found, and kustomize says so
	var fetched atomic.Bool
	transport := http.DefaultTransport
	tb.Cleanup(func() { http.DefaultTransport = transport })
	http.DefaultTransport = refuse(func() { fetched.Store(true) })
	return func(err error) bool {
		return fetched.Swap(false) || err != nil && strings.Contains(err.Error(), "'git' program")
	}
}

// loadRaw has kustomize load a reference as resource, generator and component, with nothing checked
// before.
func loadRaw(ref string) error {
	var all []error
	for _, field := range []string{"resources", "generators", "components", "crds"} {
		text, err := json.Marshal(map[string]any{field: []string{ref}})
		if err != nil {
			return err
		}
		fsys := fileSystem{files: map[string][]byte{"/dir/kustomization.yaml": text}, dirs: map[string]string{"/dir": "/dir"}}
		options := &krusty.Options{LoadRestrictions: types.LoadRestrictionsNone, PluginConfig: types.DisabledPluginConfig()}
		_, err = krusty.MakeKustomizer(options).Run(fsys, "/dir")
		all = append(all, err)
	}
	return errors.Join(append(all, errors.New("end"))...)
}

type refuse func()

func (r refuse) RoundTrip(*http.Request) (*http.Response, error) {
	r()
	return nil, errors.New("no network here")
}

// FuzzBuild: whatever a kustomization, a file and a patch hold, a build ends in objects or in a typed
// error of one line, and nothing outside of the tree is reached for.
func FuzzBuild(f *testing.F) {
	for _, seed := range [][3]string{
		{"resources: [a.yaml]\npatches: [{path: p.yaml}]\n", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: b}\n"},
		{"resources: [base, 'https://a']\nnamePrefix: x-\n", "a: &a [*a]", "- op: add\n"},
		{"generators: [p.yaml]\ntransformers: ['{apiVersion: builtin, kind: PrefixTransformer, metadata: {name: x}, prefix: y}']\n", "", "apiVersion: builtin\nkind: ConfigMapGenerator\nmetadata: {name: x}\nfiles: [a.yaml]\n"},
		{"configMapGenerator: [{name: x, files: [k=a.yaml], envs: [p.yaml], literals: [a=b]}]\nreplacements: [{path: a.yaml}]\n", "- source: {kind: A}\n", "A=b\n"},
		{"components: [../base]\nhelmCharts: [{name: x}]\nopenapi: {path: a.yaml}\n", "{}", "[]"},
		{"crds: [a.yaml]\nconfigurations: [p.yaml]\npatchesStrategicMerge: [a.yaml, '{a: b}']\n", "{}", "nameReference: []\n"},
		{"resources: [a.yaml]\nvars: [{name: A, objref: {kind: ConfigMap, name: a, apiVersion: v1}}]\ncommonLabels: {a: b}\n", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: $(A) ${x}}\n", ""},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	outside := watchOutside(f)
	f.Fuzz(func(t *testing.T, kustomization, file, patch string) {
		if len(kustomization)+len(file)+len(patch) > 1<<14 {
			return
		}
		source := repo(t, map[string]string{
			"kustomization.yaml": kustomization, "a.yaml": file, "p.yaml": patch,
			"base/kustomization.yaml": "resources: [../a.yaml]\n",
		})
		_, err := Build(t.Context(), source, Options{PostBuild: &PostBuild{Substitute: map[string]string{"x": "y"}}})
		if outside(err) {
			t.Fatalf("the build reached outside: %v", err)
		}
		if err != nil && (reasonOf(err) == "" || strings.ContainsAny(err.Error(), "\n\x1b")) {
			t.Fatalf("the error is not typed, or not one line: %q", err)
		}
	})
}
