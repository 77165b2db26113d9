package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

func reasonOf(err error) metav1.StatusReason { return apierrors.ReasonForError(err) }

func many(r *rig, n int, value string) string {
	var b strings.Builder
	b.WriteString(r.namespace())
	for i := range n {
		b.WriteString(r.configMap(fmt.Sprintf("cm-%d", i), value))
	}
	return b.String()
}

func TestOneRequestPerChangedObject(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.want("apps", many(r, 20, "one"))
	st := r.ready("apps")
	if diff := cmp.Diff(v1alpha1.ObjectCounts{Total: 21, Applied: 21, Ready: 21}, st.Objects); diff != "" {
		t.Error(diff)
	}
	w := r.writes()
	if n := count(w, "PATCH"); n != 21 {
		t.Errorf("%d applies for 21 objects", n)
	}
	if n := len(w) - 21; n > 4 {
		t.Errorf("%d writes beside the applies: %v", n, w)
	}

	// Another commit that renders to the same costs nothing.
	e := r.ks["apps"]
	e.Revision = "main@sha1:another"
	r.ks["apps"] = e
	r.assign()
	r.until("apps", "at the other commit", func(s v1alpha1.AssignmentEntryStatus) bool {
		return s.AppliedRevision == "main@sha1:another" && s.Ready == metav1.ConditionTrue
	})
	if w := r.writes(); len(w) != 0 {
		t.Errorf("a commit without change made writes: %v", w)
	}

	// One object of 21 changes: one apply, the record before and the one after.
	r.want("apps", strings.Replace(many(r, 20, "one"), `"one"`, `"two"`, 1))
	r.ready("apps")
	if w := r.writes(); count(w, "PATCH") != 1 || len(w) != 3 {
		t.Errorf("a change of one object made the writes %v", w)
	}
}

func TestARestartWritesNothing(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.want("apps", many(r, 5, "one"))
	r.ready("apps")
	r.pool.Disconnect(r.key)
	r.writes()
	r.connect(controlplane.Shared(t).RESTConfig())
	r.assign()
	r.ready("apps")
	if w := r.writes(); len(w) != 0 {
		t.Errorf("a restart made writes: %v", w)
	}
	// What was changed while no engine ran is put back.
	r.pool.Disconnect(r.key)
	r.edit("cm-1", "changed")
	r.delete("cm-2")
	r.connect(controlplane.Shared(t).RESTConfig())
	r.assign()
	r.eventually("drift behind the back is put back", func() bool { return r.value("cm-1") == "one" && r.value("cm-2") == "one" })
}

