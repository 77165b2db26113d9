package engine

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

var definitionsResource = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// things is a rig on which a Kustomization "apps" has a ConfigMap and a Thing of v1, whose definition
// comes from elsewhere.
func things(t *testing.T) (*rig, string) {
	t.Helper()
	return thingsAt(t, controlplane.Shared(t).RESTConfig())
}

func thingsAt(t *testing.T, edge *rest.Config) (*rig, string) {
	t.Helper()
	r := newRig(t, testHub, edge)
	group := r.key.Namespace + ".example.com"
	r.want("definitions", r.namespace()+fmt.Sprintf(`
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.%[1]s}
spec:
  group: %[1]s
  scope: Namespaced
  names: {plural: things, singular: thing, kind: Thing, listKind: ThingList}
  versions:
  - {name: v1, served: true, storage: false, schema: &any {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
  - {name: v2, served: true, storage: true, schema: *any}
`, group))
	r.ready("definitions")
	r.want("apps", r.configMap("stays", "1")+fmt.Sprintf("\n---\napiVersion: %s/v1\nkind: Thing\nmetadata: {name: one, namespace: %s}\n", group, r.key.Namespace))
	r.ready("apps")
	return r, group
}

func (r *rig) thing(group string) bool {
	_, err := r.dyn.Resource(schema.GroupVersionResource{Group: group, Version: "v2", Resource: "things"}).Namespace(r.key.Namespace).
		Get(r.t.Context(), "one", metav1.GetOptions{})
	if err != nil && !errors.IsNotFound(err) {
		r.t.Fatal(err)
	}
	return err == nil
}

func (r *rig) recorded(group string) bool {
	_, ok := r.inventory("apps").Objects[object.ID{Group: group, Kind: "Thing", Namespace: r.key.Namespace, Name: "one"}]
	return ok
}

// An API server that starts answers "not found" for a kind that it will serve a moment later. What is
// recorded of the kind and no longer desired must wait for that, not be forgotten.
func TestAKindThatIsNotServedYetIsNotGone(t *testing.T) {
	r, group := things(t)
	r.pool.Disconnect(r.key)
	r.mu.Lock()
	r.hidden = func(req *http.Request) bool { return strings.HasPrefix(req.URL.Path, "/apis/"+group) }
	r.mu.Unlock()
	r.connect(controlplane.Shared(t).RESTConfig())
	r.want("apps", r.configMap("stays", "2"))
	r.until("apps", "waiting for the kind", func(s v1alpha1.AssignmentEntryStatus) bool {
		return s.Ready == metav1.ConditionUnknown && strings.Contains(s.Message, "Thing of "+group+"/v1 is defined, but not served")
	})
	if r.value("stays") != "2" {
		t.Error("the kind in doubt holds up the others")
	}
	if !r.recorded(group) || !r.thing(group) {
		t.Fatal("what cannot be seen for the moment was struck off the inventory")
	}
	r.mu.Lock()
	r.hidden = nil
	r.mu.Unlock()
	r.ready("apps")
	r.eventually("it is pruned once it is served again", func() bool { return !r.thing(group) && !r.recorded(group) })
}

// The same while the session lives on, so that the kind was found before.
func TestAKindThatIsNotServedForAMomentInASession(t *testing.T) {
	r, group := things(t)
	r.mu.Lock()
	r.before = func(req *http.Request) error {
		if strings.HasPrefix(req.URL.Path, "/apis/"+group) {
			req.URL.Path = "/apis/not-served" + req.URL.Path
		}
		return nil
	}
	r.hidden = func(req *http.Request) bool { return strings.HasPrefix(req.URL.Path, "/apis/"+group) }
	r.mu.Unlock()
	r.want("apps", r.configMap("stays", "2"))
	r.until("apps", "waiting for the kind", func(s v1alpha1.AssignmentEntryStatus) bool {
		return s.Ready == metav1.ConditionUnknown && strings.Contains(s.Message, "not served")
	})
	if !r.recorded(group) {
		t.Fatal("what cannot be seen for the moment was struck off the inventory")
	}
	r.mu.Lock()
	r.hidden, r.before = nil, nil
	r.mu.Unlock()
	r.ready("apps")
	r.eventually("it is pruned once it is served again", func() bool { return !r.thing(group) && !r.recorded(group) })
}

func TestAKindWithoutADefinitionIsGone(t *testing.T) {
	r, group := things(t)
	r.pool.Disconnect(r.key)
	if err := r.dyn.Resource(definitionsResource).Delete(t.Context(), "things."+group, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.eventually("the definition is gone", func() bool {
		_, err := r.dyn.Resource(definitionsResource).Get(t.Context(), "things."+group, metav1.GetOptions{})
		return errors.IsNotFound(err)
	})
	r.connect(controlplane.Shared(t).RESTConfig())
	delete(r.ks, "definitions") // or it would come back
	r.want("apps", r.configMap("stays", "2"))
	r.ready("apps")
	r.eventually("it is struck off the inventory", func() bool { return !r.recorded(group) })
}

// What was applied in a version that is served no longer lives on in the others.
func TestAKindThatIsServedInAnotherVersion(t *testing.T) {
	r, group := things(t)
	r.pool.Disconnect(r.key)
	patch := `[{"op":"replace","path":"/spec/versions/0/served","value":false}]`
	if _, err := r.dyn.Resource(definitionsResource).Patch(t.Context(), "things."+group, types.JSONPatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	r.eventually("v1 is not served", func() bool {
		_, err := r.kube.Discovery().ServerResourcesForGroupVersion(group + "/v1")
		return errors.IsNotFound(err)
	})
	delete(r.ks, "definitions")
	r.connect(controlplane.Shared(t).RESTConfig())
	r.want("apps", r.configMap("stays", "2"))
	r.ready("apps")
	r.eventually("it is pruned by way of v2", func() bool { return !r.thing(group) && !r.recorded(group) })
}
