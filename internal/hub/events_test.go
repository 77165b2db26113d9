package hub

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/object"
)

// The recorder tells events apart by what they are related to: the second correction of an object differs
// from the first by its version.
func TestEventsAreRelatedToTheObjectAsItWasThen(t *testing.T) {
	o := engine.Object{ID: object.ID{Group: "apps", Kind: "Deployment", Namespace: "web", Name: "web"}, Version: "apps/v1", UID: "u", ResourceVersion: "7"}
	want := &corev1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "web", Name: "web", UID: "u", ResourceVersion: "7"}
	if diff := cmp.Diff(want, related(o)); diff != "" {
		t.Error(diff)
	}
	again := o
	again.ResourceVersion = "8"
	if cmp.Equal(related(o), related(again)) {
		t.Error("two corrections of one object are one event")
	}
	if r := related(engine.Object{}); r != nil {
		t.Errorf("an event about no object is related to %v", r)
	}
}
