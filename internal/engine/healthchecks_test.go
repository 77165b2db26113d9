package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

func (r *rig) waiting(name, message string) {
	r.t.Helper()
	r.until(name, "waiting", func(s v1alpha1.AssignmentEntryStatus) bool {
		return s.Reason == v1alpha1.WaitingForHealthReason && strings.Contains(s.Message, message)
	})
}

func (r *rig) setData(name, key, value string) {
	r.t.Helper()
	patch := fmt.Sprintf(`{"data":{%q:%q}}`, key, value)
	if _, err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Patch(r.t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "operator"}); err != nil {
		r.t.Fatal(err)
	}
}

// TestExpressionsJudgeTheObjectsOfTheirKustomization holds that a kind that counts as healthy as soon as it
// is there waits for its expression, that another Kustomization's objects of the kind do not, and that a
// change of the expression alone is enough.
func TestExpressionsJudgeTheObjectsOfTheirKustomization(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	check := func(current string) func(*v1alpha1.AssignmentEntry) {
		return func(e *v1alpha1.AssignmentEntry) {
			e.HealthCheckExprs = []v1alpha1.HealthCheckExpressions{{APIVersion: "v1", Kind: "ConfigMap", Current: current}}
		}
	}
	r.want("base", r.namespace())
	r.ready("base")
	r.want("judged", r.configMap("judged", "one"), check("has(data.done) && data.done == 'yes'"))
	r.want("other", r.configMap("other", "one"))
	r.ready("other")
	r.waiting("judged", "ConfigMap/"+r.key.Namespace+"/judged: none of its spec.healthCheckExprs is true")
	r.setData("judged", "done", "yes")
	r.ready("judged")

	r.change("judged", check("data.key == 'two'"))
	r.waiting("judged", "none of its spec.healthCheckExprs is true")
	r.change("judged", func(e *v1alpha1.AssignmentEntry) { e.HealthCheckExprs = nil })
	r.ready("judged")
}

