package diff

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/golden"
)

// TestReports compares objects as they stand on clusters with what a dry run has answered: CLUSTER/before and
// CLUSTER/after hold one object each, of which one may be missing.
func TestReports(t *testing.T) {
	golden.Run(t, "testdata/*.txtar", func(t *testing.T, a *txtar.Archive) map[string]string {
		files, order, secrets := map[string]map[string]any{}, []string{}, []string{}
		for _, f := range a.Files {
			if f.Name == "secrets" {
				secrets = strings.Fields(string(f.Data))
				continue
			}
			cluster, side, ok := strings.Cut(f.Name, "/")
			if !ok {
				continue
			}
			if len(order) == 0 || order[len(order)-1] != cluster {
				order = append(order, cluster)
			}
			files[cluster+"/"+side] = objectOf(t, f.Data)
		}
		results := make([]Result, 0, len(order))
		for _, cluster := range order {
			r := Result{Cluster: cluster}
			before, after := files[cluster+"/before"], files[cluster+"/after"]
			switch {
			case before == nil:
				r.Changes = []Change{{Action: Create, Object: refOf(t, after), Fields: Whole(after, secrets)}}
			case after == nil:
				r.Changes = []Change{{Action: Delete, Object: refOf(t, before)}}
			default:
				if fields := Compare(before, after, secrets); len(fields) > 0 {
					r.Changes = []Change{{Action: Update, Object: refOf(t, after), Fields: fields}}
				}
			}
			results = append(results, r)
		}
		streams, _, _, _ := iostreams.Test()
		report := Fold(Report{Kustomization: "app", Namespace: "apps"}, results)
		doc, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		return map[string]string{"want.txt": Text(streams, report) + Summary(report), "want.json": string(doc)}
	})
}

func objectOf(t *testing.T, data []byte) map[string]any {
	t.Helper()
	plain, err := yaml.YAMLToJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	o, err := decode(object.Object{Body: plain})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func refOf(t *testing.T, o map[string]any) Ref {
	t.Helper()
	meta, _ := o["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	namespace, _ := meta["namespace"].(string)
	kind, _ := o["kind"].(string)
	version, _ := o["apiVersion"].(string)
	return Ref{APIVersion: version, Kind: kind, Namespace: namespace, Name: name, id: object.ID{Kind: kind, Namespace: namespace, Name: name}}
}
