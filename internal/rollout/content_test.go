package rollout

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

func at(minute int) *metav1.Time {
	t := metav1.NewTime(time.Date(2026, 1, 1, 12, minute, 0, 0, time.UTC))
	return &t
}

// brought is an entry that a change brought at a minute; digests are named as the change is.
func brought(change string, minute int, fallback string) *v1alpha1.AssignmentEntry {
	e := &v1alpha1.AssignmentEntry{Revision: "of " + change, Digest: change, Change: change, AssignedAt: at(minute)}
	if fallback != "" {
		e.Fallback = &v1alpha1.Bundle{Revision: "of " + fallback, Digest: fallback}
	}
	return e
}

// verifiedAt is the status of the change c3, begun at 12:10, when the change of an id was the last that
// was verified.
func verifiedAt(id string, minute int) *v1alpha1.RolloutStatus {
	s := &v1alpha1.RolloutStatus{RolloutChange: v1alpha1.RolloutChange{ID: "c3"}, StartedAt: at(10), VerifiedAt: at(minute)}
	if id != "" {
		s.Verified = &v1alpha1.RolloutChange{ID: id}
	}
	return s
}

func TestContentIsVerifiedByTheChangeThatBroughtItOrByALaterOne(t *testing.T) {
	removed := brought("c1", 1, "")
	removed.Remove = true
	old := verifiedAt("c2", 5)
	old.VerifiedAt = nil // of a hub that did not record it
	for name, tt := range map[string]struct {
		entry  *v1alpha1.AssignmentEntry
		status *v1alpha1.RolloutStatus
		want   bool
	}{
		"no entry":                                     {nil, verifiedAt("c2", 5), false},
		"no status":                                    {brought("c1", 1, ""), nil, false},
		"a cluster that is left":                       {removed, verifiedAt("c1", 5), false},
		"brought by the verified change":               {brought("c2", 4, ""), verifiedAt("c2", 5), true},
		"brought by it after it was verified":          {brought("c2", 7, ""), verifiedAt("c2", 5), true},
		"brought before, and rendered the same":        {brought("c1", 1, ""), verifiedAt("c2", 5), true},
		"brought in the same second":                   {brought("c1", 5, ""), verifiedAt("c2", 5), true},
		"brought since":                                {brought("c3", 10, ""), verifiedAt("c2", 5), false},
		"brought before, and the verified one undone":  {brought("c1", 1, ""), verifiedAt("", 5), true},
		"a status without the time, the change itself": {brought("c2", 4, ""), old, true},
		"a status without the time, another change":    {brought("c1", 1, ""), old, false},
	} {
		if got := IsVerified(tt.entry, tt.status); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestUndoReturnsOnlyWhatTheChangeAltered(t *testing.T) {
	for name, tt := range map[string]struct {
		entry  *v1alpha1.AssignmentEntry
		status *v1alpha1.RolloutStatus
		want   bool
	}{
		"altered by it":                                   {brought("c3", 11, "c1"), verifiedAt("c2", 5), true},
		"altered by it, and it is verified":               {brought("c3", 11, "c1"), verifiedAt("c3", 15), true},
		"altered by it, verified and undone":              {brought("c3", 11, "c1"), verifiedAt("", 15), true},
		"nothing to go back to":                           {brought("c3", 11, ""), verifiedAt("c2", 5), false},
		"the same before":                                 {brought("c3", 11, "c3"), verifiedAt("c2", 5), false},
		"altered by an earlier one, verified":             {brought("c1", 1, "c0"), verifiedAt("c2", 5), false},
		"altered by an earlier one, verified with this":   {brought("c2", 9, "c1"), verifiedAt("c3", 15), false},
		"altered by an earlier one that was not verified": {brought("c2", 9, "c1"), verifiedAt("c1", 5), true},
		"altered by an earlier rollout of it":             {brought("c3", 1, "c0"), verifiedAt("c2", 5), false},
	} {
		if got := Returns(tt.entry, tt.status, "c3"); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestFallbackIsVerified(t *testing.T) {
	for name, tt := range map[string]struct {
		entry *v1alpha1.AssignmentEntry
		want  *v1alpha1.Bundle
	}{
		"nothing":                   {nil, nil},
		"verified by a later one":   {brought("c1", 1, "c0"), &v1alpha1.Bundle{Revision: "of c1", Digest: "c1"}},
		"not verified":              {brought("c9", 9, "c1"), &v1alpha1.Bundle{Revision: "of c1", Digest: "c1"}},
		"not verified, and nothing": {brought("c9", 9, ""), nil},
	} {
		if diff := cmp.Diff(tt.want, Fallback(tt.entry, verifiedAt("c2", 5))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestALaterAssignmentIsNeverTakenForVerified: times have whole seconds, and clocks differ.
func TestALaterAssignmentIsNeverTakenForVerified(t *testing.T) {
	for name, now := range map[string]time.Time{"in the same second": at(5).Add(300 * time.Millisecond), "by a clock that is behind": at(1).Time} {
		e := brought("c3", 0, "")
		e.AssignedAt = AssignedAt(now, brought("c1", 1, ""), verifiedAt("c2", 5))
		if IsVerified(e, verifiedAt("c2", 5)) {
			t.Errorf("%s: assigned at %s", name, e.AssignedAt)
		}
	}
	if got := AssignedAt(at(8).Time, brought("c1", 1, ""), verifiedAt("c2", 5)); !got.Equal(at(8)) {
		t.Errorf("later: %s", got)
	}
	if got := AssignedAt(at(8).Time, brought("c1", 9, ""), nil); !got.Equal(at(9)) {
		t.Errorf("after an entry of a clock that is ahead: %s", got)
	}
}

func TestWhatAVerificationDoesNotReachStaysUnverified(t *testing.T) {
	before, now, undone := verifiedAt("c1", 5), verifiedAt("c3", 15), verifiedAt("", 15)
	for name, tt := range map[string]struct {
		entry       *v1alpha1.AssignmentEntry
		before, now *v1alpha1.RolloutStatus
		want        bool
	}{
		"it renders the same":                    {brought("c3", 11, "c1"), before, now, false},
		"it keeps what an unverified one left":   {brought("c2", 9, "c1"), before, now, true},
		"it keeps what was verified before":      {brought("c0", 1, ""), before, now, false},
		"nothing is verified anew":               {brought("c2", 9, "c1"), before, before, false},
		"undone, and it goes back":               {brought("c3", 11, "c1"), now, undone, false},
		"undone, and there is nothing before it": {brought("c3", 11, ""), now, undone, true},
		"undone, and it was not altered":         {brought("c1", 1, ""), now, undone, false},
	} {
		got := Unverify(tt.entry, "c3", tt.before, tt.now)
		if (got != nil) != tt.want {
			t.Errorf("%s: %v", name, got)
			continue
		}
		if got != nil {
			if tt.entry.AssignedAt = got; IsVerified(tt.entry, tt.now) {
				t.Errorf("%s: verified at %s still", name, got)
			}
		}
	}
}

// TestCauseOutlastsThePhases: it is a field of its own, and the message of each phase repeats it.
func TestCauseOutlastsThePhases(t *testing.T) {
	w := newWorld(t, &v1alpha1.Rollout{OnFailure: v1alpha1.FailureRollback}, at(0).Time)
	w.edges["edge-1"], w.edges["edge-2"] = &edge{name: "edge-1"}, &edge{name: "edge-2"}
	commit := func(name string) {
		w.change, w.commits = name, append(w.commits, name)
		w.settle()
	}
	healAll := func() {
		for range 3 {
			for _, e := range w.edges {
				e.heal()
			}
			w.settle()
		}
	}
	commit("A")
	healAll()
	if w.status.Phase != v1alpha1.RolloutCompleted || w.status.Cause != "" {
		t.Fatalf("verified: %+v", w.status)
	}
	commit("B")
	w.edges["edge-1"].health, w.edges["edge-1"].message = Failed, "rolled back: ha"
	w.settle()
	const cause = "1 failed in stage canary, where none may: edge-1: rolled back: ha"
	if w.status.Phase != v1alpha1.RolloutRollingBack || w.status.Cause != cause || w.status.Message != "rolling back: "+cause {
		t.Errorf("rolling back: %+v", w.status)
	}
	healAll()
	if w.status.Phase != v1alpha1.RolloutRolledBack || w.status.Cause != cause || w.status.Message != "rolled back: "+cause {
		t.Errorf("rolled back: %+v", w.status)
	}
	w.promote = "B/*"
	w.settle()
	if w.status.Cause != "" {
		t.Errorf("promoted: %+v", w.status)
	}
	w.promote = ""
	commit("C")
	w.change = "B" // the branch is set back to it
	w.status.Halted = append(w.status.Halted, v1alpha1.RolloutChange{ID: "B"})
	w.settle()
	if w.status.Cause != "" || !strings.HasSuffix(w.status.Message, ": "+haltedBefore) {
		t.Errorf("halted before: %+v", w.status)
	}
}
