package engine

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/plan"
)

// TestDriftIsShownWithoutNamesFromSecrets: neither the records nor the event show them, not in a path and not
// where a long path cuts one off. What the entry keeps stays as it is.
func TestDriftIsShownWithoutNamesFromSecrets(t *testing.T) {
	var m object.Mask
	id := object.ID{Kind: "ConfigMap", Namespace: "canary-tenant", Name: "web"}
	m.Add(id, "${tenant}/web")
	long := "." + strings.Repeat("x", maxPathSize-8) + ".canary-tenant"
	r := driftRecord(id, plan.Drifted, []string{long, ".data.canary-tenant", `.spec.list[name="canary-tenant"].value`}, []string{"canary-tenant-operator"}, time.Unix(1000, 0), v1alpha1.DriftReported)
	kept := r.DeepCopy()

	st := maskStatus(&m, v1alpha1.AssignmentEntryStatus{Drifts: []v1alpha1.DriftRecord{r}})
	want := r.DeepCopy()
	want.Object, want.Manager = "ConfigMap/${tenant}/web", "${tenant}-operator"
	want.Paths = []string{"." + strings.Repeat("x", maxPathSize-8) + ".${tenant}…", ".data.${tenant}", `.spec.list[name="${tenant}"].value`}
	if diff := cmp.Diff([]v1alpha1.DriftRecord{*want}, st.Drifts); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(*kept, r); diff != "" {
		t.Errorf("the entry's own record changed: %s", diff)
	}

	ev := maskEvent(&m, Event{Message: describeDrift(plan.Action{ID: id, Why: plan.Drifted}, r), Object: Object{ID: id}})
	if message := "ConfigMap/${tenant}/web was changed and is left as it is: " + strings.Join(want.Paths, ", ") + " by ${tenant}-operator"; ev.Message != message || ev.Object.ID.Namespace != "${tenant}" {
		t.Errorf("the event of %v shows %q; want %q", ev.Object.ID, ev.Message, message)
	}
	if shown := append(slices.Clone(st.Drifts[0].Paths), ev.Message); strings.Contains(strings.Join(shown, " "), "canary") {
		t.Errorf("shown: %q", shown)
	}
}
