package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/recovery"
	"github.com/skerry-dev/skerry/internal/removal"
	"github.com/skerry-dev/skerry/internal/report"
)

const (
	// finalizeTimeout is how long a reconcile of the Cluster is put off until the last of what the hub keeps on a cluster
	// is taken away; the engine goes on without it. finalizeRetry is the time until the next look.
	finalizeTimeout = 2 * time.Second
	finalizeRetry   = time.Second
)

// errPurging means that the engine is still at it.
var errPurging = errors.New("the last is being taken away")

// remove brings the removal of a deleted Cluster one step further. Everything that it goes by is on
// the hub's API server or on the cluster itself, so that it may be stopped between any two steps:
//
//	all entries of the Assignment get `remove`; the engine deletes or releases, and reports
//	the status records that it retires; the engine takes away inventories, the claim and the account
//	the finalizer goes, and Cluster and Assignment with it
//
// What the next step is, and why, package removal decides.
func (r *Reconciler) remove(ctx context.Context, key engine.Key, c *v1alpha1.Cluster) (reconcile.Result, error) {
	if !controllerutil.ContainsFinalizer(c, v1alpha1.Finalizer) {
		r.forget(key)
		return reconcile.Result{}, nil
	}
	why, err := r.TearDown(ctx, hubapi.Subject{Namespace: c.Namespace, Plural: "clusters", Created: c.CreationTimestamp.Time})
	if err != nil {
		hubapi.Record(r.Recorder, c, "Remove", []report.Event{hubapi.TearDownUncertain(err)})
		return reconcile.Result{}, err
	}
	if why != "" {
		return r.releaseTornDown(ctx, key, c, why)
	}
	c.Status = r.known(c).Status // of a removal that is under way, the status records how far it is
	s, err := r.observeRemoval(ctx, key, c)
	if err != nil {
		return reconcile.Result{}, err
	}
	if step, abandoned := removal.Abandon(s); abandoned {
		return r.release(ctx, key, s, step)
	}
	s.Since = r.removalBegan(key, s)
	s.Denials = removal.Denials(s)
	if err := r.removeEntries(ctx, s); err != nil {
		return hubapi.ResultForError(err)
	}
	if err := r.reach(ctx, key, &s); err != nil {
		return reconcile.Result{}, err
	}
	switch step := removal.Next(s); step.Action {
	case removal.Finalize:
		return r.finalize(ctx, key, s, step)
	case removal.Release:
		return r.release(ctx, key, s, step)
	default:
		return reconcile.Result{RequeueAfter: step.After}, r.reportProgress(ctx, &s, report.Removal{Message: step.Message})
	}
}

// releaseTornDown releases a Cluster that goes with its namespace, its kind or the hub. Nothing is sent to the
// cluster: objects, inventories and the claim stay for the hub that is set up next.
func (r *Reconciler) releaseTornDown(ctx context.Context, key engine.Key, c *v1alpha1.Cluster, why string) (reconcile.Result, error) {
	r.forget(key)
	after := c.DeepCopy()
	controllerutil.RemoveFinalizer(after, v1alpha1.Finalizer)
	if err := hubapi.PatchFinalizers(ctx, r.Hub, after); err != nil {
		return hubapi.ResultForError(err)
	}
	hubapi.Record(r.Recorder, c, "Remove", []report.Event{hubapi.TornDown(why)})
	return reconcile.Result{}, nil
}

// addFinalizer makes sure that a Cluster does not go before what is put on its cluster is dealt with.
func (r *Reconciler) addFinalizer(ctx context.Context, c *v1alpha1.Cluster) error {
	if !controllerutil.AddFinalizer(c, v1alpha1.Finalizer) {
		return nil
	}
	return hubapi.PatchFinalizers(ctx, r.Hub, c)
}

func (r *Reconciler) observeRemoval(ctx context.Context, key engine.Key, c *v1alpha1.Cluster) (removal.State, error) {
	s := removal.State{Cluster: c, Timeout: r.RemovalTimeout, Now: r.Now()}
	a := &v1alpha1.Assignment{}
	err := r.Hub.Get(ctx, key, a)
	if err != nil && !apierrors.IsNotFound(err) {
		return s, fmt.Errorf("cannot read Assignment: %w", err)
	}
	if err == nil && metav1.IsControlledBy(a, c) {
		s.Assignment = a
	}
	return s, nil
}

// removalBegan returns when this process began with the removal.
func (r *Reconciler) removalBegan(key engine.Key, s removal.State) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	since, began := r.removals[key]
	if !began {
		since = s.Now
		r.removals[key] = since
	}
	return since
}

// removeEntries sets `remove` on every entry of the Assignment. A Kustomization passes over clusters
// that are being deleted; one that had not seen the deletion yet and puts an entry back wakes this
// controller, which takes it again.
func (r *Reconciler) removeEntries(ctx context.Context, s removal.State) error {
	if s.Assignment == nil {
		return nil
	}
	want := removal.Entries(s)
	if equality.Semantic.DeepEqual(want, s.Assignment.Spec.Entries) {
		return nil
	}
	// After a conflict, the watch of what was written since wakes this controller, and so does the error.
	return hubapi.PatchEntries(ctx, r.Hub, s.Assignment, want)
}

