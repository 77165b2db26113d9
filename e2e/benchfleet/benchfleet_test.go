package main

import (
	"context"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/skerry-dev/skerry/internal/testkit/simulator"
)

// TestFew runs the measures that take no minutes with a fleet of a few: what they measure is of no
// interest, that they come to an end and measure something is.
func TestFew(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	o := defaults()
	o.clusters, o.grid, o.repetitions, o.idle, o.quiet = 20, 3, 1, time.Second, 300*time.Millisecond
	o.only, o.progress = "1,2,3,8,9,10", t.Logf
	tables, err := run(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(tables) != 2 {
		t.Fatalf("%d tables, want 2", len(tables))
	}
	for _, table := range tables {
		for _, f := range table.Figures {
			if len(f.Samples) == 0 {
				t.Errorf("%s: %q has no samples", table.Title, f.Name)
			}
			if f.Unit == "s" && f.Value <= 0 {
				t.Errorf("%s: %q took %v s", table.Title, f.Name, f.Value)
			}
		}
	}
}

func TestWanted(t *testing.T) {
	o := defaults()
	o.only = "3,5"
	wanted, err := o.wanted()
	if err != nil || !wanted[3] || !wanted[5] || wanted[1] {
		t.Errorf("only 3 and 5: %v, %v", wanted, err)
	}
	o = defaults()
	o.quick = true
	if wanted, err = o.wanted(); err != nil || len(wanted) != 10 || !wanted[7] || o.clusters != 100 || o.grid != 5 {
		t.Errorf("quick: %v, %v, with %d clusters", wanted, err, o.clusters)
	}
	for _, bad := range []string{"11", "x", "1;2"} {
		o := defaults()
		o.only = bad
		if _, err := o.wanted(); err == nil {
			t.Errorf("--only %q is accepted", bad)
		}
	}
}

// TestArrived: a cluster has a commit with the last of its objects, and not before; what is refused,
// or written by others, is no arrival.
func TestArrived(t *testing.T) {
	a := small("x")
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	var all []simulator.Write
	for i, o := range a.objects("1") {
		all = append(all, simulator.Write{Time: at(i + 1), Verb: "apply", Resource: o.Kind.Plural, Name: o.Name, Manager: "skerry.x", Code: 200})
	}
	last := len(all) - 1
	if got, whole := a.arrived(all); !whole || !got.Equal(at(last+1)) {
		t.Errorf("arrived at %v (%t), want with the last write", got, whole)
	}
	refused, others := append([]simulator.Write(nil), all...), append([]simulator.Write(nil), all...)
	refused[last].Code = 409
	others[last].Manager = "floor"
	for name, list := range map[string][]simulator.Write{"one is missing": all[:last], "one is refused": refused, "one is by others": others} {
		if _, whole := a.arrived(list); whole {
			t.Errorf("%s, and yet it arrived", name)
		}
	}
}

func TestAllVerified(t *testing.T) {
	after := time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
	assignment := func(spec int, entries ...any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"spec":   map[string]any{"entries": make([]any, spec)},
			"status": map[string]any{"entries": entries},
		}}
	}
	entry := func(ready, at string) any { return map[string]any{"ready": ready, "verifiedAt": at} }
	good := entry("True", "2026-01-02T03:04:05Z")
	for name, tt := range map[string]struct {
		a    *unstructured.Unstructured
		want bool
	}{
		"all are":               {assignment(2, good, good), true},
		"nothing is reported":   {assignment(0), false},
		"one is not reported":   {assignment(2, good), false},
		"one is from before":    {assignment(2, good, entry("True", "2026-01-02T03:04:04Z")), false},
		"one was never":         {assignment(1, map[string]any{"ready": "True"}), false},
		"one is being verified": {assignment(2, good, entry("Unknown", "2026-01-02T03:04:06Z")), false},
	} {
		if got := allVerified(tt.a, after); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
