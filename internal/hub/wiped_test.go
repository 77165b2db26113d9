package hub

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

// TestAStatusThatWasWipedIsRebuilt wipes, empties or forges the status of each kind, as a restore or a
// person does, and waits for what it was, without a commit or a request.
func TestAStatusThatWasWipedIsRebuilt(t *testing.T) {
	w := newWorld(t)
	w.edge("edge-1")
	w.edge("edge-2")
	commit := w.push(gitserver.Change{Write: map[string]string{"apps/web.yaml": configMap("web", "one")}})
	w.source()
	apps := w.kustomization("apps", "./apps")
	w.start()
	w.says(apps, "True Succeeded", commit)
	await(t, w.client, apps, "rolled out", func(k *v1alpha1.Kustomization) bool {
		return k.Status.Rollout != nil && k.Status.Rollout.Phase == v1alpha1.RolloutCompleted
	})
	w.says(sourceNamed(), "True Succeeded")
	w.says(clusterNamed("edge-1"), "True Succeeded")
	assignment := &v1alpha1.Assignment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "edge-1"}}
	await(t, w.client, assignment, "reported", func(a *v1alpha1.Assignment) bool {
		return len(a.Status.Entries) == 1 && a.Status.Entries[0].Ready == metav1.ConditionTrue
	})
	for what, patch := range map[string]string{
		"wiped":  `[{"op":"remove","path":"/status"}]`,
		"forged": `[{"op":"replace","path":"/status","value":{"conditions":[{"type":"Ready","status":"False","reason":"Forged","message":"","lastTransitionTime":"2020-01-01T00:00:00Z"}]}}]`,
	} {
		rebuilt(t, w.client, what, patch, sourceNamed(), func(o *v1alpha1.GitRepository) any { return o.Status })
		rebuilt(t, w.client, what, patch, ks("apps"), func(o *v1alpha1.Kustomization) any { return o.Status })
		rebuilt(t, w.client, what, patch, clusterNamed("edge-1"), func(o *v1alpha1.Cluster) any { return o.Status })
	}
	for what, patch := range map[string]string{
		"wiped":  `[{"op":"remove","path":"/status"}]`,
		"forged": `[{"op":"replace","path":"/status/entries/0/reason","value":"Forged"}]`,
	} {
		rebuilt(t, w.client, what, patch, assignment, func(o *v1alpha1.Assignment) any { return o.Status })
	}
	w.says(apps, "True Succeeded", commit)

	// It settles: nobody writes statuses that are as they should be.
	before := versions(t, w.client)
	time.Sleep(2 * time.Second)
	if diff := cmp.Diff(before, versions(t, w.client)); diff != "" {
		t.Errorf("statuses are written again and again (-then +now):\n%s", diff)
	}
}

func rebuilt[T client.Object](t *testing.T, c client.WithWatch, what, patch string, o T, of func(T) any) {
	t.Helper()
	if err := c.Get(t.Context(), keyOf(o), o); err != nil {
		t.Fatal(err)
	}
	before := of(o.DeepCopyObject().(T))
	if err := c.Status().Patch(t.Context(), o, client.RawPatch("application/json-patch+json", []byte(patch))); err != nil {
		t.Fatal(err)
	}
	same := []cmp.Option{
		cmpopts.IgnoreFields(metav1.Condition{}, "LastTransitionTime"), cmpopts.IgnoreTypes(metav1.Time{}, &metav1.Time{}), cmpopts.EquateEmpty(),
	}
	diff := ""
	defer func() {
		if t.Failed() {
			t.Logf("%T %s (-before +now):\n%s", o, what, diff)
		}
	}()
	await(t, c, o, what+" and rebuilt", func(now T) bool { diff = cmp.Diff(before, of(now), same...); return diff == "" })
}

func versions(t *testing.T, c client.Client) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, list := range []client.ObjectList{&v1alpha1.KustomizationList{}, &v1alpha1.GitRepositoryList{}, &v1alpha1.ClusterList{}, &v1alpha1.AssignmentList{}} {
		if err := c.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		items, err := meta.ExtractList(list)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range items {
			o := item.(client.Object)
			found[o.GetName()+" "+string(o.GetUID())] = o.GetResourceVersion()
		}
	}
	return found
}
