package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// definitions are n definitions of a group, with a resource of each.
func (r *rig) definitions(group string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: thing%[3]ds.%[1]s}
spec:
  group: %[1]s
  scope: Namespaced
  names: {plural: thing%[3]ds, singular: thing%[3]d, kind: Thing%[3]d, listKind: Thing%[3]dList}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
---
apiVersion: %[1]s/v1
kind: Thing%[3]d
metadata: {name: one, namespace: %[2]s}
spec: {size: 3}
`, group, r.key.Namespace, i)
	}
	return b.String()
}

// Ten definitions and a resource of each, in one commit: each object is applied once, and no pass is spent
// on a kind that is not served yet more often than the API server needs to serve it.
func TestTenDefinitionsWithTheirResources(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	group := r.key.Namespace + ".example.com"
	begin := time.Now()
	r.want("apps", r.namespace()+r.definitions(group, 10))
	applied := r.until("apps", "applied", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Objects.Applied == 21 })
	t.Logf("applied after %v: %s", time.Since(begin), applied.Message)
	r.ready("apps")
	t.Logf("ready after %v, with %d reads", time.Since(begin), r.reads)
	if n := count(r.writes(), "PATCH"); n != 21 {
		t.Errorf("%d applies for 21 objects", n)
	}
}

// Two Kustomizations that are deleted at once, on a cluster with an aggregated API whose server is gone, do
// not wait for it.
func TestTwoRemovedAtOnceBesideADeadAPI(t *testing.T) {
	c := controlplane.New(t, "removals", controlplane.Options{})
	r := newRig(t, testHub, c.RESTConfig())
	r.want("base", r.namespace())
	r.ready("base")
	for _, name := range []string{"one", "two"} {
		r.want(name, r.configMap(name+"-a", "1")+r.configMap(name+"-b", "1")+r.definitions(name+".example.com", 2))
	}
	for name := range r.ks {
		r.ready(name)
	}
	group := "dead.example.com"
	defer r.aggregate(group)()
	widget := "\n---\napiVersion: " + group + "/v1\nkind: Widget\nmetadata: {name: w, namespace: " + r.key.Namespace + "}\n"
	r.want("two", r.configMap("two-a", "2")+r.configMap("two-b", "1")+r.definitions("two.example.com", 2)+widget)
	r.failed("two", v1alpha1.KindUnavailableReason)
	for _, name := range []string{"one", "two"} {
		e := r.ks[name]
		e.Remove = true
		r.ks[name] = e
	}
	r.assign()
	for _, name := range []string{"one", "two"} {
		r.until(name, "removed", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Removed })
	}
}
