package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/plan"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
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

// A key that comes from a Secret is shown nowhere: not in the drift that is reported or corrected, nor in what
// the API server reports of it.
func TestKeysFromSecretsAreNotShown(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	assign := func(text string, change ...func(*v1alpha1.AssignmentEntry)) {
		t.Helper()
		digest := r.bundle("apps", text)
		r.bundleStore.mu.Lock()
		r.bundleStore.bundles[digest].Hidden = map[string]string{"canary": "${key}", "canary_": "${bad}"}
		r.bundleStore.mu.Unlock()
		r.ks["apps"] = r.entry("apps", digest, change...)
		r.assign()
	}
	text := r.namespace() + strings.ReplaceAll(r.configMap("web", "1"), "key:", "canary:")
	assign(text, mode(v1alpha1.DriftReport))
	r.ready("apps")
	edit := func(value string) {
		r.as("kubectl-edit").patch("ConfigMap", "web", types.MergePatchType, `{"data":{"canary":"`+value+`"}}`)
	}
	edit("2")
	r.until("apps", "reporting the drift", func(s v1alpha1.AssignmentEntryStatus) bool {
		return shown(s) == "Reported web Changed .data.${key} kubectl-edit"
	})
	assign(text)
	r.until("apps", "corrected", func(s v1alpha1.AssignmentEntryStatus) bool {
		return len(s.Drifts) > 0 && s.Drifts[0].Action == v1alpha1.DriftCorrected
	})
	assign(text + "\n---\napiVersion: v1\nkind: Service\nmetadata: {name: bad, namespace: " + r.key.Namespace + "}\nspec: {ports: [{port: 80, name: canary_}]}\n")
	st := r.failed("apps", v1alpha1.ApplyFailedReason)
	list, _ := r.pool.Report(r.key)
	r.mu.Lock()
	defer r.mu.Unlock()
	if all := fmt.Sprintf("%+v %+v %+v", st, list, r.events); strings.Contains(all, "canary") {
		t.Errorf("it shows the key: %s", all)
	}
}
