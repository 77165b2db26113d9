package render

import (
	"errors"
	"strings"
	"testing"

	"github.com/skerry-dev/skerry/internal/tree"
)

// flaky is a source of one directory with a kustomization and a manifest that cannot be read at first.
type flaky struct {
	broken bool
	name   string // of what is broken
}

var errFlaky = errors.New("cannot be read")

var flakyFiles = map[string]string{
	"kustomization.yaml": "resources: [cm.yaml]\n",
	"cm.yaml":            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: b}\n",
	"secret.yaml":        "apiVersion: v1\nkind: Secret\nmetadata: {name: not-wanted, namespace: b}\n",
}

func (f *flaky) Lookup(_, name string) (tree.Entry, error) {
	if f.broken && name == f.name {
		return tree.Entry{}, errFlaky
	}
	if name == "module" {
		return tree.Entry{Name: name, Kind: tree.Submodule}, nil
	}
	if _, ok := flakyFiles[name]; ok {
		return tree.Entry{Name: name, Kind: tree.Regular, ID: name}, nil
	}
	return tree.Entry{}, nil
}

func (f *flaky) List(string) ([]tree.Entry, error) {
	return []tree.Entry{{Name: "cm.yaml", Kind: tree.Regular, ID: "cm.yaml"}, {Name: "secret.yaml", Kind: tree.Regular, ID: "secret.yaml"}}, nil
}

func (f *flaky) Read(file string) ([]byte, error) { return []byte(flakyFiles[file]), nil }

// TestFailedReadIsNeverTakenForAnAbsence: without its kustomization.yaml, the directory would be rendered
// as a whole. And it is not remembered: the next attempt succeeds.
func TestFailedReadIsNeverTakenForAnAbsence(t *testing.T) {
	for _, name := range []string{"kustomization.yaml", "cm.yaml", ".sourceignore"} {
		t.Run(name, func(t *testing.T) {
			source := &flaky{broken: true, name: name}
			tr, cache := tree.Open("sha1:flaky", "root", source), NewCache(1<<20)
			_, err := cache.Build(t.Context(), tr, Options{Path: "./"})
			if !errors.Is(err, errFlaky) {
				t.Fatalf("got %v, want %v", err, errFlaky)
			}
			source.broken = false
			got, err := cache.Build(t.Context(), tr, Options{Path: "./"})
			if err != nil || len(got.Bundle.Objects) != 1 {
				t.Errorf("then: %v, %v", got, err)
			}
		})
	}
}

func TestMessageNamesTheSubmodule(t *testing.T) {
	tr := tree.Open("sha1:module", "root", &flaky{})
	for _, path := range []string{"./module", "module/app", "./module/overlays/eu"} {
		_, err := Build(t.Context(), tr, Options{Path: path})
		if err == nil || !strings.Contains(err.Error(), `"module" is a Git submodule that was not fetched`) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
