package targeting

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhatAnOutcomeHas(t *testing.T) {
	input := func(digest uint64) func() uint64 { return func() uint64 { return digest } }
	known := func() *Outcome {
		return &Outcome{Generation: 2, Artifact: "apps r1", Digests: map[string]string{"edge-1": "d1"}, Failed: map[string]string{"edge-2": "cannot be rendered for it: no region"}, Inputs: map[string]uint64{"edge-1": 7}}
	}
	now := Rendering{Generation: 2, Artifact: "apps r1", Cluster: "edge-1", Input: input(7)}
	for name, tt := range map[string]struct {
		outcome *Outcome
		change  func(*Outcome, *Rendering)
		why     string
		problem bool
	}{
		"what is rendered now":            {known(), func(*Outcome, *Rendering) {}, "", false},
		"nothing, after a start":          {nil, func(*Outcome, *Rendering) {}, "is not rendered at this revision yet", false},
		"the spec has changed":            {known(), func(_ *Outcome, r *Rendering) { r.Generation++ }, "is not rendered at this revision yet", false},
		"a commit has come":               {known(), func(_ *Outcome, r *Rendering) { r.Artifact = "apps r2" }, "is not rendered at this revision yet", false},
		"the variables have changed":      {known(), func(_ *Outcome, r *Rendering) { r.Input = input(8) }, "is not rendered with the variables and labels of this cluster yet", false},
		"they do not matter if it leaves": {known(), func(_ *Outcome, r *Rendering) { r.Input = nil }, "", false},
		"it cannot be rendered there":     {known(), func(_ *Outcome, r *Rendering) { r.Cluster, r.Input = "edge-2", input(0) }, "cannot be rendered for it: no region", true},
		"it cannot be rendered at all":    {known(), func(o *Outcome, _ *Rendering) { o.Digests, o.Problem = nil, "cannot be rendered: no file" }, "cannot be rendered: no file", true},
		"a cluster that is new":           {known(), func(_ *Outcome, r *Rendering) { r.Cluster, r.Input = "edge-3", input(0) }, "is not rendered for this cluster yet", false},
	} {
		r := now
		tt.change(tt.outcome, &r)
		if why, problem := tt.outcome.Unknown(r); why != tt.why || problem != tt.problem {
			t.Errorf("%s: %q, problem %t", name, why, problem)
		}
	}
}

func TestTheLastGoodDigestIsOfTheSameInput(t *testing.T) {
	before := &Outcome{
		Generation: 2, Artifact: "apps r1", Inputs: map[string]uint64{"a": 1, "b": 1, "c": 1, "d": 0, "e": 1},
		Digests: map[string]string{"a": "a1", "b": "b1", "c": "c1", "d": "d1"}, LastGood: map[string]string{"e": "e0"},
	}
	next := func() *Outcome {
		return &Outcome{Generation: 2, Artifact: "apps r1", Digests: map[string]string{"a": "a2"}, Inputs: map[string]uint64{"a": 1, "b": 1, "c": 2, "d": 0, "e": 1}}
	}
	// a has a digest, the variables of c have changed, and those of d are not known.
	if diff := cmp.Diff(map[string]string{"b": "b1", "e": "e0"}, before.LastGoodFor(next())); diff != "" {
		t.Error(diff)
	}
	for name, change := range map[string]func(*Outcome){
		"generation": func(o *Outcome) { o.Generation++ },
		"commit":     func(o *Outcome) { o.Artifact = "apps r2" },
	} {
		other := next()
		change(other)
		if got := before.LastGoodFor(other); len(got) > 0 {
			t.Errorf("of another %s: %v", name, got)
		}
	}
	if got := (*Outcome)(nil).LastGoodFor(next()); len(got) > 0 {
		t.Errorf("of nothing: %v", got)
	}
}
