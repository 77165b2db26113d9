package hubapi

import (
	"context"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/recovery"
)

// ReportPanics returns a Reconciler that reports a panic of a reconcile in the conditions of its object. The panic then
// goes on to controller-runtime, which recovers it, logs value and stack, counts it and tries the object
// again with growing pauses; other objects are not concerned.
func ReportPanics[T any, P interface {
	*T
	client.Object
	v1alpha1.Conditioned
}](hub Hub, r reconcile.Reconciler) reconcile.Reconciler {
	return reconcile.Func(func(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
		defer func() {
			if value := recover(); value != nil {
				reportPanic(ctx, hub, req, P(new(T)), recovery.Recovered(value))
				panic(value)
			}
		}()
		return WaitForAPIServer(hub, r).Reconcile(ctx, req)
	})
}

// WaitForAPIServer returns a Reconciler that does not begin while the hub's API server is away: what fails then
// would be tried again with pauses that have grown until it is back.
func WaitForAPIServer(hub Hub, r reconcile.Reconciler) reconcile.Reconciler {
	return reconcile.Func(func(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
		if hub.Await != nil {
			if err := hub.Await(ctx); err != nil {
				return reconcile.Result{}, err
			}
		}
		return r.Reconcile(ctx, req)
	})
}

// reportPanic writes the condition. Where it cannot, it logs that and returns, so that the panic itself is raised again.
func reportPanic(ctx context.Context, hub Hub, req reconcile.Request, obj interface {
	client.Object
	v1alpha1.Conditioned
}, p *recovery.Panic) {
	if err := hub.Get(ctx, req.NamespacedName, obj); err != nil {
		return // it is gone, or the log has the panic alone
	}
	before := obj.GetConditions()
	now := append([]metav1.Condition(nil), before...)
	c := v1alpha1.Condition(v1alpha1.ReadyCondition, metav1.ConditionFalse, v1alpha1.InternalErrorReason, p.Error())
	c.ObservedGeneration = obj.GetGeneration()
	meta.SetStatusCondition(&now, c)
	if equality.Semantic.DeepEqual(before, now) {
		return
	}
	obj.SetConditions(now)
	if err := PatchStatus(context.WithoutCancel(ctx), hub, obj); err != nil {
		log.FromContext(ctx).Error(err, "cannot report that the reconcile panicked")
	}
}