func (r *rig) edit(name, value string) {
	r.t.Helper()
	patch := fmt.Sprintf(`{"data":{"key":%q}}`, value)
	if _, err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Patch(context.Background(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "kubectl-edit"}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) delete(name string) {
	r.t.Helper()
	if err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

func TestDriftIsPutBack(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.want("apps", many(r, 5, "one"))
	r.ready("apps")
	corrected := int64(0)
	for what, drift := range map[string]func(){
		"a changed value": func() { r.edit("cm-0", "two") },
		"a deletion":      func() { r.delete("cm-0") },
		"a lost owner label": func() {
			patch := fmt.Sprintf(`{"metadata":{"labels":{%q:null}}}`, v1alpha1.OwnerLabel)
			if _, err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Patch(t.Context(), "cm-0", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
		},
		"a replacement without managed fields": func() {
			cm, err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Get(t.Context(), "cm-0", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			cm.ManagedFields = []metav1.ManagedFieldsEntry{{}}
			cm.Data["key"] = "three"
			if _, err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Update(t.Context(), cm, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		drift()
		r.eventually(what+" is put back", func() bool {
			cm, err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Get(t.Context(), "cm-0", metav1.GetOptions{})
			return err == nil && cm.Data["key"] == "one" && cm.Labels[v1alpha1.OwnerLabel] != ""
		})
		// The correction may go on: the next change would be a part of it.
		corrected++
		r.until("apps", "counting each correction", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Drift >= corrected })
	}
	e, ok := r.event("DriftCorrected")
	if !ok || strings.Contains(e.Message, "two") {
		t.Errorf("event %v: a correction is told, and never with a value", e)
	}

	// What is not ours stays as another manager wants it, and costs nothing.
	r.writes()
	patch := `{"metadata":{"labels":{"theirs":"yes"}},"data":{"other":"x"}}`
	if _, err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Patch(t.Context(), "cm-1", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	r.delete("cm-2") // what comes after it has been seen, too
	r.eventually("the deleted object is back", func() bool { return r.value("cm-2") == "one" })
	for _, w := range r.writes() {
		if strings.HasSuffix(w, "/cm-1") {
			t.Errorf("a field that is not ours made a write: %s", w)
		}
	}
}

func TestTheGuardKeepsTheLastGoodState(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	good := r.want("apps", many(r, 5, "one"))
	r.ready("apps")
	r.want("apps", many(r, 1, "one"))
	st := r.failed("apps", v1alpha1.PruneLimitExceededReason)
	if st.AppliedDigest != good || r.value("cm-4") != "one" {
		t.Errorf("a refused bundle changed the cluster: %+v", st)
	}
	// While it is refused, what it would delete is still kept.
	r.delete("cm-4")
	r.eventually("drift of the last good state is put back", func() bool { return r.value("cm-4") == "one" })
	r.want("apps", many(r, 1, "one"), func(e *v1alpha1.AssignmentEntry) { e.AllowPrune = true })
	r.ready("apps")
	r.eventually("the acknowledged prune is done", func() bool { return r.value("cm-4") == "error: NotFound" })
}

func TestTwoKustomizationsClaimOneObject(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.want("first", r.namespace()+r.configMap("shared", "first")+r.configMap("mine", "x"))
	r.ready("first")
	r.want("second", r.configMap("shared", "second")+r.configMap("other", "y"))
	st := r.failed("second", v1alpha1.OwnershipConflictReason)
	if st.Objects.Applied != 1 || r.value("shared") != "first" || r.value("other") != "y" {
		t.Errorf("the claim must be refused and the rest stand: %+v, shared=%s", st, r.value("shared"))
	}
	before, err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Get(t.Context(), "shared", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// The first gives it up: it changes hands without being deleted.
	r.want("first", r.namespace()+r.configMap("mine", "x"))
	r.ready("second")
	after, err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Get(t.Context(), "shared", metav1.GetOptions{})
	if err != nil || after.UID != before.UID || after.Data["key"] != "second" {
		t.Errorf("the object did not change hands alive: %v, %v", err, after)
	}
}

func TestAdoption(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.key.Namespace}}
	if _, err := r.kube.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "old"}, Data: map[string]string{"key": "theirs"}}
	if _, err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Create(t.Context(), cm, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.want("apps", r.namespace()+r.configMap("old", "ours"))
	r.ready("apps")
	if _, ok := r.event("Adopted"); !ok || r.value("old") != "ours" {
		t.Errorf("adopted with an event: %v, value %s", ok, r.value("old"))
	}
}

func TestOneOfFiftyIsRefused(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	bad := fmt.Sprintf("\n---\napiVersion: v1\nkind: Service\nmetadata: {name: bad, namespace: %s}\nspec: {ports: [{port: 99999}]}\n", r.key.Namespace)
	r.want("apps", many(r, 48, "one")+bad)
	st := r.failed("apps", v1alpha1.ApplyFailedReason)
	if st.Objects.Applied != 49 || !strings.HasPrefix(st.Message, "49 of 50 objects applied; Service/"+r.key.Namespace+"/bad: spec.ports[0].port") {
		t.Errorf("%+v", st)
	}
	r.want("apps", many(r, 48, "one"))
	r.ready("apps")
}

func TestCustomResourceInTheCommitOfItsDefinition(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	group := r.key.Namespace + ".example.com"
	crd := fmt.Sprintf(`
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.%[1]s}
spec:
  group: %[1]s
  scope: Namespaced
  names: {plural: things, singular: thing, kind: Thing, listKind: ThingList}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
---
apiVersion: %[1]s/v1
kind: Thing
metadata: {name: one, namespace: %[2]s}
spec: {size: 3}
`, group, r.key.Namespace)
	begin := time.Now()
	r.want("apps", r.namespace()+crd)
	r.ready("apps")
	t.Logf("definition and resource ready after %v", time.Since(begin))
	if n := count(r.writes(), "PATCH"); n > 4 {
		t.Errorf("%d applies for 3 objects", n)
	}
}

func TestDependencies(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	on := func(name string) func(*v1alpha1.AssignmentEntry) {
		return func(e *v1alpha1.AssignmentEntry) { e.DependsOn = []string{name} }
	}
	r.want("c", r.configMap("c", "c"), on("b"))
	r.want("b", r.configMap("b", "b"), on("a"))
	r.until("c", "waiting", func(s v1alpha1.AssignmentEntryStatus) bool {
		return s.Reason == v1alpha1.DependencyNotReadyReason && strings.Contains(s.Message, "b")
	})
	if w := r.writes(); count(w, "PATCH") != 0 {
		t.Errorf("applied before its dependency: %v", w)
	}
	r.want("a", r.namespace())
	r.ready("c")
}

// A Kustomization that was removed has no last good bundle: one that is made again under its name, and
// waits for a dependency, enforces nothing meanwhile.
func TestRemovedKustomizationDoesNotComeBackWithAnotherOfItsName(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.want("base", r.namespace())
	r.want("app", r.configMap("old", "one"))
	r.ready("app")
	r.leave("app")
	delete(r.ks, "app")
	r.assign()
	r.eventually("the entry is gone", func() bool {
		list, _ := r.pool.Report(r.key)
		return !slices.ContainsFunc(list, func(s v1alpha1.AssignmentEntryStatus) bool { return s.Name == "app" })
	})
	r.want("app", r.configMap("new", "one"), func(e *v1alpha1.AssignmentEntry) { e.DependsOn = []string{"late"} })
	r.until("app", "waiting", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Reason == v1alpha1.DependencyNotReadyReason })
	r.want("late", r.configMap("late", "one"))
	r.ready("app")
	if r.value("old") != "error: NotFound" || r.value("new") != "one" {
		t.Errorf("old=%s new=%s", r.value("old"), r.value("new"))
	}
	if w := r.writes(); count(w, "PATCH") > 4 { // namespace, old, late, new
		t.Errorf("more applies than objects: %v", w)
	}
}

func TestRemoval(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.want("keep", r.namespace())
	r.ready("keep")
	r.want("gone", r.configMap("a", "a")+r.configMap("b", "b"))
	r.want("orphan", r.configMap("c", "c"))
	r.ready("gone")
	r.ready("orphan")
	remove := func(name string, policy v1alpha1.DeletionPolicy) {
		e := r.ks[name]
		e.Remove, e.DeletionPolicy = true, policy
		r.ks[name] = e
		r.assign()
		r.until(name, "removed", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Removed })
	}
	remove("gone", v1alpha1.DeletionDelete)
	remove("orphan", v1alpha1.DeletionOrphan)
	if r.value("a") != "error: NotFound" || r.value("c") != "c" {
		t.Errorf("a=%s c=%s", r.value("a"), r.value("c"))
	}
	if r.inventoried("gone", "") || r.inventoried("orphan", "") {
		t.Error("an inventory is left behind")
	}
	r.want("heir", r.configMap("c", "heir"))
	r.ready("heir")
}

func TestASecondHubIsRefused(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.want("apps", r.namespace())
	r.ready("apps")
	other := newRig(t, "other-hub", controlplane.Shared(t).RESTConfig())
	other.want("apps", r.configMap("x", "x"))
	other.until("apps", "refused", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Reason == v1alpha1.OwnedByAnotherHubReason })
	if w := other.writes(); len(w) != 0 {
		t.Errorf("a refused hub made writes: %v", w)
	}
	st, _ := other.pool.State(other.key)
	if !st.Reachable || st.Usable || !strings.Contains(st.Message, testHub) {
		t.Errorf("%+v", st)
	}
}

func TestTheSameClusterTwice(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.want("apps", r.namespace())
	r.ready("apps")
	twin := Key{Namespace: r.key.Namespace, Name: "twin"}
	r.pool.Connect(twin, Connection{Config: controlplane.Shared(t).RESTConfig(), Fingerprint: "1"})
	defer r.pool.Disconnect(twin)
	r.eventually("the twin is refused", func() bool {
		s, _ := r.pool.State(twin)
		return s.Reason == v1alpha1.DuplicateClusterReason
	})
}

func TestDriftLoop(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.want("apps", many(r, 2, "one"))
	r.ready("apps")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 8 { // a client that repeats its change
			for r.value("cm-0") != "one" {
				select {
				case <-t.Context().Done():
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
			patch := `{"data":{"key":"theirs"}}`
			_, _ = r.kube.CoreV1().ConfigMaps(r.key.Namespace).Patch(t.Context(), "cm-0", types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "their-operator"})
		}
	}()
	st := r.failed("apps", v1alpha1.DriftLoopReason)
	if !strings.Contains(st.Message, "cm-0") || !strings.Contains(st.Message, "their-operator") || !strings.Contains(st.Message, "spec.drift.ignore") {
		t.Errorf("%+v", st)
	}
	<-done
}

func TestInventoryIsWrittenAhead(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.mu.Lock()
	recorded := 0
	r.before = func(req *http.Request) error {
		switch {
		case strings.Contains(req.URL.Path, "skerry-inventory") || req.Method == http.MethodPost && strings.HasSuffix(req.URL.Path, "skerry-system/configmaps"):
			recorded++
		case req.Method == http.MethodPatch && recorded == 0:
			return errors.New("applied before it was recorded")
		}
		return nil
	}
	r.mu.Unlock()
	r.want("apps", many(r, 2, "one"))
	r.ready("apps")
}

// A Kustomization that is removed and made again under its name, in one session that began when its
// objects were there: that they are not there any more is no drift.
func TestMadeAgainIsNoDrift(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.want("base", r.namespace())
	r.ready("base")
	r.want("apps", r.configMap("a", "1")+r.configMap("b", "1"))
	r.ready("apps")
	r.pool.Disconnect(r.key)
	r.connect(controlplane.Shared(t).RESTConfig())
	r.assign()
	r.ready("apps")
	e := r.ks["apps"]
	e.Remove, e.DeletionPolicy = true, v1alpha1.DeletionDelete
	r.ks["apps"] = e
	r.assign()
	r.until("apps", "removed", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Removed })
	delete(r.ks, "apps")
	r.assign()
	r.eventually("the entry is forgotten", func() bool {
		list, _ := r.pool.Report(r.key)
		return len(list) == 1
	})
	r.want("apps", r.configMap("a", "1")+r.configMap("b", "1"))
	st := r.ready("apps")
	if e, told := r.event("DriftCorrected"); st.Drift != 0 || told {
		t.Errorf("counted as drift: %+v, %+v", st, e)
	}
}
