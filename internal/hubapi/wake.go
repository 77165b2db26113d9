package hubapi

import (
	"context"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// RequestedPredicate passes what a person does to an object: a new spec, a deletion, and the annotations that ask
// for something. It holds back what controllers write: status, finalizers, managed fields.
func RequestedPredicate() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
				e.ObjectOld.GetUID() != e.ObjectNew.GetUID() ||
				e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero() ||
				slices.ContainsFunc(requestAnnotations, func(name string) bool {
					return e.ObjectOld.GetAnnotations()[name] != e.ObjectNew.GetAnnotations()[name]
				})
		},
	}
}

// requestAnnotations are the annotations by which a person asks for something.
var requestAnnotations = []string{
	v1alpha1.ReconcileRequestAnnotation, v1alpha1.FluxReconcileRequestAnnotation, v1alpha1.ReconcileOnceAnnotation, v1alpha1.AcceptRevisionAnnotation, v1alpha1.AllowPruneAnnotation, v1alpha1.TakeOverAnnotation, v1alpha1.AgentApprovedAnnotation,
	v1alpha1.RolloutPausedAnnotation, v1alpha1.RolloutPromoteAnnotation, v1alpha1.RolloutUndoAnnotation,
}

// StatusChangedPredicate passes every real change, and not that a cache looks through its objects again.
func StatusChangedPredicate() predicate.Predicate { return predicate.ResourceVersionChangedPredicate{} }

// RequestsFor returns the requests for the objects in a list.
func RequestsFor[T any, P interface {
	*T
	client.Object
}](items []T) []reconcile.Request {
	requests := make([]reconcile.Request, 0, len(items))
	for i := range items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(P(&items[i]))})
	}
	return requests
}

// Trigger wakes a controller for something that is not an object of the API server. It never blocks; what is
// enqueued before the controller starts is kept.
type Trigger struct {
	mu    sync.Mutex
	queue workqueue.TypedRateLimitingInterface[reconcile.Request]
	early map[types.NamespacedName]struct{}
}

// Enqueue asks for a reconcile of the object.
func (t *Trigger) Enqueue(key types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.queue != nil {
		t.queue.Add(reconcile.Request{NamespacedName: key})
		return
	}
	if t.early == nil {
		t.early = map[types.NamespacedName]struct{}{}
	}
	t.early[key] = struct{}{}
}

// EnqueueAfter asks for a reconcile of the object after a while.
func (t *Trigger) EnqueueAfter(key types.NamespacedName, wait time.Duration) {
	t.mu.Lock()
	queue := t.queue
	t.mu.Unlock()
	if queue == nil {
		t.Enqueue(key) // it is reconciled when the controller starts
		return
	}
	queue.AddAfter(reconcile.Request{NamespacedName: key}, wait)
}

// Start implements source.Source.
func (t *Trigger) Start(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queue = queue
	for key := range t.early {
		queue.Add(reconcile.Request{NamespacedName: key})
	}
	t.early = nil
	return nil
}
