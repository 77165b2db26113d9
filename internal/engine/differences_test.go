package engine

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/plan"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

func mode(m v1alpha1.DriftMode) func(*v1alpha1.AssignmentEntry) {
	return func(e *v1alpha1.AssignmentEntry) { e.Drift = &v1alpha1.Drift{Mode: m} }
}

// shown returns the drifts of a status as text, without their times.
func shown(s v1alpha1.AssignmentEntryStatus) string {
	var lines []string
	for _, d := range s.Drifts {
		object := d.Object[strings.LastIndex(d.Object, "/")+1:]
		lines = append(lines, strings.Join([]string{string(d.Action), object, string(d.Change), strings.Join(d.Paths, ","), d.Manager}, " "))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestReportedDriftIsLeft: each difference is reported with its fields and its manager, and corrected by the
// next commit that changes the object, or by the mode Correct.
func TestReportedDriftIsLeft(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	all := r.namespace() + r.configMap("changed", "1") + r.configMap("extended", "1") + r.configMap("emptied", "1") + r.configMap("deleted", "1") + r.configMap("committed", "1") + r.configMap("same", "1")
	r.want("apps", all, mode(v1alpha1.DriftReport))
	r.ready("apps")
	r.writes()
	const merge = types.MergePatchType
	r.as("kubectl-edit").patch("ConfigMap", "changed", merge, `{"data":{"key":"secret value"}}`)
	r.as("an-operator").patch("ConfigMap", "committed", merge, `{"data":{"key":"secret value"}}`)
	r.as("k9s").patch("ConfigMap", "extended", merge, `{"data":{"more":"secret value"}}`)
	r.as("an-operator").patch("ConfigMap", "emptied", merge, `{"data":null}`)
	r.as("an-operator").patch("ConfigMap", "same", merge, `{"data":{"key":"2"}}`)
	r.as("an-operator").patch("ConfigMap", "same", merge, `{"data":{"key":"1"}}`)
	want := "Reported changed Changed .data.key kubectl-edit\nReported committed Changed .data.key an-operator\nReported emptied Changed .data.key \nReported extended Changed .data.more k9s"
	st := r.until("apps", "reporting the drift", func(s v1alpha1.AssignmentEntryStatus) bool { return shown(s) == want })
	if st.Drifted != 4 || st.Drift != 0 || st.Ready != metav1.ConditionTrue || st.Objects.Applied != 7 {
		t.Errorf("%+v", st)
	}
	for _, w := range r.writes() { // a dry run is one to the tap
		if !strings.HasPrefix(w, "PATCH") || strings.Contains(w, "skerry-system") {
			t.Errorf("a write: %s", w)
		}
	}
	if r.value("changed") != "secret value" || r.value("emptied") != "" {
		t.Error("drift was corrected")
	}
	if !r.hasEvent(v1alpha1.DriftDetectedReason, "/changed was changed and is left as it is: .data.key by kubectl-edit") || len(r.eventMessages(v1alpha1.DriftCorrectedReason)) > 0 {
		t.Errorf("events: %q", r.eventMessages(v1alpha1.DriftDetectedReason))
	}

	// An object that is deleted is missing, which is no state of Git's.
	r.delete("deleted")
	st = r.failed("apps", v1alpha1.ObjectMissingReason)
	if !strings.Contains(st.Message, "/deleted was deleted on the cluster, or lost its owner label, and drift.mode Report leaves it so") {
		t.Error(st.Message)
	}
	r.until("apps", "reporting the deletion", func(s v1alpha1.AssignmentEntryStatus) bool {
		return shown(s) == strings.Replace(want, "\nReported emptied", "\nReported deleted Deleted  \nReported emptied", 1)
	})

	// A commit applies what it changes, whole, and leaves the rest; a hub that starts again reports the same.
	all = strings.Replace(all, "name: committed, ", "name: committed, annotations: {rev: two}, ", 1)
	r.want("apps", all, mode(v1alpha1.DriftReport))
	want = "Reported changed Changed .data.key kubectl-edit\nReported deleted Deleted  \nReported emptied Changed .data.key \nReported extended Changed .data.more k9s"
	applied := func(s v1alpha1.AssignmentEntryStatus) bool {
		return shown(s) == want && s.AppliedDigest == r.ks["apps"].Digest
	}
	r.until("apps", "applied but for the drift", applied)
	if r.value("committed") != "1" || r.value("changed") != "secret value" || r.value("deleted") != "error: NotFound" {
		t.Errorf("committed is %s, changed %s, deleted %s", r.value("committed"), r.value("changed"), r.value("deleted"))
	}
	r.pool.Disconnect(r.key)
	r.connect(controlplane.Shared(t).RESTConfig())
	r.assign()
	r.until("apps", "reporting the same after a restart", applied)

	// What a person puts back is not reported any more.
	r.as("k9s").patch("ConfigMap", "extended", merge, `{"data":{"more":null}}`)
	r.until("apps", "reporting one less", func(s v1alpha1.AssignmentEntryStatus) bool { return !strings.Contains(shown(s), "extended") })

	r.want("apps", all)
	r.ready("apps")
	for _, name := range []string{"changed", "emptied", "deleted"} {
		if got := r.value(name); got != "1" {
			t.Errorf("%s is %s with mode Correct", name, got)
		}
	}
	st = r.until("apps", "showing the corrections", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Drifted == 0 && len(s.Drifts) >= 3 })
	if !strings.Contains(shown(st), "Corrected changed Changed .data.key kubectl-edit\nCorrected deleted Deleted  ") {
		t.Error(shown(st))
	}
}

// TestDriftThatIsOffIsNotLookedAt: nothing is read, corrected or reported for drift. A commit is applied, and a
// missing object is missing.
func TestDriftThatIsOffIsNotLookedAt(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	all := r.namespace() + r.configMap("changed", "1") + r.configMap("deleted", "1") + r.configMap("marker", "1")
	short := func(e *v1alpha1.AssignmentEntry) { e.Interval = metav1.Duration{Duration: time.Second} }
	r.want("apps", all, mode(v1alpha1.DriftOff), short)
	at := r.ready("apps").VerifiedAt
	r.edit("changed", "by hand")
	r.until("apps", "verified at its interval", func(s v1alpha1.AssignmentEntryStatus) bool { return s.VerifiedAt.After(at.Add(time.Second)) })
	if st := r.ready("apps"); st.Drift != 0 || st.Drifted != 0 || len(st.Drifts) > 0 || r.value("changed") != "by hand" {
		t.Errorf("%+v", st)
	}
	r.want("apps", strings.Replace(all, `"1"`, `"2"`, 3), mode(v1alpha1.DriftOff), short)
	r.ready("apps")
	if r.value("changed") != "2" {
		t.Errorf("a commit leaves %s", r.value("changed"))
	}
	r.delete("deleted")
	r.failed("apps", v1alpha1.ObjectMissingReason)
	r.change("apps", func(e *v1alpha1.AssignmentEntry) { e.Drift = nil })
	r.ready("apps")
	if r.value("deleted") != "2" {
		t.Error("the deleted object does not come back with mode Correct")
	}
}

// TestDriftRecordsAreBounded in number and size.
func TestDriftRecordsAreBounded(t *testing.T) {
	en := &entry{}
	now := time.Unix(1000, 0)
	long := strings.Repeat("x", 500)
	id := func(n int) object.ID {
		return object.ID{Kind: "ConfigMap", Namespace: "web", Name: "cm-" + string(rune('a'+n))}
	}
	for n := range 15 {
		c := correction{id: id(n), why: plan.Drifted, fields: []string{long, "2", "3", "4", "5", "6", "7"}, managers: []string{"a", "b", "c"}}
		en.noteDrift(outcome{drifted: []correction{c}}, now.Add(time.Duration(n)*time.Second))
	}
	left := v1alpha1.DriftRecord{Object: "left", Action: v1alpha1.DriftReported}
	en.noteDrift(outcome{left: map[object.ID]difference{id(0): {record: &left}, id(1): {}}}, now)
	list, count := en.drifts()
	if len(list) != 10 || count != 1 || list[0].Object != "left" || list[1].Object != id(14).String() || list[9].Object != id(6).String() {
		t.Errorf("%d of which %d are left: %+v", len(list), count, list)
	}
	want := v1alpha1.DriftRecord{
		Object: id(14).String(), Change: v1alpha1.DriftChanged, Paths: []string{strings.Repeat("x", 120) + "…", "2", "3", "4", "5"}, MorePaths: 2,
		Manager: "a, b", At: metav1.NewTime(now.Add(14 * time.Second)), Action: v1alpha1.DriftCorrected,
	}
	if diff := cmp.Diff(want, list[1]); diff != "" {
		t.Error(diff)
	}
}
