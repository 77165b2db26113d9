package report

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// ReceiverFacts is what a reconcile of a Receiver found.
type ReceiverFacts struct {
	// Object is the Receiver with its status before.
	Object *v1alpha1.Receiver
	Now    time.Time
	// Path is where webhooks are accepted; "" when Err is not nil.
	Path string
	// IgnoresEvents means that spec.events is set and the type has no events.
	IgnoresEvents bool
	// Err explains why no webhook is accepted.
	Err error
}

// Receiver reports whether a Receiver accepts webhooks, and where.
func Receiver(f ReceiverFacts) Report[v1alpha1.ReceiverStatus] {
	r := f.Object
	status := *r.Status.DeepCopy()
	status.ObservedGeneration, status.LastHandledReconcileAt, status.WebhookPath = r.Generation, requested(r), f.Path
	var want []metav1.Condition
	p := explain(f.Err)
	switch {
	case p != nil:
		want = about(p)
	case r.Spec.Suspend:
		want = append(want, ready(metav1.ConditionUnknown, v1alpha1.SuspendedReason, "Suspended; webhooks are refused"))
	case f.IgnoresEvents:
		want = append(want, ready(metav1.ConditionTrue, v1alpha1.SucceededReason, "Accepts webhooks; spec.events is ignored, because the type "+r.Spec.Type+" has no events"))
	default:
		want = append(want, ready(metav1.ConditionTrue, v1alpha1.SucceededReason, "Accepts webhooks"))
	}
	status.Conditions = settle(r.Status.Conditions, want, r.Generation, f.Now)
	found := Report[v1alpha1.ReceiverStatus]{Status: status}
	if p != nil {
		found.Requeue = p.after
		if changed(r.Status.Conditions, status.Conditions) {
			found.Events = []Event{{Warning: true, Reason: p.reason, Message: p.message}}
		}
	}
	return found
}
