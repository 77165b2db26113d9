// Package kustomization renders each Kustomization for its clusters, assigns it to them, and rolls
// up what they report.
//
// A reconcile observes (observe.go), decides without writing (select.go, render.go, entry.go),
// writes what was decided (execute.go, assignments.go), and reports. Nothing is polled: a source, a
// Cluster, a ConfigMap or Secret that is referred to, and the status of an entry wake it.
package kustomization

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/pacing"
	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/targeting"
	"github.com/skerry-dev/skerry/internal/tree"
)

// Options are what a Reconciler works with.
type Options struct {
	Hub      hubapi.Hub
	Direct   hubapi.Direct
	Recorder hubapi.Recorder
	// HubID is the identity of the hub in owner labels.
	HubID string
	// HubNamespace is the namespace that the hub is installed in.
	HubNamespace string
	// Tree reads the files of a commit (40 hexadecimal digits) that was fetched for the source of a
	// name. An error that wraps git.ErrNotStored means that it has to be fetched again.
	Tree func(ctx context.Context, source types.NamespacedName, commit string) (*tree.Tree, error)
	// Decryption opens encrypted files for those that ask for it.
	Decryption Decryption
	// Build renders.
	Build func(context.Context, *tree.Tree, render.Options) (*render.Result, error)
	// Outlines returns what a commit names, where it cannot be rendered for want of a Secret or variable.
	Outlines func(context.Context, *tree.Tree, render.Options) ([]render.Outline, error)
	// Bundles keeps what was rendered.
	Bundles Bundles
	// NoCrossNamespaceRefs refuses references between namespaces that no accessFrom admits.
	NoCrossNamespaceRefs bool
	// DefaultServiceAccount is in whose name a Kustomization outside HubNamespace is applied that names no
	// ServiceAccount; "" for none.
	DefaultServiceAccount string
	// RequireServiceAccount refuses one without, on the hub's own cluster and on Clusters of other namespaces.
	RequireServiceAccount bool
	// TearDown distinguishes a Kustomization that goes with the hub from one that is deleted; nil where
	// nothing is ever torn down.
	TearDown hubapi.TearDown
	// DenialGracePeriod is how long a deleted Kustomization waits for the rights that its ServiceAccount needs to delete
	// its objects; report.DenialGracePeriod when zero.
	DenialGracePeriod time.Duration
	Now               func() time.Time
}

// Bundles is a store of rendered bundles by digest.
type Bundles interface {
	// Verify looks at what is on the disk, and forgets a bundle that is damaged or gone.
	Verify(digest string)
	// Get returns a bundle, which must not be changed.
	Get(ctx context.Context, digest string) (*object.Bundle, error)
	// Put stores a bundle and returns its digest.
	Put(*object.Bundle) (string, error)
	// Has reports whether a bundle is there, and keeps it there long enough to be assigned.
	Has(digest string) bool
}

// Reconciler reconciles Kustomizations.
type Reconciler struct {
	Options
	assignments *assignments
	writes      *hubapi.Writer[types.NamespacedName, *v1alpha1.Kustomization] // of statuses
	after       *hubapi.Continuations
	rollUps     *pacing.Coalescer[types.NamespacedName]
	statuses    *hubapi.Statuses[v1alpha1.Kustomization, *v1alpha1.Kustomization]
	contents    contents // of ConfigMaps and Secrets
	expressions health.Compiler

	trigger hubapi.Trigger // asked for those that wait for another Kustomization

	mu       sync.Mutex
	outcomes outcomes
	memos    map[types.NamespacedName]*memo
	left     map[types.NamespacedName]struct{} // Kustomizations whose entries were left as they are, and reported
}

// New returns a Reconciler.
func New(o Options) *Reconciler {
	if o.TearDown == nil {
		o.TearDown = func(context.Context, hubapi.Subject) (string, error) { return "", nil }
	}
	if o.DenialGracePeriod == 0 {
		o.DenialGracePeriod = report.DenialGracePeriod
	}
	r := &Reconciler{Options: o, memos: map[types.NamespacedName]*memo{}, left: map[types.NamespacedName]struct{}{}}
	r.outcomes = outcomes{known: map[types.NamespacedName]*targeting.Outcome{}, published: map[types.NamespacedName]uint64{}, waiting: map[types.NamespacedName]bool{}}
	r.statuses = hubapi.NewStatuses(func(ks *v1alpha1.Kustomization) any { return &ks.Status })
	r.rollUps = pacing.NewCoalescer[types.NamespacedName](pacing.RollUp, o.Now)
	r.assignments = newAssignments(o.Hub, o.Direct, o.Now)
	r.writes = hubapi.NewWriter(hubapi.WriterOptions[types.NamespacedName, *v1alpha1.Kustomization]{
		Write: r.commit, Pace: pacing.KustomizationStatus, Concurrency: writers, Now: o.Now,
	})
	r.after = hubapi.NewContinuations(&r.trigger)
	r.after.Cooldown = r.cooldown
	return r
}

