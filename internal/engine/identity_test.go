package engine

import (
	"context"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/inventory"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// unscoped is a kind without namespaces, whose name keeps the tests apart.
type unscoped struct{ plural string }

func (u unscoped) resource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "identity.example.com", Version: "v1", Resource: u.plural}
}

func (u unscoped) kind() string {
	return strings.ToUpper(u.plural[:1]) + strings.TrimSuffix(u.plural[1:], "s")
}

func (u unscoped) definition() string {
	return fmt.Sprintf(`
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[1]s.identity.example.com}
spec:
  group: identity.example.com
  scope: Cluster
  names: {plural: %[1]s, singular: %[2]s, kind: %[3]s, listKind: %[3]sList}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`, u.plural, strings.TrimSuffix(u.plural, "s"), u.kind())
}

func (u unscoped) object(namespace, value string) string {
	return fmt.Sprintf("\n---\napiVersion: identity.example.com/v1\nkind: %s\nmetadata: {name: one, namespace: %s}\nspec: {value: %q}\n", u.kind(), namespace, value)
}

func (r *rig) uidOf(u unscoped) string {
	r.t.Helper()
	o, err := r.dyn.Resource(u.resource()).Get(context.Background(), "one", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return ""
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return string(o.GetUID())
}

// TestTheScopesOfBuiltInKindsAreThoseOfTheAPIServer holds the list of object.BuiltInScope to discovery.
func TestTheScopesOfBuiltInKindsAreThoseOfTheAPIServer(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	_, lists, err := r.kube.Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(gv.Group, ".example.com") || gv.Group == v1alpha1.Group {
			continue // what other tests define
		}
		for _, res := range list.APIResources {
			if strings.Contains(res.Name, "/") {
				continue
			}
			seen++
			if got := object.BuiltInScope(gv.Group, res.Kind) == object.ScopeCluster; got == res.Namespaced {
				t.Errorf("%s of %s: without namespace is %v", res.Kind, list.GroupVersion, got)
			}
		}
	}
	if seen < 50 {
		t.Errorf("only %d kinds", seen)
	}
}

func TestAClusterScopedObjectWithANamespaceIsNeverRecreated(t *testing.T) {
	for _, tt := range []struct {
		name string
		// want assigns a version of the object.
		want func(r *rig, u unscoped, value string)
		all  []string
	}{
		{"its kind comes with it", func(r *rig, u unscoped, value string) {
			r.want("all", u.definition()+u.object("somewhere", value))
		}, []string{"all"}},
		{"its kind comes from another Kustomization, later", func(r *rig, u unscoped, value string) {
			r.want("objects", u.object("somewhere", value), soonAgain)
			if value == "1" {
				r.until("objects", "waiting for its kind", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Reason == v1alpha1.KindNotFoundReason })
				if r.inventory("objects") != nil {
					r.t.Error("an object is recorded whose identity is not settled")
				}
				r.want("kinds", u.definition())
			}
		}, []string{"objects", "kinds"}},
	} {
		for i := range 3 {
			t.Run(fmt.Sprintf("%s/%d", tt.name, i), func(t *testing.T) {
				r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
				u := unscoped{fmt.Sprintf("thing%c%ds", 'a'+len(tt.all), i)}
				tt.want(r, u, "1")
				for _, name := range tt.all {
					r.ready(name)
				}
				uid := r.uidOf(u)
				for v := range 4 {
					tt.want(r, u, fmt.Sprint(v+2))
					r.ready(tt.all[0])
				}
				if got := r.uidOf(u); got != uid || uid == "" {
					t.Errorf("uid %s was %s", got, uid)
				}
				if w := r.writes(); count(w, "DELETE") > 0 {
					t.Errorf("deleted: %v", w)
				}
				inv := r.inventory(tt.all[0])
				for id := range inv.Objects {
					if id.Namespace != "" {
						t.Errorf("%s is recorded", id)
					}
				}
				for _, name := range tt.all {
					r.remove(name)
				}
			})
		}
	}
}

func soonAgain(e *v1alpha1.AssignmentEntry) {
	e.RetryInterval = &metav1.Duration{Duration: 1e8}
}

func TestObjectsThatDifferInAMeaninglessNamespaceAreRefused(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	u := unscoped{"doubles"}
	r.want("kinds", u.definition())
	r.ready("kinds")
	r.want("objects", u.object("a", "1"))
	r.ready("objects")
	uid := r.uidOf(u)
	r.writes()
	r.want("objects", u.object("a", "1")+u.object("b", "2"))
	st := r.failed("objects", v1alpha1.DuplicateObjectReason)
	if !strings.Contains(st.Message, "Double.identity.example.com/one is there twice") {
		t.Errorf("message %q", st.Message)
	}
	if w := r.writes(); len(w) > 0 {
		t.Errorf("wrote %v", w)
	}
	// What was applied last is still kept, and the next commit goes through.
	r.want("objects", u.object("b", "3"))
	r.ready("objects")
	if got := r.uidOf(u); got != uid {
		t.Errorf("uid %s was %s", got, uid)
	}
	r.remove("objects")
	r.remove("kinds")
}

// An inventory of an earlier version may name a namespace that the kind does not have.
func TestAnUnsettledInventoryMigratesWithoutDelete(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	u := unscoped{"olds"}
	both := u.definition() + u.object("somewhere", "1")
	r.want("all", both)
	r.ready("all")
	uid := r.uidOf(u)
	r.pool.Disconnect(r.key)

	r.rewrite("all", func(inv *inventory.Inventory) {
		settled := object.ID{Group: "identity.example.com", Kind: u.kind(), Name: "one"}
		old := settled
		old.Namespace = "somewhere"
		inv.Objects[old] = inv.Objects[settled]
		delete(inv.Objects, settled)
	})
	r.writes()
	r.connect(controlplane.Shared(t).RESTConfig())
	r.assign()
	r.ready("all")
	r.eventually("the inventory has settled", func() bool {
		for id := range r.inventory("all").Objects {
			if id.Namespace != "" {
				return false
			}
		}
		return len(r.inventory("all").Objects) == 2
	})
	if got := r.uidOf(u); got != uid {
		t.Errorf("uid %s was %s", got, uid)
	}
	if w := r.writes(); count(w, "DELETE")+count(w, "PATCH") > 0 {
		t.Errorf("wrote %v", w)
	}
	r.want("all", u.definition())
	r.ready("all")
	r.eventually("what Git dropped is pruned", func() bool { return r.uidOf(u) == "" })
	r.remove("all")
}

// rewrite changes what is recorded on the edge of a Kustomization.
func (r *rig) rewrite(name string, change func(*inventory.Inventory)) {
	r.t.Helper()
	c, err := edge.New(controlplane.Shared(r.t).RESTConfig(), edge.Options{Timeout: waitTimeout, Inflight: 1})
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	store := edge.NewInventories(c, edge.Holder{Hub: r.hub})
	all, err := store.Load(r.t.Context(), edge.Contest{})
	if err != nil {
		r.t.Fatal(err)
	}
	inv := all.Inventories[object.Owner{Hub: r.hub, Namespace: r.key.Namespace, Name: name}.Label()]
	change(inv)
	if err := store.Save(r.t.Context(), inv); err != nil {
		r.t.Fatal(err)
	}
}
