package bootstrap

import (
	"testing"

	"github.com/google/go-cmp/cmp"
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
