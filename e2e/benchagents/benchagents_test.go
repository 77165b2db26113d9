package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/object"
)

// TestFewAgents takes the measures of a hub with many agents with a few: what they measure is of no interest, that they
// come to an end and measure something is.
func TestFewAgents(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	o := defaults()
	o.agents, o.engines, o.repetitions, o.idle, o.settle, o.steady, o.progress = 20, 2, 1, time.Second, time.Second/2, 0, t.Logf
	table, err := measureMany(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(table.Figures) == 0 {
		t.Fatal("nothing was measured")
	}
	for _, f := range table.Figures {
		if len(f.Samples) == 0 {
			t.Errorf("%q has no samples", f.Name)
		}
		if f.Unit == "s" && f.Value <= 0 {
			t.Errorf("%q took %v s", f.Name, f.Value)
		}
		if f.Zero && !f.OK {
			t.Errorf("%q is %v, not 0", f.Name, f.Value)
		}
	}
}

// noObjects is a store with an empty bundle for each digest.
type noObjects struct{ engine.Bundles }

func (noObjects) Get(context.Context, string) (*object.Bundle, error) { return &object.Bundle{}, nil }

// TestAStandInVerifiesOnce: a hub that is restarted assigns to everyone what stands, and an engine answers that with what
// it has reported. One that said it was verified anew would cost the hub a write for each agent.
func TestAStandInVerifiesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changes := 0
		s := &simulatedEdge{o: engine.PoolOptions{Now: time.Now, Bundles: noObjects{}, OnChange: func(engine.Key) { changes++ }}}
		var verified []time.Time
		for _, e := range []v1alpha1.AssignmentEntry{{Name: "a", Digest: "1"}, {Name: "a", Digest: "1"}, {Name: "a", Digest: "1", RequestedAt: "now"}} {
			s.Assign(engine.Key{}, []v1alpha1.AssignmentEntry{e})
			time.Sleep(time.Minute)
			synctest.Wait()
			report, _ := s.Report(engine.Key{})
			verified = append(verified, report[0].VerifiedAt.Time)
		}
		if again, asked := verified[1].Sub(verified[0]), verified[2].Sub(verified[0]); again != 0 || asked != 2*time.Minute || changes != 2 {
			t.Errorf("verified again %s later, and %s later when asked to; %d reports", again, asked, changes)
		}
	})
}
