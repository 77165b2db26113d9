package engine

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/engine/machine"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/inventory"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// eventMessages returns the messages of all events of a reason.
func (r *rig) eventMessages(reason string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, e := range r.events {
		if e.Reason == reason {
			out = append(out, e.Message)
		}
	}
	return out
}

func (r *rig) hasEvent(reason, part string) bool {
	return slices.ContainsFunc(r.eventMessages(reason), func(m string) bool { return strings.Contains(m, part) })
}

func (r *rig) annotated(name, annotation string) string {
	return fmt.Sprintf("\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: %s, annotations: {%s}}\ndata: {key: one}\n", name, r.key.Namespace, annotation)
}

func (r *rig) leave(name string) {
	r.t.Helper()
	e := r.ks[name]
	e.Remove, e.DeletionPolicy = true, v1alpha1.DeletionDelete
	r.ks[name] = e
	r.assign()
	r.until(name, "removed", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Removed })
}

func TestWhatMustNotBePrunedIsReleased(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	base := r.namespace() + r.configMap("a", "one") + r.configMap("b", "one") + r.configMap("c", "one")
	r.want("apps", base+r.annotated("in-git", "kustomize.toolkit.fluxcd.io/prune: disabled")+r.configMap("on-the-cluster", "one"))
	r.ready("apps")
	patch := `{"metadata":{"annotations":{"argocd.argoproj.io/sync-options":"Delete=false"}}}`
	if _, err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Patch(t.Context(), "on-the-cluster", types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "their-operator"}); err != nil {
		t.Fatal(err)
	}
	// It holds across a restart, after which only the inventory and the cluster know of it.
	r.pool.Disconnect(r.key)
	r.connect(controlplane.Shared(t).RESTConfig())
	r.want("apps", base)
	r.ready("apps")
	for _, name := range []string{"in-git", "on-the-cluster"} {
		r.eventually(name+" is off the inventory", func() bool { return !r.inventoried("apps", name) })
		cm, err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil || cm.Labels[v1alpha1.OwnerLabel] != "" || cm.DeletionTimestamp != nil {
			t.Errorf("%s is not left without an owner: %v %v", name, err, cm)
		}
		r.eventually("the release is told", func() bool { return r.hasEvent(v1alpha1.ReleasedReason, name) })
	}

	// When the Kustomization goes, so do the others. The Namespace holds one that stays, and stays with it.
	r.want("apps", base+r.annotated("in-git", "skerry.dev/prune: disabled"))
	r.ready("apps")
	r.leave("apps")
	if r.value("in-git") != "one" || r.value("a") != "error: NotFound" {
		t.Errorf("in-git is %q, a is %q", r.value("in-git"), r.value("a"))
	}
	ns, err := r.kube.CoreV1().Namespaces().Get(t.Context(), r.key.Namespace, metav1.GetOptions{})
	if err != nil || ns.DeletionTimestamp != nil {
		t.Errorf("the Namespace goes, and all that is in it: %v", err)
	}
}

