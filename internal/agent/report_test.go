package agent

import (
	"testing"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/link"
)

// TestAnInactiveEngineIsReportedOnce: after a removal the agent knows of no entries, and has nothing more to tell until the
// hub lets the Cluster go.
func TestAnInactiveEngineIsReportedOnce(t *testing.T) {
	r := newReports(link.Have{})
	for i, f := range []facts{
		{state: &link.State{Reachable: true}, entries: []v1alpha1.AssignmentEntryStatus{{Name: "apps"}}, complete: true},
		{state: &link.State{Reachable: true}, finalized: "request-1"},
	} {
		up, canWait, err := r.next(f)
		if err != nil || canWait {
			t.Fatalf("report %d can wait: %v, error %v", i, canWait, err)
		}
		if err := r.acknowledged(up, f); err != nil {
			t.Fatal(err)
		}
		if up, canWait, err := r.next(f); err != nil || !canWait {
			t.Errorf("after report %d, the same is told again: %+v, error %v", i, up, err)
		}
	}
}
