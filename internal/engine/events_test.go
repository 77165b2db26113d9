package engine

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/object"
)

func TestManyEventsOfOnePassAreSummarized(t *testing.T) {
	var events []Event
	event := func(reason string, i int) Event {
		return Event{Reason: reason, Message: fmt.Sprint(i), Object: Object{ID: object.ID{Kind: "ConfigMap", Name: fmt.Sprint(i)}}}
	}
	for i := range 13 {
		events = append(events, event("DriftCorrected", i))
	}
	events = append(events, event("Pruned", 1))
	got := summarize(events)
	want := append([]Event{}, events[:10]...)
	more := event("DriftCorrected", 12)
	more.Message = "3 objects more"
	want = append(want, event("Pruned", 1), more)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(events[:3], summarize(events[:3])); diff != "" {
		t.Errorf("a few are changed: %s", diff)
	}
}
