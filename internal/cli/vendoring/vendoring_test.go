package vendoring

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
	"github.com/skerry-dev/skerry/internal/tree"
)

// TestReferencesAreReadAsKustomizeReadsThem, with references of real repositories.
func TestReferencesAreReadAsKustomizeReadsThem(t *testing.T) {
	for ref, want := range map[string]reference{
		"https://raw.githubusercontent.com/org/repo/v1/deploy/x.yaml":                        {File: "https://raw.githubusercontent.com/org/repo/v1/deploy/x.yaml"},
		"https://github.com/cert-manager/cert-manager/releases/download/v1/crds.yaml":        {File: "https://github.com/cert-manager/cert-manager/releases/download/v1/crds.yaml"},
		"https://github.com/kubernetes-csi/external-snapshotter/client/config/crd/":          {Repository: "https://github.com/kubernetes-csi/external-snapshotter", Path: "client/config/crd"},
		"https://github.com/kubernetes-csi/external-snapshotter//client/config/crd?ref=v8.0": {Repository: "https://github.com/kubernetes-csi/external-snapshotter", Path: "client/config/crd", Ref: "v8.0"},
		"github.com/org/repo/deploy?ref=v1":                                                  {Repository: "https://github.com/org/repo", Path: "deploy", Ref: "v1"},
		"github.com/org/repo":                                                                {Repository: "https://github.com/org/repo"},
		"github.com:org/repo.git//a/b":                                                       {Repository: "https://github.com/org/repo.git", Path: "a/b"},
		"git@github.com:org/repo.git/deploy?ref=main":                                        {Repository: "https://github.com/org/repo.git", Path: "deploy", Ref: "main"},
		"ssh://git@example.com/org/repo.git//deploy?version=v2":                              {Repository: "https://example.com/org/repo.git", Path: "deploy", Ref: "v2"},
		"git::https://example.com/org/repo.git?ref=v1":                                       {Repository: "https://example.com/org/repo.git", Ref: "v1"},
		"https://dev.azure.com/org/project/_git/repo/deploy?ref=v1":                          {Repository: "https://dev.azure.com/org/project/_git/repo", Path: "deploy", Ref: "v1"},
		"https://example.com/manifests":                                                      {File: "https://example.com/manifests"},
		"HTTPS://example.com/x.yaml":                                                         {File: "https://example.com/x.yaml"},
		"https://github.com/org/repo/a/../../../etc?ref=x":                                   {Repository: "https://github.com/org/repo", Path: "etc", Ref: "x"},
	} {
		got, err := parse(ref, false)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", ref, err, diff)
		}
	}
	for _, ref := range []string{"oci://example.com/x", "file:///etc", "https://token@github.com/org/repo", "https://u:p@example.com/x.yaml", "https://example.com", "ssh:"} {
		if got, err := parse(ref, false); err == nil || strings.Contains(err.Error(), "token") {
			t.Errorf("%s: %+v, %v", ref, got, err)
		}
	}
	if got, _ := parse("https://github.com/org/repo/raw/main/dashboard", true); got.File == "" {
		t.Errorf("a generator's file is taken for %+v", got)
	}
}

