package migrate

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/skerry-dev/skerry/internal/testkit/golden"
)

// TestRepositories converts the files below before/, and shows the notes and the files that changed.
func TestRepositories(t *testing.T) {
	golden.Run(t, "testdata/*.txtar", func(t *testing.T, a *txtar.Archive) map[string]string {
		files := map[string][]byte{}
		out := map[string]string{}
		for _, f := range a.Files {
			if name, ok := strings.CutPrefix(f.Name, "before/"); ok {
				files[name] = f.Data
			} else {
				out[f.Name] = ""
			}
		}
		r := Repository(files)
		var notes strings.Builder
		for _, n := range r.Notes {
			notes.WriteString(n.String() + "\n")
		}
		out["notes"] = notes.String()
		for _, name := range slices.Sorted(maps.Keys(r.Files)) {
			if r.Files[name] != nil {
				out["after/"+name] = string(r.Files[name])
			}
		}
		again := Repository(after(files, r))
		for name, data := range again.Files {
			if string(data) != string(after(files, r)[name]) {
				t.Errorf("a second run changes %s:\n%s", name, cmp.Diff(string(after(files, r)[name]), string(data)))
			}
		}
		return out
	})
}

// after is the repository with the changes made.
func after(files map[string][]byte, r Result) map[string][]byte {
	out := maps.Clone(files)
	for name, data := range r.Files {
		if data == nil {
			delete(out, name)
		} else {
			out[name] = data
		}
	}
	return out
}

func TestLinesThatArePutInEndAsTheFilesDo(t *testing.T) {
	const file = "apiVersion: kustomize.toolkit.fluxcd.io/v1\r\nkind: Kustomization\r\nmetadata:\r\n  name: apps\r\nspec:\r\n  interval: 10m\r\n  kubeConfig:\r\n    secretRef:\r\n      name: edge\r\n  sourceRef:\r\n    kind: GitRepository\r\n    name: fleet\r\n"
	after := string(Repository(map[string][]byte{"apps.yaml": []byte(file)}).Files["apps.yaml"])
	if !strings.Contains(after, "wait: false\r\n") || !strings.Contains(after, "kind: Cluster\r\n") || strings.Count(after, "\n") != strings.Count(after, "\r\n") {
		t.Errorf("%q", after)
	}
}