// TestReadyWaitsForWhatHealthChecksName holds that an object which no Kustomization owns is waited for: its coming, its
// health, and its going; also where nothing else is waited for.
func TestReadyWaitsForWhatHealthChecksName(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.want("base", r.namespace())
	r.ready("base")
	name := "ConfigMap/" + r.key.Namespace + "/theirs"
	r.want("app", r.configMap("mine", "one"), func(e *v1alpha1.AssignmentEntry) {
		e.Wait = false
		e.HealthChecks = []v1alpha1.HealthCheckReference{
			{APIVersion: "v1", Kind: "ConfigMap", Name: "theirs"}, // in the namespace of the Kustomization
			{APIVersion: "v1", Kind: "ConfigMap", Name: "mine", Namespace: r.key.Namespace},
		}
		e.HealthCheckExprs = []v1alpha1.HealthCheckExpressions{{APIVersion: "v1", Kind: "ConfigMap", Current: "data.key == 'one'"}}
	})
	r.waiting("app", "1 of 2 objects not healthy; "+name+": is not there")
	maps := r.kube.CoreV1().ConfigMaps(r.key.Namespace)
	if _, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}, Data: map[string]string{"key": "none"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.waiting("app", name+": none of its spec.healthCheckExprs is true")
	r.setData("theirs", "key", "one")
	r.ready("app")
	r.writes()
	if err := maps.Delete(t.Context(), "theirs", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.waiting("app", name+": is not there")
	for _, w := range r.writes() {
		if strings.Contains(w, "theirs") {
			t.Errorf("wrote to an object that it only looks at: %s", w)
		}
	}
}

func TestAHealthCheckOfAKindThatIsNotServedWaits(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.want("app", r.namespace(), func(e *v1alpha1.AssignmentEntry) {
		e.Timeout = metav1.Duration{Duration: time.Hour}
		e.HealthChecks = []v1alpha1.HealthCheckReference{{APIVersion: "not.example.com/v1", Kind: "Served", Name: "x", Namespace: "default"}}
	})
	r.waiting("app", "Served.not.example.com/default/x: its kind is not served by the cluster")
	r.change("app", func(e *v1alpha1.AssignmentEntry) { e.HealthChecks = nil })
	r.ready("app")
}

// TestAKindThatAControllerMayDefineIsWaitedFor holds that an object of a kind that is not served waits as long
// as for health, and one of the API server's own groups, which is a typing error, does not.
func TestAKindThatAControllerMayDefineIsWaitedFor(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	object := "\n---\napiVersion: %s\nkind: Postgres\nmetadata: {name: x, namespace: " + r.key.Namespace + "}\n"
	r.want("claims", r.namespace()+fmt.Sprintf(object, "db.example.org/v1"), func(e *v1alpha1.AssignmentEntry) {
		e.Timeout, e.RetryInterval = metav1.Duration{Duration: 2 * time.Second}, &metav1.Duration{Duration: time.Second}
	})
	r.until("claims", "waiting for its kind", func(s v1alpha1.AssignmentEntryStatus) bool {
		return s.Ready == metav1.ConditionUnknown && s.Reason == v1alpha1.KindNotFoundReason
	})
	r.failed("claims", v1alpha1.KindNotFoundReason)
	r.want("typo", r.configMap("beside", "one")+fmt.Sprintf(object, "apps/v1"), func(e *v1alpha1.AssignmentEntry) {
		e.Timeout = metav1.Duration{Duration: time.Hour}
	})
	r.failed("typo", v1alpha1.KindNotFoundReason)
}

// TestAnExpressionOfOneOwnerLeavesTheHealthOfOthers holds that a new expression makes no other Kustomization
// look as if it were on its way.
func TestAnExpressionOfOneOwnerLeavesTheHealthOfOthers(t *testing.T) {
	l := newLive()
	current := health.Status{Phase: health.Current}
	id := func(name string) object.ID { return object.ID{Group: "apps", Kind: "Deployment", Name: name} }
	for _, owner := range []string{"mine", "theirs"} {
		l.changed(edge.Observed{ID: id(owner), Owner: owner, ResourceVersion: "1", Health: current})
	}
	l.forgetHealth("mine", []schema.GroupKind{{Group: "apps", Kind: "Deployment"}})
	mine, _ := l.get(id("mine"))
	theirs, _ := l.get(id("theirs"))
	if mine.Health == current || theirs.Health != current {
		t.Errorf("mine %v, theirs %v", mine.Health, theirs.Health)
	}
}

// TestAReferenceWhoseKindGoesIsNotHealthy holds that the last health does not outlast the definition.
func TestAReferenceWhoseKindGoesIsNotHealthy(t *testing.T) {
	r := newReferences(nil, time.Now, func(reference) {})
	ref := reference{owner: "mine", id: object.ID{Group: "example.com", Kind: "Widget", Name: "x"}}
	lookedUp := 0
	h := &referenceHandler{of: r, ctx: t.Context(), ref: ref, gone: func() { lookedUp++ }}
	h.Changed(edge.Observed{Health: health.Status{Phase: health.Current}})
	h.Failed(errors.New("the connection broke"))
	if got := r.get(ref); got.Phase != health.Current || lookedUp != 0 {
		t.Errorf("after an error of the network: %v, and its kind was looked up %d times", got, lookedUp)
	}
	h.Failed(apierrors.NewGenericServerResponse(404, "get", schema.GroupResource{}, "", "404 page not found", 0, true))
	if got := r.get(ref); got.Phase == health.Current || lookedUp != 1 {
		t.Errorf("without its kind: %v, and that was looked up %d times anew, in another version", got, lookedUp)
	}
}

// TestAHealthCheckOutlivesTheVersionThatItNames holds that the group of a reference counts, as in Flux: manifests
// name beta versions that clusters serve no longer.
func TestAHealthCheckOutlivesTheVersionThatItNames(t *testing.T) {
	r, group := things(t)
	r.want("base", r.configMap("base", "1"), func(e *v1alpha1.AssignmentEntry) {
		e.HealthChecks = []v1alpha1.HealthCheckReference{{APIVersion: group + "/v1beta1", Kind: "Thing", Name: "one", Namespace: r.key.Namespace}}
	})
	r.ready("base")
	r.change("base", func(e *v1alpha1.AssignmentEntry) { // the engine has the former list
		e.HealthChecks = []v1alpha1.HealthCheckReference{{APIVersion: group + "/v1beta1", Kind: "Thing", Name: "two", Namespace: r.key.Namespace}}
	})
	r.waiting("base", "Thing."+group+"/"+r.key.Namespace+"/two: is not there")
}
