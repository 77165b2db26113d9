package build

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/internal/tree"
)

var update = flag.Bool("update", false, "write what is built into the golden files")

// TestGolden builds each testdata/*.txtar. A file holds the tree; options.yaml, the Options, if any;
// links, "path -> target" a line, for what txtar cannot hold; and want.yaml, the objects in the order
// of the bundle, or want-error, the reason and the error.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			repo, o, want := readCase(t, archive)
			got := outcome(Build(t.Context(), repo, o))
			if *update {
				writeCase(t, file, archive, got)
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// readCase returns the tree, the options and the wanted outcome of a golden file.
func readCase(t *testing.T, archive *txtar.Archive) (*tree.Tree, Options, txtar.File) {
	t.Helper()
	var o Options
	var want txtar.File
	files := map[string]tree.File{}
	for _, f := range archive.Files {
		switch f.Name {
		case "options.yaml":
			if err := yaml.UnmarshalStrict(f.Data, &o); err != nil {
				t.Fatal(err)
			}
		case "links":
			for line := range strings.Lines(string(f.Data)) {
				from, to, _ := strings.Cut(strings.TrimSpace(line), " -> ")
				files[from] = tree.File{Data: []byte(to), Link: true}
			}
		case "want.yaml", "want-error":
			want = f
		default:
			files[f.Name] = tree.File{Data: f.Data}
		}
	}
	repo, err := tree.New("sha1:"+t.Name(), files)
	if err != nil {
		t.Fatal(err)
	}
	return repo, o, want
}

// outcome renders what Build returned as the file that a golden file should hold.
func outcome(r *Result, err error) txtar.File {
	var failed *Error
	switch {
	case errors.As(err, &failed):
		return txtar.File{Name: "want-error", Data: fmt.Appendf(nil, "%s\n%s\n", failed.Reason, failed)}
	case err != nil:
		return txtar.File{Name: "want-error", Data: fmt.Appendf(nil, "untyped\n%s\n", err)}
	}
	var b bytes.Buffer
	for i, o := range r.Bundle.Objects {
		if i > 0 {
			b.WriteString("---\n")
		}
		text, err := yaml.JSONToYAML(o.Body)
		if err != nil {
			text = []byte(err.Error())
		}
		fmt.Fprintf(&b, "# %s\n%s", o.ID, text)
	}
	if len(r.Bundle.Objects) == 0 {
		b.WriteString("# no objects\n")
	}
	return txtar.File{Name: "want.yaml", Data: b.Bytes()}
}

func writeCase(t *testing.T, file string, archive *txtar.Archive, got txtar.File) {
	t.Helper()
	archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool { return strings.HasPrefix(f.Name, "want") })
	archive.Files = append(archive.Files, got)
	if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}
