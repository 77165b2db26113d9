package hub

import (
	"encoding/json"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// TestWhatAssignmentsHaveInCommonIsKeptOnce: a fleet has an Assignment and a Cluster for each of its members, and what is
// decoded is a copy each.
func TestWhatAssignmentsHaveInCommonIsKeptOnce(t *testing.T) {
	transform := shared()
	decoded := func(into any, text string) {
		t.Helper()
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatal(err)
		}
		if _, err := transform(into); err != nil {
			t.Fatal(err)
		}
	}
	const assignment = `{"metadata": {"namespace": "fleet", "name": "edge-1", "labels": {"region": "north"}, "managedFields": [{"manager": "hub"}]},
		"spec": {"entries": [{"name": "apps", "revision": "main@sha1:1", "digest": "sha256:1", "fallback": {"digest": "sha256:0", "revision": "main@sha1:0"}}]},
		"status": {"entries": [{"name": "apps", "appliedDigest": "sha256:1", "ready": "True", "reason": "Succeeded"}]}}`
	var one, other, plain v1alpha1.Assignment
	decoded(&one, assignment)
	decoded(&other, assignment)
	if err := json.Unmarshal([]byte(assignment), &plain); err != nil {
		t.Fatal(err)
	}
	if plain.ManagedFields = nil; cmp.Diff(plain, one) != "" {
		t.Error(cmp.Diff(plain, one))
	}
	key := func(m map[string]string) string {
		for key := range m {
			return key
		}
		return ""
	}
	same := func(what, a, b string) {
		t.Helper()
		if a != b || unsafe.StringData(a) != unsafe.StringData(b) {
			t.Errorf("%s is in memory twice: %q %q", what, a, b)
		}
	}
	same("a namespace", one.Namespace, other.Namespace)
	same("a label", key(one.Labels), key(other.Labels))
	same("a digest", one.Spec.Entries[0].Digest, other.Spec.Entries[0].Digest)
	same("what was applied", one.Spec.Entries[0].Digest, other.Status.Entries[0].AppliedDigest)
	same("a fallback", one.Spec.Entries[0].Fallback.Digest, other.Spec.Entries[0].Fallback.Digest)
	var c, d v1alpha1.Cluster
	for _, into := range []*v1alpha1.Cluster{&c, &d} {
		decoded(into, `{"status": {"version": "v1.37.2", "agent": {"version": "v0.9.0"}, "conditions": [{"type": "Ready", "status": "True", "reason": "Succeeded", "message": "It answers"}]}}`)
	}
	same("a version", c.Status.Version, d.Status.Version)
	same("the version of an agent", c.Status.Agent.Version, d.Status.Agent.Version)
	same("a message", c.Status.Conditions[0].Message, d.Status.Conditions[0].Message)
	if ready := c.Status.Conditions[0]; ready.Type != v1alpha1.ReadyCondition || ready.Status != metav1.ConditionTrue {
		t.Errorf("the condition is another one: %+v", ready)
	}
}
