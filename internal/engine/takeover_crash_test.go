package engine

import (
	"context"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// TestACrashAtAnyWriteOfATakeover kills the engine at the k-th write while it adopts an object that
// kubectl had applied, and then recreates one whose field is immutable. A new engine, for which Git has
// dropped the latter, must converge: what kubectl wrote beside Git is gone, and an object of the same
// name that was created meanwhile by someone else stays.
func TestACrashAtAnyWriteOfATakeover(t *testing.T) {
	atAnyWrite(t, crashOfTakeoverAt)
}

func crashOfTakeoverAt(t *testing.T, k int, lost bool) bool {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	fixed := func(value string) string {
		return strings.Replace(r.configMap("fixed", value), "\ndata:", "\nimmutable: true\ndata:", 1)
	}
	r.as("kubectl-client-side-apply").create(r.namespace() + r.configMap("old", "1"))
	r.as("kubectl-edit").patch("ConfigMap", "old", types.MergePatchType, `{"data":{"beside":"git"}}`)

	crashed := r.crashAt(k, lost)
	force := func(e *v1alpha1.AssignmentEntry) { e.Force = true }
	died := r.applyUntil(crashed, "apps", r.namespace()+r.configMap("old", "1")+fixed("1"), nil, force) ||
		r.applyUntil(crashed, "apps", r.namespace()+r.configMap("old", "1")+fixed("2"), nil, force)
	r.discardPool()

	// Someone else creates what is missing.
	stranger := false
	if r.value("fixed") == "error: NotFound" {
		r.as("someone").create(r.configMap("fixed", "theirs"))
		stranger = true
	}
	r.connect(controlplane.Shared(t).RESTConfig())
	r.want("apps", r.namespace()+r.configMap("old", "1")+r.configMap("last", "1"), force, func(e *v1alpha1.AssignmentEntry) { e.AllowPrune = true })
	r.ready("apps")
	r.eventually("the inventory is what is there", func() bool { return len(r.inventory("apps").Objects) == 3 })
	if got := r.field("ConfigMap", "old", "data"); got != "map[key:1]" {
		t.Errorf("old has %s", got)
	}
	if got := r.value("fixed"); stranger && got != "theirs" || !stranger && got != "error: NotFound" {
		t.Errorf("fixed is %s; of someone else: %v", got, stranger)
	}
	r.remove("apps")
	if err := r.kube.CoreV1().Namespaces().Delete(context.Background(), r.key.Namespace, metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	return died
}
