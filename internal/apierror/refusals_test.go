package apierror

import (
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/skerry-dev/skerry/internal/testkit/golden"
	"github.com/skerry-dev/skerry/internal/testkit/refusals"
)

// TestRefusals holds what is made of the recorded answers of a real API server: `go test -update` writes it anew. edge
// replays the changes against one.
func TestRefusals(t *testing.T) {
	golden.Run(t, "testdata/refusals/*.txtar", func(t *testing.T, a *txtar.Archive) map[string]string {
		r := refusals.Of(t.Name(), a)
		o, err := r.After(t), Conflict(r.Answer(t))
		message := ExplainApply(err, o)
		if strings.Contains(strings.ToLower(message), "s3cr3t") {
			t.Errorf("the message shows a value: %s", message)
		}
		immutable := strings.HasPrefix(r.Name, "immutable-")
		if got := Immutable(err); got != immutable {
			t.Errorf("Immutable is %v", got)
		}
		return map[string]string{"reason": Reason(err, o.ID), "message": message}
	})
}

func TestRefusalsCoverKinds(t *testing.T) {
	var kinds []string
	for _, r := range refusals.Load(t) {
		kinds = append(kinds, r.After(t).Kind)
	}
	slices.Sort(kinds)
	if n := len(slices.Compact(kinds)); n < 20 {
		t.Errorf("only %d kinds are covered", n)
	}
}

// TestFinalRefusals holds which of the recorded refusals are tried again at retryInterval: those that
// something else in the cluster may have caused.
func TestFinalRefusals(t *testing.T) {
	for _, r := range refusals.Load(t) {
		passing := strings.HasPrefix(r.Name, "refused-custom-resource-")
		switch r.Name {
		case "refused-by-policy", "refused-namespace-missing", "refused-service-duplicate-port", "refused-volume-missing":
			passing = true
		}
		if got := Final(Conflict(r.Answer(t)), r.After(t).ID); got == passing {
			t.Errorf("%s: final is %v", r.Name, got)
		}
	}
}