// TestRemoteReferencesBecomeCopies, in every field that may name one, and nothing else of the file changes.
func TestRemoteReferencesBecomeCopies(t *testing.T) {
	commit := strings.Repeat("a", 40)
	base, err := tree.New("base", map[string]tree.File{
		"deploy/kustomization.yaml": {Data: []byte("resources: [a.yaml, ../common]\n")},
		"deploy/a.yaml":             {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")},
		"common/kustomization.yaml": {Data: []byte("resources:\n- https://example.com/nested.yaml\n")},
		"README":                    {Data: []byte("not needed")},
	})
	if err != nil {
		t.Fatal(err)
	}
	fetch := Fetch{
		File: func(_ context.Context, url string) ([]byte, error) {
			if strings.Contains(url, "missing") {
				return nil, errors.New("the server answers 404 Not Found")
			}
			return []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + strings.TrimSuffix(url[strings.LastIndex(url, "/")+1:], ".yaml") + "}\n"), nil
		},
		Repository: func(context.Context, string, string) (*tree.Tree, string, error) { return base, commit, nil },
	}
	const before = `# keep me
resources:
- local.yaml
- https://example.com/x.yaml   # pinned
- "github.com/org/repo//deploy?ref=v1"
patches:
  - path: https://example.com/p.yaml
    target: {kind: Deployment}
configMapGenerator:
- name: dashboards
  files:
  - board.json=https://example.com/board
`
	const after = `# keep me
resources:
- local.yaml
- vendored/example.com/x.yaml   # pinned
- "vendored/github.com/org/repo@aaaaaaaaaaaa/deploy" # https://github.com/org/repo v1 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
patches:
  - path: vendored/example.com/p.yaml # https://example.com/p.yaml
    target: {kind: Deployment}
configMapGenerator:
- name: dashboards
  files:
  - board.json=vendored/example.com/board # https://example.com/board
`
	files := map[string]tree.File{"apps/kustomization.yaml": {Data: []byte(before)}}
	done, err := vendor(t.Context(), fetch, files, "apps/kustomization.yaml")
	if err != nil || len(done) != 4 {
		t.Fatalf("%v, %v", done, err)
	}
	if diff := cmp.Diff(after, string(files["apps/kustomization.yaml"].Data)); diff != "" {
		t.Error(diff)
	}
	// All that is needed is there, and nothing more: with the local file, it renders.
	if _, more := files["apps/vendored/github.com/org/repo@aaaaaaaaaaaa/README"]; more {
		t.Error("files that nothing names are copied")
	}
	files["apps/local.yaml"] = tree.File{Data: []byte("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: local}\n")}
	files["apps/vendored/example.com/p.yaml"] = tree.File{Data: []byte("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: any}\nspec: {replicas: 2}\n")}
	whole, err := tree.New("whole", files)
	if err != nil {
		t.Fatal(err)
	}
	made, err := render.NewCache(1<<20).Build(t.Context(), whole, render.Options{Path: "apps"})
	if err != nil || len(made.Bundle.Objects) != 5 {
		t.Errorf("renders to %+v, %v", made, err)
	}
	if again, err := vendor(t.Context(), fetch, files, "apps/kustomization.yaml"); err != nil || len(again) > 0 {
		t.Errorf("a second time: %v, %v", again, err)
	}

	// What cannot be had is named, and the file stays as it is.
	const missing = "resources:\n- https://example.com/missing.yaml?token=hunter2\n"
	files = map[string]tree.File{"kustomization.yaml": {Data: []byte(missing)}}
	_, err = vendor(t.Context(), fetch, files, "kustomization.yaml")
	if err == nil || !strings.Contains(err.Error(), `kustomization.yaml: line 2: "https://example.com/missing.yaml": the server answers 404`) || string(files["kustomization.yaml"].Data) != missing {
		t.Errorf("got %v\n%s", err, files["kustomization.yaml"].Data)
	}
}

// TestCheckoutIsVendored with a real Git server and a real working tree.
func TestCheckoutIsVendored(t *testing.T) {
	h := gitserver.New(t)
	repo, err := h.Repo("base")
	if err != nil {
		t.Fatal(err)
	}
	commit, err := repo.Commit("main", gitserver.Change{Write: map[string]string{
		"deploy/kustomization.yaml": "resources: [a.yaml]\n",
		"deploy/a.yaml":             "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := repo.Tag("v1", commit, ""); err != nil {
		t.Fatal(err)
	}
	server, err := h.ServeHTTP(gitserver.HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n"))
	}))
	t.Cleanup(web.Close)
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "apps"), 0o755); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "apps", "kustomization.yaml")
	original := "resources:\n- " + server.URL(repo) + "/deploy?ref=v1\n- " + web.URL + "/b.yaml\n"
	if err := os.WriteFile(name, []byte(original), 0o644); err != nil {
		t.Fatal(err)
	}
	o := &Options{Factory: factory.New("", func(string) string { return "" }), Path: dir, DryRun: true}
	streams, _, out, _ := iostreams.Test()
	o.IO = streams
	if err := run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if now, err := os.ReadFile(name); err != nil || string(now) != original || !strings.Contains(out.String(), "apps/kustomization.yaml: "+server.URL(repo)+" v1 "+commit+" → vendored/127.0.0.1/base@"+commit[:12]+"/deploy") {
		t.Errorf("after a dry run: %v\n%s\n%s", err, now, out)
	}
	o.DryRun = false
	if err := run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"apps/vendored/127.0.0.1/base@" + commit[:12] + "/deploy/a.yaml": "name: a",
		"apps/vendored/127.0.0.1/b.yaml":                                 "name: b",
		"apps/kustomization.yaml":                                        "vendored/127.0.0.1/b.yaml",
	} {
		if data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name))); err != nil || !strings.Contains(string(data), want) {
			t.Errorf("%s: %v\n%s", name, err, data)
		}
	}
}
