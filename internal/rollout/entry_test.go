package rollout

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/internal/testkit/golden"
)

// TestNextContent decides what a cluster is assigned at 12:00: "assignment.yaml" is what is known, "next" is golden.
func TestNextContent(t *testing.T) {
	actions := map[string]Action{"Keep": Keep, "Start": Start, "Return": Return, "CatchUp": CatchUp}
	golden.Run(t, "testdata/entry/*.txtar", func(t *testing.T, archive *txtar.Archive) map[string]string {
		var known struct {
			Assignment
			Action string
		}
		if err := yaml.UnmarshalStrict([]byte(golden.Text(archive, "assignment.yaml")), &known); err != nil {
			t.Fatal(err)
		}
		action, ok := actions[known.Action]
		if !ok {
			t.Fatalf("no action %q", known.Action)
		}
		known.Now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
		next, wait := NextContent(Instruction{Action: action}, known.Assignment)
		return map[string]string{"next": described(next, wait)}
	})
}

func described(c *Content, wait bool) string {
	switch {
	case wait:
		return "waits until the earlier entry is forgotten"
	case c == nil:
		return "nothing"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s of change %q", c.Revision, c.Digest, c.Change)
	if c.Kept {
		b.WriteString(", kept")
	}
	if c.AssignedAt != nil {
		fmt.Fprintf(&b, "\nassigned at %s", c.AssignedAt.UTC().Format(time.TimeOnly))
	}
	if c.Fallback != nil {
		fmt.Fprintf(&b, "\nfalls back to %s %s", c.Fallback.Revision, c.Fallback.Digest)
	}
	return b.String()
}

// TestEachClusterOfAPlanHasOneInstruction.
func TestEachClusterOfAPlanHasOneInstruction(t *testing.T) {
	p := Plan{Start: []string{"a"}, Return: []string{"b"}, CatchUp: []string{"c"}, Hold: []Held{{Cluster: "d", Reason: "paused"}}}
	all := p.Instructions()
	for name, want := range map[string]Instruction{"a": {Action: Start}, "b": {Action: Return}, "d": {Reason: "paused"}, "e": {}} {
		if all[name] != want {
			t.Errorf("%s: %+v", name, all[name])
		}
	}
	if c := all["c"]; c.Action != CatchUp || c.Reason == "" || len(all) != 4 {
		t.Errorf("%+v", all)
	}
}
