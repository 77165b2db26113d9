package main

import (
	"context"
	"testing"
	"time"
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
