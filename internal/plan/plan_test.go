package plan

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/skerry-dev/skerry/internal/inventory"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/golden"
)

// TestGolden plans each file of testdata. A file has the sections options, desired (ID and digest),
// recorded (ID, digest, uid and fields), live (ID, uid, fields), claimed (ID) and plan.
func TestGolden(t *testing.T) {
	golden.Run(t, "testdata/*.txtar", func(t *testing.T, ar *txtar.Archive) map[string]string {
		in := parse(t, ar)
		got := story(Make(in))
		for range 20 { // maps must not show
			if again := story(Make(in)); again != got {
				t.Fatalf("the same input gives another plan:\n%s", cmp.Diff(got, again))
			}
		}
		return map[string]string{"plan": got}
	})
}

func story(p *Plan) string {
	var b strings.Builder
	if p.Refusal.Reason != "" {
		fmt.Fprintf(&b, "refused: %s: %s\n", p.Refusal.Reason, p.Refusal.Message)
		return b.String()
	}
	for i, stage := range p.Stages {
		for _, a := range stage {
			fmt.Fprintf(&b, "stage %d: %s\n", i+1, a)
		}
	}
	for _, a := range p.Cleanup {
		uid := ""
		if a.Verb == Delete || a.Verb == Release {
			uid = " if uid is " + a.UID
		}
		fmt.Fprintf(&b, "then: %s%s\n", a, uid)
	}
	fmt.Fprintf(&b, "unchanged: %d\n", p.Unchanged)
	return b.String()
}

func parse(t *testing.T, ar *txtar.Archive) Input {
	t.Helper()
	in := Input{Recorded: inventory.New("o"), Live: map[object.ID]Live{}}
	claimed := map[object.ID]bool{}
	in.Claimed = func(id object.ID) bool { return claimed[id] }
	for _, f := range ar.Files {
		lines := bufio.NewScanner(bytes.NewReader(f.Data))
		for lines.Scan() {
			w := append(strings.Fields(lines.Text()), "", "", "", "")
			if f.Name == "plan" || w[0] == "" {
				continue
			}
			if f.Name == "options" {
				option(t, &in.Options, w[0])
				continue
			}
			id, err := object.ParseID(w[0])
			if err != nil {
				t.Fatal(err)
			}
			switch f.Name {
			case "desired":
				in.Desired = append(in.Desired, object.Object{ID: id, Version: "v1", Digest: w[1]})
			case "recorded":
				in.Recorded.Objects[id] = inventory.Record{Version: "v1", Digest: w[1], UID: w[2], Fields: w[3]}
			case "live":
				in.Live[id] = Live{UID: w[1], Fields: w[2], Terminating: w[3] == "terminating"}
			case "claimed":
				claimed[id] = true
			default:
				t.Fatalf("unknown section %q", f.Name)
			}
		}
	}
	slices.SortFunc(in.Desired, func(a, b object.Object) int { return object.Order(a.ID, b.ID) })
	return in
}

func option(t *testing.T, o *Options, name string) {
	t.Helper()
	switch name {
	case "prune":
		o.Prune = true
	case "allowPrune":
		o.AllowPrune = true
	case "remove":
		o.Remove = true
	case "orphan":
		o.Orphan = true
	default:
		t.Fatalf("unknown option %q", name)
	}
}
