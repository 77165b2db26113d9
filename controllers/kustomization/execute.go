package kustomization

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/report"
)

// execute begins to write what was decided. What is left to do, then, runs when the writes have ended: at
// once where there are none.
func (r *Reconciler) execute(ctx context.Context, o *observed, d *decision, then hubapi.Then) (reconcile.Result, error) {
	if d.createHub {
		return then(ctx, r.createHub(ctx, o.key.Namespace))
	}
	var changes []change
	events := map[types.NamespacedName]report.Event{} // by Cluster
	for _, t := range d.targets {
		if changed(o.assigned[t.Name].entry, t.want) {
			changes = append(changes, o.change(t.Name, t.want))
		}
	}
	if len(changes) > 0 {
		if err := r.addFinalizer(ctx, o); err != nil {
			return then(ctx, err)
		}
	}
	for _, l := range d.leaving {
		if l.want == nil || changed(o.assigned[l.cluster].entry, l.want) {
			changes = append(changes, o.change(l.cluster, l.want))
		}
		if l.event != nil {
			events[client.ObjectKeyFromObject(o.byName[l.cluster])] = *l.event
		}
	}
	if len(changes) == 0 {
		return then(ctx, nil)
	}
	done := r.after.Begin(ctx, o.key, len(changes), then)
	for _, c := range changes {
		key := client.ObjectKeyFromObject(c.cluster)
		event, tell := events[key]
		r.assignments.Enqueue(key, 1, c, func(err error) {
			if tell && err == nil {
				hubapi.Record(r.Recorder, o.ks, "Reconcile", []report.Event{event})
			}
			done(err)
		})
	}
	return reconcile.Result{}, nil
}

// change sets, or drops, the entry of the Kustomization in the Assignment of a cluster.
func (o *observed) change(cluster string, entry *v1alpha1.AssignmentEntry) change {
	c := o.byName[cluster]
	return change{cluster: c, name: v1alpha1.RelativeName(c.Namespace, o.key), entry: entry}
}

// addFinalizer makes sure that the Kustomization does not go before its entries do.
func (r *Reconciler) addFinalizer(ctx context.Context, o *observed) error {
	if controllerutil.ContainsFinalizer(o.ks, v1alpha1.Finalizer) {
		return nil
	}
	ks := o.ks.DeepCopy()
	controllerutil.AddFinalizer(ks, v1alpha1.Finalizer)
	if err := hubapi.PatchFinalizers(ctx, r.Hub, ks); err != nil {
		return err
	}
	// What the report is committed on is what the server has now.
	o.ks.Finalizers, o.ks.ResourceVersion = ks.Finalizers, ks.ResourceVersion
	return nil
}

// createHub creates the Cluster that stands for the hub's own; its watch goes on from there.
func (r *Reconciler) createHub(ctx context.Context, namespace string) error {
	hub := &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: v1alpha1.HubCluster}}
	if err := r.Hub.Create(ctx, hub); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("cannot create the Cluster %s: %w", v1alpha1.HubCluster, err)
	}
	return nil
}

// sweep takes away the entries of a Kustomization that is gone. That happens when its finalizer was
// removed by hand, by which a user asks that its objects be left alone. Entries that are left of one that
// went with its namespace, its kind or the hub stay, so that the clusters are kept as they are until a
// Kustomization of the name is back, or the Cluster is removed.
func (r *Reconciler) sweep(ctx context.Context, key types.NamespacedName) (reconcile.Result, error) {
	r.forget(key)
	o := &observed{key: key, ks: &v1alpha1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}}
	if err := r.observeClusters(ctx, o); err != nil {
		return reconcile.Result{}, err
	}
	o.ks.Spec.DeletionPolicy = v1alpha1.DeletionOrphan
	leaving := leavingClusters(o, nil)
	if len(leaving) == 0 {
		return reconcile.Result{}, nil
	}
	why, err := r.TearDown(ctx, subject(key.Namespace, oldest(o)))
	if err != nil {
		return reconcile.Result{}, err
	}
	if why != "" {
		r.leave(ctx, o, leaving, why)
		return reconcile.Result{}, nil
	}
	return r.execute(ctx, o, &decision{leaving: leaving}, func(_ context.Context, err error) (reconcile.Result, error) {
		return hubapi.ResultForError(err)
	})
}

// oldest returns when the first of the entries was assigned; the zero time when one does not say so.
func oldest(o *observed) time.Time {
	var first time.Time
	for _, have := range o.assigned {
		switch {
		case have.entry == nil:
		case have.entry.AssignedAt == nil:
			return time.Time{}
		case first.IsZero() || have.entry.AssignedAt.Time.Before(first):
			first = have.entry.AssignedAt.Time
		}
	}
	return first
}

// leave reports once the entries that stay without their Kustomization.
func (r *Reconciler) leave(ctx context.Context, o *observed, leaving []leavingCluster, why string) {
	r.mu.Lock()
	_, reported := r.left[o.key]
	r.left[o.key] = struct{}{}
	r.mu.Unlock()
	if reported {
		return
	}
	log.FromContext(ctx).Info("entries of a Kustomization that is gone are left as they are", "why", why)
	for _, l := range leaving {
		hubapi.Record(r.Recorder, o.byName[l.cluster], "Reconcile", []report.Event{{Warning: true, Reason: v1alpha1.TornDownReason, Message: fmt.Sprintf(
			"The Kustomization %s is gone, and %s: what it has on this cluster is kept until a Kustomization of the name is back or the Cluster is removed", v1alpha1.RelativeName(o.byName[l.cluster].Namespace, o.key), why)}})
	}
}
