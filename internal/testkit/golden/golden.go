// Package golden runs tests whose input and outcome stand together in a txtar file. `go test -update`
// writes the outcomes anew.
package golden

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write what comes out into the golden files")

// Run runs a subtest for each archive that matches the pattern. tell is given the archive and returns
// what comes out, as the texts of files by name; an empty one says that there is no such file. The
// archive has to hold the same.
func Run(t *testing.T, pattern string, tell func(t *testing.T, a *txtar.Archive) map[string]string) {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files %s: %v", pattern, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := tell(t, archive)
			for _, name := range slices.Sorted(maps.Keys(got)) {
				text := got[name]
				if text != "" && !strings.HasSuffix(text, "\n") {
					text += "\n" // as a file of an archive ends
				}
				if *update {
					put(archive, name, text)
				}
				if diff := cmp.Diff(Text(archive, name), text); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
			if *update {
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// Text returns the text of a file of an archive; empty when there is no such file.
func Text(a *txtar.Archive, name string) string {
	if i := find(a, name); i >= 0 {
		return string(a.Files[i].Data)
	}
	return ""
}

func find(a *txtar.Archive, name string) int {
	return slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == name })
}

func put(a *txtar.Archive, name, text string) {
	i := find(a, name)
	switch {
	case i < 0 && text == "":
	case i < 0:
		a.Files = append(a.Files, txtar.File{Name: name, Data: []byte(text)})
	case text == "":
		a.Files = slices.Delete(a.Files, i, i+1)
	default:
		a.Files[i].Data = []byte(text)
	}
}

// File compares a text with a file that is generated into the repository.
func File(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is not as generated; go test -update writes it (-want +got):\n%s", path, diff)
	}
}
