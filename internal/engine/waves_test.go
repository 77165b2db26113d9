package engine

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

func inWave(manifest string, wave int) string {
	return strings.Replace(manifest, "metadata: {", fmt.Sprintf("metadata: {annotations: {skerry.dev/wave: %q}, ", fmt.Sprint(wave)), 1)
}

// rolledOut writes the status that the controllers of a cluster would write.
func (r *rig) rolledOut(name string, ready int) {
	r.t.Helper()
	generation := r.field("Deployment", name, "metadata.generation")
	r.as("kube-controller-manager").patch("Deployment", name, types.MergePatchType, fmt.Sprintf(
		`{"status":{"observedGeneration":%s,"replicas":1,"updatedReplicas":1,"readyReplicas":%d,"availableReplicas":%d,"conditions":[{"type":"Available","status":"True"},{"type":"Progressing","status":"True","reason":"NewReplicaSetAvailable"}]}}`, generation, ready, ready), "status")
}

// TestWavesWaitForEachOther: a wave begins when the objects of the ones before are healthy, within a pass where
// they are at once, and each object costs one request.
func TestWavesWaitForEachOther(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	all := func(v string) string {
		return inWave(r.namespace(), -1) + r.configMap("zero", v) +
			inWave(r.deployment("web", "  replicas: 1\n"+fmt.Sprintf(podOf, `{name: web, image: "example.com/web:`+v+`"}`)), 1) +
			strings.Replace(r.configMap("two", v), "metadata: {", `metadata: {annotations: {argocd.argoproj.io/sync-wave: "2"}, `, 1) +
			inWave(r.configMap("three", v), 3) + inWave(r.configMap("same", "1"), 3)
	}
	waiting := func() {
		t.Helper()
		r.until("apps", "waiting for the first wave", func(s v1alpha1.AssignmentEntryStatus) bool {
			return s.Ready == metav1.ConditionUnknown && strings.Contains(s.Message, "wave 2 begins after wave 1, of which Deployment.apps/"+r.key.Namespace+"/web is not healthy")
		})
	}
	r.want("apps", all("1"))
	waiting()
	if r.value("zero") != "1" || r.value("two") != "error: NotFound" || r.value("three") != "error: NotFound" {
		t.Errorf("zero is %s, two %s, three %s", r.value("zero"), r.value("two"), r.value("three"))
	}
	r.rolledOut("web", 1)
	r.ready("apps")
	if r.value("two") != "1" || r.value("three") != "1" {
		t.Errorf("two is %s, three %s", r.value("two"), r.value("three"))
	}
	writes := r.writes()
	for _, name := range []string{"/namespaces/" + r.key.Namespace, "/zero", "/web", "/two", "/three"} {
		n := 0
		for _, w := range writes {
			if strings.HasPrefix(w, "PATCH") && strings.HasSuffix(w, name) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d writes of %s: %q", n, name, writes)
		}
	}

	// A commit waits again. What is changed by hand in a later wave meanwhile is put back at once.
	r.want("apps", all("2"))
	waiting()
	if r.value("two") != "1" {
		t.Errorf("two is %s before the Deployment is healthy", r.value("two"))
	}
	r.edit("same", "by hand")
	r.eventually("what the commit does not change is put back", func() bool { return r.value("same") == "1" })
	// A hub that starts again goes on waiting.
	r.pool.Disconnect(r.key)
	r.connect(controlplane.Shared(t).RESTConfig())
	r.assign()
	waiting()
	r.rolledOut("web", 1)
	r.ready("apps")
	if r.value("two") != "2" || r.value("three") != "2" {
		t.Errorf("two is %s, three %s", r.value("two"), r.value("three"))
	}
}

// TestWavesAreDeletedInReverse: what is of an earlier wave stays until a finalizer of a later one is off.
func TestWavesAreDeletedInReverse(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.as("a-person").create(r.namespace())
	r.want("apps", r.configMap("operator", "1")+inWave(r.configMap("resource", "1"), 1)+inWave(r.configMap("last", "1"), 2))
	r.ready("apps")
	r.as("an-operator").patch("ConfigMap", "resource", types.MergePatchType, `{"metadata":{"finalizers":["example.com/hold"]}}`)
	r.change("apps", func(e *v1alpha1.AssignmentEntry) { e.Remove, e.DeletionPolicy = true, v1alpha1.DeletionDelete })
	r.until("apps", "waiting for the finalizer", func(s v1alpha1.AssignmentEntryStatus) bool {
		return s.Reason == v1alpha1.DeletionPendingReason && strings.Contains(s.Message, "example.com/hold")
	})
	if r.value("last") != "error: NotFound" || r.value("operator") != "1" {
		t.Errorf("last is %s, operator %s", r.value("last"), r.value("operator"))
	}
	r.as("an-operator").patch("ConfigMap", "resource", types.MergePatchType, `{"metadata":{"finalizers":null}}`)
	r.until("apps", "removed", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Removed })
	if r.value("operator") != "error: NotFound" {
		t.Errorf("operator is %s", r.value("operator"))
	}
}

// TestADefinitionOfALaterWaveHoldsNoEarlierOne, and its objects come in the wave after it.
func TestADefinitionOfALaterWaveHoldsNoEarlierOne(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	group := r.key.Namespace + ".example.com"
	definition := fmt.Sprintf("\n---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.%[1]s}\nspec: {group: %[1]s, scope: Namespaced, names: {kind: Thing, plural: things}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}\n", group)
	thing := fmt.Sprintf("\n---\napiVersion: %s/v1\nkind: Thing\nmetadata: {name: one, namespace: %s}\n", group, r.key.Namespace)
	r.as("a-person").create(r.namespace())
	r.want("apps", r.configMap("first", "1")+inWave(definition, 1)+inWave(thing, 2)+inWave(r.configMap("last", "1"), 3))
	r.ready("apps")
	if r.value("first") != "1" || r.value("last") != "1" {
		t.Errorf("first is %s, last %s", r.value("first"), r.value("last"))
	}
	r.leave("apps")
}
