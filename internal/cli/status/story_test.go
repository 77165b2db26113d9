package status

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

var update = flag.Bool("update", false, "write the golden files")

// TestStories holds each file of testdata: the objects on the hub at noon, and what status prints.
// The first line of a file may name flags: "-A", "--all", "--colour".
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { story(t, file) })
	}
}

func story(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]*txtar.File{}
	for i := range archive.Files {
		parts[archive.Files[i].Name] = &archive.Files[i]
	}
	facts := decode(t, string(parts["hub.yaml"].Data))
	flags, _, _ := strings.Cut(string(archive.Comment), "\n")
	streams, _, _, _ := iostreams.Test()
	streams.Colour = strings.Contains(flags, "--colour")
	report := Summarize(facts)
	text := Text(report, View{
		Now: facts.Now, Namespaces: strings.Contains(flags, "-A"), All: strings.Contains(flags, "--all"), IO: streams,
	})
	got := map[string]string{"text": strings.ReplaceAll(text, "\x1b", "␛")}
	if parts["json"] != nil {
		doc, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got["json"] = string(doc) + "\n"
	}
	if *update {
		archive.Files = []txtar.File{*parts["hub.yaml"]}
		for _, name := range slices.Sorted(maps.Keys(got)) {
			archive.Files = append(archive.Files, txtar.File{Name: name, Data: []byte(got[name])})
		}
		if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	for name, text := range got {
		want := ""
		if parts[name] != nil {
			want = string(parts[name].Data)
		}
		if diff := cmp.Diff(want, text); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if report.Ready != (len(report.Problems) == 0) {
		t.Error("ready and problems disagree")
	}
}

func decode(t *testing.T, docs string) Facts {
	t.Helper()
	f := Facts{Now: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC), Server: "https://hub.example:6443"}
	for doc := range strings.SplitSeq(docs, "---\n") {
		var kind struct{ Kind string }
		into := func(o any) {
			if err := yaml.UnmarshalStrict([]byte(doc), o); err != nil {
				t.Fatalf("%v in\n%s", err, doc)
			}
		}
		if err := yaml.Unmarshal([]byte(doc), &kind); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		switch kind.Kind {
		case "":
		case "Lease":
			f.Lease = &coordinationv1.Lease{}
			into(f.Lease)
		case v1alpha1.GitRepositoryKind:
			f.Sources = append(f.Sources, v1alpha1.GitRepository{})
			into(&f.Sources[len(f.Sources)-1])
		case v1alpha1.KustomizationKind:
			f.Kustomizations = append(f.Kustomizations, v1alpha1.Kustomization{})
			into(&f.Kustomizations[len(f.Kustomizations)-1])
		case v1alpha1.ClusterKind:
			f.Clusters = append(f.Clusters, v1alpha1.Cluster{})
			into(&f.Clusters[len(f.Clusters)-1])
		case v1alpha1.AssignmentKind:
			f.Assignments = append(f.Assignments, v1alpha1.Assignment{})
			into(&f.Assignments[len(f.Assignments)-1])
		default:
			t.Fatalf("unknown kind %q", kind.Kind)
		}
	}
	return f
}
