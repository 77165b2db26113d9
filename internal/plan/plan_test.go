package plan

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/inventory"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/golden"
	"github.com/skerry-dev/skerry/internal/testkit/manifests"
)

// TestGolden plans each file of testdata. A file has the sections options, desired (ID and digest),
// recorded (ID, digest, uid and fields), live (ID, uid, fields), ended (ID and outcome), claimed (ID, and
// expected or undecided) and plan. Words behind
// those set what is rare: terminating, builtin, kept, ttl, unfinished, finished=OUTCOME.
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
		if g := p.Gates[i]; g.Wave != 0 || g.Waits {
			fmt.Fprintf(&b, "wave %d", g.Wave)
			if g.Waits {
				b.WriteString(", after those before")
			}
			b.WriteString(":\n")
		}
		for _, a := range stage {
			fmt.Fprintf(&b, "stage %d: %s\n", i+1, a)
		}
	}
	for _, a := range p.Left {
		fmt.Fprintf(&b, "left: %s\n", a)
	}
	for _, a := range p.Cleanup {
		uid := ""
		if a.Verb == Delete || a.Verb == Release {
			uid = " if uid is " + a.UID
		}
		fmt.Fprintf(&b, "then: %s%s\n", a, uid)
	}
	for _, id := range slices.SortedFunc(maps.Keys(p.Finished), object.ID.Compare) {
		fmt.Fprintf(&b, "ended: %s (%s)\n", id, p.Finished[id])
	}
	fmt.Fprintf(&b, "unchanged: %d\n", p.Unchanged)
	return b.String()
}

func parse(t *testing.T, ar *txtar.Archive) Input {
	t.Helper()
	in := Input{Recorded: inventory.New("o"), Live: map[object.ID]Live{}}
	claimed := map[object.ID]Interest{}
	in.Interest = func(id object.ID) Interest { return claimed[id] }
	for _, f := range ar.Files {
		lines := bufio.NewScanner(bytes.NewReader(f.Data))
		for lines.Scan() {
			w := strings.Fields(lines.Text())
			if f.Name == "plan" || len(w) == 0 {
				continue
			}
			if f.Name == "options" {
				option(t, &in, w[0])
				continue
			}
			id := manifests.ID(t, w[0])
			words := w[1:]
			has := func(word string) bool {
				at := slices.Index(words, word)
				if at >= 0 {
					words = slices.Delete(words, at, at+1)
				}
				return at >= 0
			}
			wave := int32(0)
			for n := int32(-3); n <= 3; n++ {
				if has(fmt.Sprintf("wave=%d", n)) {
					wave = n
				}
			}
			switch f.Name {
			case "desired":
				o := object.Object{ID: id, Version: "v1", PruneDisabled: has("kept"), RemovedWhenFinished: has("ttl"), Wave: wave}
				o.Digest = nth(words, 0)
				in.Desired = append(in.Desired, o)
			case "recorded":
				r := inventory.Record{Version: "v1", PruneDisabled: has("kept"), Wave: wave}
				for _, outcome := range []string{"Complete", "Failed"} {
					if has("finished=" + outcome) {
						r.Finished = outcome
					}
				}
				r.Digest, r.UID, r.Fields = nth(words, 0), nth(words, 1), nth(words, 2)
				in.Recorded.Objects[id] = r
			case "live":
				l := Live{Terminating: has("terminating")}
				if has("kept") {
					l.Keep = object.KeepPruneDisabled
				}
				if has("builtin") {
					l.Keep = object.KeepBuiltIn
				}
				l.UID, l.Fields = nth(words, 0), nth(words, 1)
				in.Live[id] = l
			case "ended": // seen to go, and how it had ended
				if in.Ended == nil {
					in.Ended = map[object.ID]health.Outcome{}
				}
				in.Ended[id] = health.Outcome(nth(words, 0))
			case "claimed":
				claimed[id] = map[string]Interest{"": Assigned, "expected": Expected, "undecided": Undecided}[strings.Join(w[1:], " ")]
			default:
				t.Fatalf("unknown section %q", f.Name)
			}
		}
	}
	slices.SortFunc(in.Desired, func(a, b object.Object) int { return object.Order(a.ID, b.ID) })
	return in
}

func nth(words []string, n int) string {
	if n < len(words) {
		return words[n]
	}
	return ""
}

func option(t *testing.T, in *Input, name string) {
	t.Helper()
	o := &in.Options
	switch name {
	case "accepted": // the guard has let this bundle pass before
		in.Bundle, in.Recorded.Accepted = "b", "b"
	case "prune":
		o.Prune = true
	case "allowPrune":
		o.AllowPrune = true
	case "leaveDrift":
		o.LeaveDrift = true
	case "remove":
		o.Remove = true
	case "orphan":
		o.Orphan = true
	default:
		if limit, ok := strings.CutPrefix(name, "maxPrune="); ok {
			o.MaxPrune = new(intstr.Parse(limit))
			return
		}
		t.Fatalf("unknown option %q", name)
	}
}