// Waiting returns how many Assignments wait for their spec to be written.
func (r *Reconciler) Waiting() int { return r.assignments.Waiting() }

// Reconcile brings one Kustomization to its clusters and reports. It waits for no write: what has to follow
// one runs when the write has ended.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	return r.after.Reconcile(ctx, req, r.begin)
}

// begin reconciles up to the first write.
func (r *Reconciler) begin(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	began := r.Now()
	before := &v1alpha1.Kustomization{}
	if err := r.Hub.Get(ctx, req.NamespacedName, before); err != nil {
		if apierrors.IsNotFound(err) {
			return r.sweep(ctx, req.NamespacedName)
		}
		return reconcile.Result{}, fmt.Errorf("cannot read Kustomization: %w", err)
	}
	known := before
	if last, foreign := r.statuses.Foreign(before); foreign { // with the rollout as it stands, and what was halted
		known = before.DeepCopy()
		known.Status = last.Status
	}
	o, err := r.observe(ctx, known)
	if errors.Is(err, errTornDown) {
		return reconcile.Result{}, nil // it is about to go, and changes nothing on its way
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	d, err := r.decide(ctx, o)
	if errors.Is(err, errTornDown) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	if !d.released {
		// The next roll-up renders and assigns nothing: what that took must not delay it.
		r.rollUps.Wrote(req.NamespacedName, r.Now().Sub(began)-o.rendering, len(d.targets))
	}
	return r.execute(ctx, o, d, func(ctx context.Context, err error) (reconcile.Result, error) {
		if err != nil {
			return hubapi.ResultForError(err)
		}
		r.publish(o, outcomeOf(o, d))
		if d.silent {
			return reconcile.Result{}, nil
		}
		return r.report(ctx, before, o, d)
	})
}

// report commits what is known after the decision was carried out, and lets a Kustomization go that
// has left every cluster.
func (r *Reconciler) report(ctx context.Context, before *v1alpha1.Kustomization, o *observed, d *decision) (reconcile.Result, error) {
	statusReport := report.Kustomization(d.facts(o, r.Now()))
	after := o.ks.DeepCopy()
	after.Status = statusReport.Status
	if d.tornDown != "" {
		hubapi.Record(r.Recorder, after, "Reconcile", []report.Event{hubapi.TornDown(d.tornDown)})
	}
	if d.released {
		return r.release(ctx, after)
	}
	reported := func(_ context.Context, err error) (reconcile.Result, error) {
		if err != nil {
			return hubapi.ResultForError(err)
		}
		hubapi.Record(r.Recorder, after, "Reconcile", statusReport.Events)
		hubapi.Record(r.Recorder, after, "Reconcile", d.ignoredEvents(o))
		hubapi.Record(r.Recorder, after, "Reconcile", d.markedEvents(o))
		if d.retry != nil {
			return reconcile.Result{}, d.retry
		}
		if !o.ks.IsSuspended() && after.IsSuspended() { // what was asked for once is done
			return reconcile.Result{RequeueAfter: time.Millisecond}, nil
		}
		return reconcile.Result{RequeueAfter: statusReport.Requeue}, nil
	}
	if equality.Semantic.DeepEqual(before.Status, after.Status) {
		r.statuses.Confirm(after)
		return reported(ctx, nil)
	}
	if wait := r.writes.Wait(o.key, len(d.targets), urgency(before, after)); wait > 0 && d.retry == nil {
		if statusReport.Requeue > 0 {
			wait = min(wait, statusReport.Requeue)
		}
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	r.writes.Enqueue(o.key, len(d.targets), after, r.after.Begin(ctx, o.key, 1, reported))
	return reconcile.Result{}, nil
}

// commit writes a status. There is one at a time: the Kustomization is reconciled again when it is written.
func (r *Reconciler) commit(ctx context.Context, _ types.NamespacedName, batch []*v1alpha1.Kustomization) error {
	return r.statuses.Commit(ctx, r.Hub, batch[len(batch)-1])
}

// release removes the finalizer; the status of what goes is of no interest.
func (r *Reconciler) release(ctx context.Context, ks *v1alpha1.Kustomization) (reconcile.Result, error) {
	r.forget(types.NamespacedName{Namespace: ks.Namespace, Name: ks.Name})
	if !controllerutil.RemoveFinalizer(ks, v1alpha1.Finalizer) {
		return reconcile.Result{}, nil
	}
	return hubapi.ResultForError(hubapi.PatchFinalizers(ctx, r.Hub, ks))
}

func (r *Reconciler) memo(key types.NamespacedName) *memo {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.memos[key]
	if m == nil {
		m = &memo{}
		r.memos[key] = m
	}
	delete(r.left, key)
	return m
}

func (r *Reconciler) forget(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.memos, key)
	delete(r.outcomes.known, key)
	delete(r.outcomes.published, key)
	delete(r.outcomes.waiting, key)
	r.statuses.Forget(key)
	r.rollUps.Forget(key)
	r.writes.Forget(key)
}