// reach keeps the connection, or makes one. A Secret that went with its Cluster does no harm as long
// as the engine has what was in it.
func (r *Reconciler) reach(ctx context.Context, key engine.Key, s *removal.State) error {
	conn, err := r.connection(ctx, s.Cluster)
	if err != nil && !report.IsReportable(err) {
		return err
	}
	_, known := r.Pool.State(key)
	if err == nil {
		r.Pool.Connect(key, conn)
		if !known {
			r.Connected(key)
		}
	} else if !known {
		s.Err = err
		return nil
	}
	state, _ := r.Pool.State(key)
	s.Connection = report.Connection(state)
	r.mu.Lock()
	r.reported[key] = digestOf(state)
	r.mu.Unlock()
	return nil
}

// finalize lets the engine take away the last, once the status records it: a hub that is stopped after the
// account has gone would otherwise wait for an answer that it cannot get any more.
func (r *Reconciler) finalize(ctx context.Context, key engine.Key, s removal.State, step removal.Step) (reconcile.Result, error) {
	if err := r.reportProgress(ctx, &s, report.Removal{Retiring: true, Message: step.Message}); err != nil {
		return hubapi.ResultForError(err)
	}
	return r.purge(ctx, key, func(ctx context.Context, err error) (reconcile.Result, error) {
		switch {
		case err == nil:
			return r.release(ctx, key, s, removal.Finalized(s))
		case errors.Is(err, engine.ErrNotRemoved), errors.Is(err, engine.ErrNotConnected), errors.Is(err, errPurging):
			return reconcile.Result{RequeueAfter: finalizeRetry}, nil // it has not got the news yet, or is at it
		}
		return reconcile.Result{RequeueAfter: finalizeRetry}, r.reportProgress(ctx, &s, report.Removal{Retiring: true, Message: "Cannot take away what the hub keeps there for itself: " + report.Line(err.Error())})
	})
}

// purge asks the engine to take away the last beside the reconcile, since a slow link must hold no worker, and then runs
// the rest.
func (r *Reconciler) purge(ctx context.Context, key engine.Key, then hubapi.Then) (reconcile.Result, error) {
	done := r.statuses.Begin(ctx, key, 1, then)
	r.purges.Go(func() { // ends within finalizeTimeout
		short, cancel := context.WithTimeout(ctx, finalizeTimeout)
		defer cancel()
		err := recovery.Run(func() error { return r.Pool.Finalize(short, key) })
		if err != nil && short.Err() != nil {
			err = errPurging
		}
		done(err)
	})
	return reconcile.Result{}, nil
}

// reportProgress reports how far it is.
func (r *Reconciler) reportProgress(ctx context.Context, s *removal.State, progress report.Removal) error {
	reported := report.Cluster(report.ClusterFacts{
		Object: s.Cluster, Now: r.Now(), Connection: s.Connection, Err: s.Err,
		Handled: v1alpha1.ReconcileRequest(s.Cluster.Annotations), Removal: &progress,
	})
	if equality.Semantic.DeepEqual(s.Cluster.Status, reported.Status) {
		return nil
	}
	after := s.Cluster.DeepCopy()
	after.Status = reported.Status
	if err := r.statuses.Commit(context.WithoutCancel(ctx), r.Hub, after); err != nil {
		return err
	}
	hubapi.Record(r.Recorder, after, "Remove", reported.Events)
	s.Cluster = after
	return nil
}

// release lets the Cluster go, and then everything that this process has of it: an engine that has taken away the last
// sends nothing any more, and one that is ended before the finalizer has gone would be begun anew, and claim the cluster,
// where the write of that fails.
func (r *Reconciler) release(ctx context.Context, key engine.Key, s removal.State, step removal.Step) (reconcile.Result, error) {
	if !step.Withdraw {
		return r.removeFinalizer(ctx, key, s, step.Event)
	}
	// That what was claimed by mistake cannot be taken away is no reason to wait.
	return r.purge(ctx, key, func(ctx context.Context, _ error) (reconcile.Result, error) {
		return r.removeFinalizer(ctx, key, s, step.Event)
	})
}

func (r *Reconciler) removeFinalizer(ctx context.Context, key engine.Key, s removal.State, event *report.Event) (reconcile.Result, error) {
	c := s.Cluster.DeepCopy()
	controllerutil.RemoveFinalizer(c, v1alpha1.Finalizer)
	if err := hubapi.PatchFinalizers(ctx, r.Hub, c); err != nil {
		return hubapi.ResultForError(err)
	}
	r.forget(key)
	if event != nil {
		hubapi.Record(r.Recorder, s.Cluster, "Remove", []report.Event{*event})
	}
	return reconcile.Result{}, nil
}