func TestAnObjectThatHangsOnAFinalizerIsNamed(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.want("apps", many(r, 5, "one"))
	r.ready("apps")
	finalizers := func(json string) {
		patch := fmt.Sprintf(`{"metadata":{"finalizers":%s}}`, json)
		if _, err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Patch(t.Context(), "cm-4", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	finalizers(`["example.com/hold"]`)
	r.want("apps", many(r, 3, "one"))
	// What depends on it has nothing to do with it.
	r.want("next", r.configMap("next", "one"), func(e *v1alpha1.AssignmentEntry) { e.DependsOn = []string{"apps"} })
	r.ready("next")
	const named = "/cm-4 is being deleted and waits for its finalizers: example.com/hold"
	r.until("apps", "naming the finalizer", func(s v1alpha1.AssignmentEntryStatus) bool {
		return s.Ready == metav1.ConditionUnknown && s.Reason == v1alpha1.DeletionPendingReason && strings.Contains(s.Message, named)
	})
	r.eventually("an event names it", func() bool { return r.hasEvent(v1alpha1.DeletionPendingReason, named) })
	if r.value("cm-3") != "error: NotFound" || !r.inventoried("apps", "cm-4") {
		t.Errorf("cm-3 is %q, and cm-4 must stay on the inventory", r.value("cm-3"))
	}
	finalizers("null")
	r.ready("apps")
	r.eventually("the inventory shrinks", func() bool { return !r.inventoried("apps", "cm-4") && !r.inventoried("apps", "cm-3") })
}

func TestTheClusterKeepsItsOwnNamespaces(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	own := "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: kube-public, labels: {team: island}}\n---\n" +
		"apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: view, labels: {team: island}}\n---\n" +
		"apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: system-node-critical, labels: {team: island}}\nvalue: 2000001000\n"
	r.want("base", r.namespace()) // which nothing finalizes here
	r.ready("base")
	r.want("apps", r.configMap("a", "one")+own)
	r.ready("apps")
	r.want("apps", r.configMap("a", "one"))
	r.ready("apps")
	r.eventually("the releases are told", func() bool { return len(r.eventMessages(v1alpha1.ReleasedReason)) == 3 })

	r.want("apps", r.configMap("a", "one")+own)
	r.ready("apps")
	r.leave("apps")
	for what, err := range map[string]error{
		"the Namespace":     second(r.kube.CoreV1().Namespaces().Get(t.Context(), "kube-public", metav1.GetOptions{})),
		"the role":          second(r.kube.RbacV1().ClusterRoles().Get(t.Context(), "view", metav1.GetOptions{})),
		"the PriorityClass": second(r.kube.SchedulingV1().PriorityClasses().Get(t.Context(), "system-node-critical", metav1.GetOptions{})),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestADeletionThatTakesLongIsToldOnce(t *testing.T) {
	start := time.Unix(1000, 0)
	id := object.ID{Kind: "ConfigMap", Namespace: "n", Name: "old"}
	en := newEntry(testHub, Key{Namespace: "n", Name: "edge"}, &machine.Entry{}, "apps")
	en.session, en.view = &session{}, &view{live: newLive()}
	en.inv = inventory.New(en.owner)
	en.inv.Objects[id] = inventory.Record{Version: "v1"}
	en.view.live.changed(edge.Observed{ID: id, Owner: en.owner, UID: "u", Terminating: true, Health: health.Deleting([]string{"a.b/c"})})
	en.deleting = en.pendingDeletions()
	en.since.Deleting = start
	const message = "ConfigMap/n/old is being deleted and waits for its finalizers: a.b/c"
	for _, step := range []struct {
		after time.Duration
		told  bool
	}{{0, false}, {time.Second, false}, {2 * time.Second, true}, {time.Minute, false}} {
		ev, told := en.deletionEvent(start.Add(step.after))
		if told != step.told || told && (ev.Message != message || ev.Object.ID != id) {
			t.Errorf("after %s: %v %+v", step.after, told, ev)
		}
	}
	en.deleting, en.since.Deleting = deletions{}, time.Time{}
	en.deletionEvent(start)
	if en.deletionReported {
		t.Error("the next deletion is not told of")
	}
}

// An object that is kept for another Kustomization is recorded and not desired, and is not waited for.
func TestOnlyWhatWasDeletedIsWaitedFor(t *testing.T) {
	kept, gone := object.ID{Kind: "ConfigMap", Namespace: "n", Name: "kept"}, object.ID{Kind: "ConfigMap", Namespace: "n", Name: "gone"}
	en := newEntry(testHub, Key{Namespace: "n", Name: "edge"}, &machine.Entry{}, "apps")
	en.session, en.view = &session{}, &view{live: newLive()}
	en.inv = inventory.New(en.owner)
	for _, id := range []object.ID{kept, gone} {
		en.inv.Objects[id] = inventory.Record{Version: "v1"}
		en.view.live.changed(edge.Observed{ID: id, Owner: en.owner, UID: "u"})
	}
	if d := en.pendingDeletions(); d.count != 0 {
		t.Errorf("waits for %s, which was not deleted", d)
	}
	en.noteDeleted(map[object.ID]string{gone: "u"})
	if d := en.pendingDeletions(); d.count != 1 || d.first != gone {
		t.Errorf("%s", d)
	}
	delete(en.inv.Objects, gone)
	if en.noteDeleted(nil); len(en.deleted) != 0 {
		t.Errorf("%v is remembered", en.deleted)
	}
}

func second[T any](_ T, err error) error { return err }

// All generated names change, and the first try gets only half of the way. What the guard has accepted
// it does not refuse by the numbers that the first try left.
func TestChangedGeneratedNamesRollOut(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.want("base", r.namespace())
	r.ready("base")
	generated := func(suffix string) string {
		return r.configMap("a-"+suffix, "one") + r.configMap("b-"+suffix, "one") + r.configMap("c-"+suffix, "one")
	}
	lost := r.configMap("lost-1", "one") + r.configMap("lost-2", "one") + r.configMap("lost-3", "one")
	shrink := func(e *v1alpha1.AssignmentEntry) { e.RetryInterval = &metav1.Duration{Duration: 1} }
	r.want("apps", generated("1")+lost)
	r.ready("apps")

	r.mu.Lock()
	failed := false
	r.before = func(req *http.Request) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if req.Method == http.MethodPatch && strings.HasSuffix(req.URL.Path, "/c-2") && !failed {
			failed = true
			return fmt.Errorf("the link drops")
		}
		return nil
	}
	r.mu.Unlock()
	r.want("apps", generated("2"), shrink)
	r.ready("apps")
	r.eventually("the old ones are gone", func() bool {
		return r.value("a-1") == "error: NotFound" && r.value("c-1") == "error: NotFound" && r.value("lost-1") == "error: NotFound"
	})
	if !failed || r.value("a-2") != "one" {
		t.Errorf("failed %v, a-2 is %q", failed, r.value("a-2"))
	}
}
