package engine

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// An object that must not be deleted is not deleted in order to be created anew either.
func TestForceDoesNotRecreateWhatMustNotBeDeleted(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	force := func(e *v1alpha1.AssignmentEntry) { e.Force = true }
	kept := strings.Replace(r.configMap("kept", "one"), "\ndata:", "\nimmutable: true\ndata:", 1)
	kept = strings.Replace(kept, "metadata: {", "metadata: {annotations: {skerry.dev/prune: disabled}, ", 1)
	r.want("apps", r.namespace()+kept, force)
	r.ready("apps")
	before, err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Get(t.Context(), "kept", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r.want("apps", r.namespace()+strings.Replace(kept, `"one"`, `"two"`, 1), force)
	st := r.failed("apps", v1alpha1.ImmutableFieldReason)
	after, err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Get(t.Context(), "kept", metav1.GetOptions{})
	if err != nil || after.UID != before.UID || !strings.Contains(st.Message, "prune is disabled for it") {
		t.Errorf("%v; %+v", err, st)
	}
}
