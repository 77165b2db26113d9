package bootstrap

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/tree"
)

func TestFluxFolders(t *testing.T) {
	files := []string{
		"README.md", "clusters/a/flux-system/gotk-components.yaml", "clusters/a/flux-system/gotk-sync.yaml", "clusters/a/flux-system/kustomization.yaml",
		"clusters/ab/flux-system/gotk-components.yaml", "other/gotk.yaml",
	}
	a, ab := "clusters/a/flux-system", "clusters/ab/flux-system"
	for at, want := range map[string][2][]string{
		"clusters/a":             {{a}, {ab}},
		"clusters/a/flux-system": {{a}, {ab}},
		"clusters":               {{a, ab}, nil},
		".":                      {{a, ab}, nil},
		"clusters/hub":           {nil, {a, ab}},
	} {
		here, elsewhere := fluxFolders(files, at)
		if diff := cmp.Diff(want, [2][]string{here, elsewhere}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", at, diff)
		}
	}
}

func TestMigrated(t *testing.T) {
	flux, skerry := tree.File{Data: []byte("apiVersion: kustomize.toolkit.fluxcd.io/v1\n")}, tree.File{Data: []byte("apiVersion: skerry.dev/v1alpha1\n")}
	for name, c := range map[string]struct {
		files map[string]tree.File
		want  bool
	}{
		"Flux's":             {map[string]tree.File{"a/gotk-components.yaml": {}, "a/gotk-sync.yaml": flux}, false},
		"without components": {map[string]tree.File{"a/gotk-sync.yaml": flux}, false},
		"without sync":       {map[string]tree.File{"a/gotk-components.yaml": {}}, false},
		"half migrated":      {map[string]tree.File{"a/gotk-components.yaml": {}, "a/gotk-sync.yaml": skerry}, false},
		"migrated":           {map[string]tree.File{"a/gotk-sync.yaml": skerry}, true},
	} {
		files, err := tree.New("sha1:0", c.files)
		if err != nil {
			t.Fatal(err)
		}
		if got := migrated(files, "a"); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
