package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

func entryOf(name, digest string, change ...func(*v1alpha1.AssignmentEntry)) v1alpha1.AssignmentEntry {
	e := v1alpha1.AssignmentEntry{Name: name, Digest: digest, Revision: "rev of " + digest}
	for _, f := range change {
		f(&e)
	}
	return e
}

func holdPrune(e *v1alpha1.AssignmentEntry) { e.HoldPrune = true }
func remove(e *v1alpha1.AssignmentEntry)    { e.Remove = true }

func TestEntriesThatTheEngineIsGiven(t *testing.T) {
	for name, c := range map[string]struct {
		assigned, before, want []v1alpha1.AssignmentEntry
		there, held            []string
	}{
		"everything is there": {
			assigned: []v1alpha1.AssignmentEntry{entryOf("web", "w2"), entryOf("apps", "a2")}, there: []string{"w2", "a2"},
			want: []v1alpha1.AssignmentEntry{entryOf("apps", "a2"), entryOf("web", "w2")},
		},
		"an entry whose bundle has not arrived stays, and nothing is deleted": {
			assigned: []v1alpha1.AssignmentEntry{entryOf("apps", "a2"), entryOf("web", "w2")},
			before:   []v1alpha1.AssignmentEntry{entryOf("apps", "a1"), entryOf("web", "w1")}, there: []string{"a1", "a2", "w1"},
			want: []v1alpha1.AssignmentEntry{entryOf("apps", "a2", holdPrune), entryOf("web", "w1", holdPrune)}, held: []string{"web"},
		},
		"a new entry without a bundle is told as it is": {
			assigned: []v1alpha1.AssignmentEntry{entryOf("apps", "a1"), entryOf("web", "w1")},
			before:   []v1alpha1.AssignmentEntry{entryOf("apps", "a1")}, there: []string{"a1"},
			want: []v1alpha1.AssignmentEntry{entryOf("apps", "a1", holdPrune), entryOf("web", "w1", holdPrune)}, held: []string{"web"},
		},
		"an entry that goes needs no bundle, and deletes nothing while another one is held": {
			assigned: []v1alpha1.AssignmentEntry{entryOf("apps", "a1", remove), entryOf("web", "w2")},
			before:   []v1alpha1.AssignmentEntry{entryOf("apps", "a1"), entryOf("web", "w1")}, there: []string{"w1"},
			want: []v1alpha1.AssignmentEntry{entryOf("apps", "a1", remove, holdPrune), entryOf("web", "w1", holdPrune)}, held: []string{"web"},
		},
		"suspension holds at once": {
			assigned: []v1alpha1.AssignmentEntry{entryOf("web", "w2", func(e *v1alpha1.AssignmentEntry) { e.Suspend = true })},
			before:   []v1alpha1.AssignmentEntry{entryOf("web", "w1")}, there: []string{"w1"},
			want: []v1alpha1.AssignmentEntry{entryOf("web", "w1", holdPrune, func(e *v1alpha1.AssignmentEntry) { e.Suspend = true })}, held: []string{"web"},
		},
		"a disk that was lost leaves everything as it stands": {
			assigned: []v1alpha1.AssignmentEntry{entryOf("web", "w1")}, before: []v1alpha1.AssignmentEntry{entryOf("web", "w1")},
			want: []v1alpha1.AssignmentEntry{entryOf("web", "w1", holdPrune)}, held: []string{"web"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			there := map[string]bool{}
			for _, d := range c.there {
				there[d] = true
			}
			now, held := effective(c.assigned, c.before, func(d string) bool { return there[d] })
			if diff := cmp.Diff(c.want, now); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.held, held); diff != "" {
				t.Errorf("held (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBundlesThatHoldAnEntryBackAreFetchedFirst(t *testing.T) {
	got := wantedDigests([]v1alpha1.AssignmentEntry{
		entryOf("a", "d1", func(e *v1alpha1.AssignmentEntry) { e.KeepFor, e.Undone = []string{"k1", "d2"}, "u1" }),
		entryOf("b", "d2"), entryOf("c", "d3", remove, func(e *v1alpha1.AssignmentEntry) { e.KeepFor = []string{"k2"} }), entryOf("d", ""),
	})
	if diff := cmp.Diff([]string{"d1", "d2", "k1", "u1", "k2"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBundlesThatAreNeededWithoutTheHubAreKept(t *testing.T) {
	got := digestsToKeep(
		[]v1alpha1.AssignmentEntry{entryOf("a", "new", func(e *v1alpha1.AssignmentEntry) { e.Fallback = &v1alpha1.Bundle{Digest: "fallback"} })},
		[]v1alpha1.AssignmentEntry{entryOf("a", "told")}, []v1alpha1.AssignmentEntryStatus{{Name: "a", AppliedDigest: "applied"}})
	if diff := cmp.Diff(map[string]bool{"new": true, "fallback": true, "told": true, "applied": true}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAHeldEntryIsReportedWithItsReason(t *testing.T) {
	report := []v1alpha1.AssignmentEntryStatus{
		{Name: "apps", AppliedDigest: "a1", Ready: metav1.ConditionTrue, Reason: "Ready"}, {Name: "web", AppliedDigest: "w1", Ready: metav1.ConditionTrue, Reason: "Ready"},
	}
	assigned := []v1alpha1.AssignmentEntry{entryOf("apps", "a2"), entryOf("web", "w2")}
	got := withHeld(report, assigned, []string{"apps", "web"}, map[string]failure{"w2": {v1alpha1.BundleRefusedReason, "why"}})
	want := []v1alpha1.AssignmentEntryStatus{
		{Name: "apps", AppliedDigest: "a1", Revision: "rev of a2", Digest: "a2", Ready: metav1.ConditionUnknown, Reason: v1alpha1.ProgressingReason, Message: "the bundle is being fetched from the hub"},
		{Name: "web", AppliedDigest: "w1", Revision: "rev of w2", Digest: "w2", Ready: metav1.ConditionFalse, Reason: v1alpha1.BundleRefusedReason, Message: "why"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if report[0].Digest != "" {
		t.Error("the engine's own report was changed")
	}
}
