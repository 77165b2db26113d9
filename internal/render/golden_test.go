package render

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/internal/testkit/golden"
	"github.com/skerry-dev/skerry/internal/tree"
)

// TestGolden builds each testdata/*.txtar. A file holds the tree; options.yaml, the Options, if any;
// links, "path -> target" a line, for what txtar cannot hold; and want.yaml, the objects in the order
// of the bundle, or want-error, the reason and the error.
func TestGolden(t *testing.T) {
	golden.Run(t, "testdata/*.txtar", func(t *testing.T, archive *txtar.Archive) map[string]string {
		t.Parallel()
		repo, o := readCase(t, archive)
		name, text := outcome(Build(t.Context(), repo, o))
		return map[string]string{"want.yaml": "", "want-error": "", name: text}
	})
}

// readCase returns the tree and the options of a golden file.
func readCase(t *testing.T, archive *txtar.Archive) (*tree.Tree, Options) {
	t.Helper()
	var o Options
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
		default:
			files[f.Name] = tree.File{Data: f.Data}
		}
	}
	repo, err := tree.New("sha1:"+t.Name(), files)
	if err != nil {
		t.Fatal(err)
	}
	return repo, o
}

// outcome renders what Build returned as the file that a golden file should hold.
func outcome(r *Result, err error) (name, text string) {
	var failed *Error
	switch {
	case errors.As(err, &failed):
		return "want-error", fmt.Sprintf("%s\n%s\n", failed.Reason, failed)
	case err != nil:
		return "want-error", fmt.Sprintf("untyped\n%s\n", err)
	}
	var b bytes.Buffer
	for i, o := range r.Bundle.Objects {
		if i > 0 {
			b.WriteString("---\n")
		}
		var text []byte
		value, err := decodeJSON(o.Body)
		if err == nil {
			text, err = MarshalYAML(value)
		}
		if err != nil {
			text = []byte(err.Error())
		}
		fmt.Fprintf(&b, "# %s\n%s", o.ID, text)
	}
	if len(r.Bundle.Objects) == 0 {
		b.WriteString("# no objects\n")
	}
	return "want.yaml", b.String()
}
