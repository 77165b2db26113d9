package reconcile

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// result is the state of a request, as one read of the object shows it.
type result struct {
	done bool
	err  error
	// note is what is waited for.
	note string
}

// resultOf returns whether the request on the object is handled, and how it ended. A condition that the hub set before
// it handled the request is not used. It is pure.
func resultOf(o reconcilable, k known) result {
	ready := meta.FindStatusCondition(o.GetConditions(), v1alpha1.ReadyCondition)
	switch {
	case o.GetUID() == "":
		return result{err: fmt.Errorf("it was deleted")}
	case k.suspended && !isOnce(o):
		return result{err: fmt.Errorf("it was suspended")}
	case k.handled != v1alpha1.ReconcileRequest(o.GetAnnotations()):
		return result{note: waitingFor(o, ready)}
	case ready == nil || k.observed < o.GetGeneration():
		return result{note: "the hub is looking at it"}
	case ready.Status == metav1.ConditionTrue:
		return result{done: true}
	case k.suspended && ready.Reason == v1alpha1.SuspendedReason: // what came of it was replaced by this
		if k.complete {
			return result{done: true}
		}
		return result{err: fmt.Errorf("not everything is at the newest revision, and it is suspended again")}
	case !k.suspended && ready.Status == metav1.ConditionUnknown && meta.IsStatusConditionTrue(o.GetConditions(), v1alpha1.ReconcilingCondition):
		return result{note: conditionText(ready)}
	}
	return result{err: fmt.Errorf("not ready: %s", conditionText(ready))}
}

// isOnce reports whether the request is one that holds while the object is suspended.
func isOnce(o reconcilable) bool {
	once := o.GetAnnotations()[v1alpha1.ReconcileOnceAnnotation]
	return once != "" && once == v1alpha1.ReconcileRequest(o.GetAnnotations())
}

func waitingFor(o reconcilable, ready *metav1.Condition) string {
	if meta.IsStatusConditionTrue(o.GetConditions(), v1alpha1.ReconcilingCondition) && ready != nil {
		return conditionText(ready)
	}
	return "the hub has not handled the request yet"
}

func conditionText(c *metav1.Condition) string {
	if c.Message == "" {
		return c.Reason
	}
	return c.Reason + ": " + c.Message
}
