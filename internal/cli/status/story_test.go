package status

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/testkit/golden"
)

// TestStories holds each file of testdata: the objects on the hub at noon, and what status prints.
// The first line of a file may name flags: "-A", "--all", "--colour".
func TestStories(t *testing.T) {
	golden.Run(t, "testdata/*.txtar", func(t *testing.T, a *txtar.Archive) map[string]string {
		facts := decode(t, golden.Text(a, "hub.yaml"))
		flags, _, _ := strings.Cut(string(a.Comment), "\n")
		streams, _, _, _ := iostreams.Test()
		streams.Colour = strings.Contains(flags, "--colour")
		report := Summarize(facts)
		if report.Ready != (len(report.Problems) == 0) {
			t.Error("ready and problems disagree")
		}
		text := Text(report, View{
			Now: facts.Now, Namespaces: strings.Contains(flags, "-A"), All: strings.Contains(flags, "--all"), IO: streams,
		})
		got := map[string]string{"text": strings.ReplaceAll(text, "\x1b", "␛")}
		if golden.Text(a, "json") != "" {
			doc, err := json.MarshalIndent(report, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got["json"] = string(doc)
		}
		return got
	})
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
