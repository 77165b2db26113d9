// Package refusals holds what real API servers answer to changes that they refuse. Each file of Dir is one change: what
// is there first ("before", applied; the last document is the object), what is applied over it ("after"), what the API
// server answered ("answer"), and what internal/apierror makes of that ("reason" and "message").
package refusals

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/golden"
)

// Dir is the folder of the refusals, relative to a room in internal.
const Dir = "../apierror/testdata/refusals"

// Refusal is one change that an API server refuses.
type Refusal struct {
	// Name is that of the file without its extension.
	Name    string
	archive *txtar.Archive
}

// Load reads all refusals.
func Load(t *testing.T) []Refusal {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(Dir, "*.txtar"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no refusals: %v", err)
	}
	var list []Refusal
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, Of(path, archive))
	}
	return list
}

// Of returns the refusal of an archive.
func Of(path string, archive *txtar.Archive) Refusal {
	return Refusal{Name: strings.TrimSuffix(filepath.Base(path), ".txtar"), archive: archive}
}

// Text returns a section.
func (r Refusal) Text(section string) string {
	return strings.TrimSpace(golden.Text(r.archive, section))
}

// Record writes another answer into the file.
func (r Refusal) Record(t *testing.T, answer string) {
	t.Helper()
	for i := range r.archive.Files {
		if r.archive.Files[i].Name == "answer" {
			r.archive.Files[i].Data = []byte(strings.TrimSpace(answer) + "\n")
		}
	}
	if err := os.WriteFile(filepath.Join(Dir, r.Name+".txtar"), txtar.Format(r.archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Documents decodes the YAML documents of a section.
func (r Refusal) Documents(t *testing.T, section string) []object.Object {
	t.Helper()
	var list []object.Object
	for doc := range strings.SplitSeq(r.Text(section), "\n---\n") {
		m := map[string]any{}
		if err := yaml.Unmarshal([]byte(doc), &m); err != nil {
			t.Fatal(err)
		}
		if len(m) == 0 {
			continue
		}
		u := &unstructured.Unstructured{Object: m}
		body, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		gvk := schema.FromAPIVersionAndKind(u.GetAPIVersion(), u.GetKind())
		// Not through FromMap, which refuses some of it before an API server can.
		list = append(list, object.Object{ID: object.ID{Group: gvk.Group, Kind: gvk.Kind, Namespace: u.GetNamespace(), Name: u.GetName()}, Version: gvk.Version, Body: body})
	}
	return list
}

// After returns the object that is refused.
func (r Refusal) After(t *testing.T) object.Object {
	t.Helper()
	return r.Documents(t, "after")[0]
}

// Answer returns the recorded answer as the error that a client makes of it.
func (r Refusal) Answer(t *testing.T) error {
	t.Helper()
	var status metav1.Status
	if err := yaml.Unmarshal([]byte(r.Text("answer")), &status); err != nil {
		t.Fatal(err)
	}
	return &apierrors.StatusError{ErrStatus: status}
}
