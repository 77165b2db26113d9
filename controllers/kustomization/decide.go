package kustomization

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// decision is what is to be written, and what is known once it is.
type decision struct {
	revision         string // that was to be rendered; empty when it was not tried
	err              error  // reportable, of the Kustomization as a whole
	noTargets        string
	selection        error // reportable: what is wrong with who is selected; those that are go on
	selectionRefused bool  // no cluster joins or leaves
	targets          []*target
	leaving          []leavingCluster

	// suspended is what a suspended Kustomization would come to; nothing of it is written.
	suspended *decision
	// pruneHeld explains where and why what was dropped is kept; followed means that a cluster waits for a dependency.
	pruneHeld string
	followed  bool
	// denied explains how long an account is waited for that is to delete what is left, and what else would help.
	denied string

	rollout *v1alpha1.RolloutStatus // nil: as it was
	checkAt time.Time               // when the planner is to be asked again; zero: when something changes

	createHub bool
	// silent means that there is nothing to report: a watch is about to show more.
	silent bool
	// released means that nothing of it is left anywhere, or that what is left is left on purpose.
	released bool
	// tornDown explains why the deletion is no decision about the clusters; "" when it is one.
	tornDown string
	// retry asks for another try after the report.
	retry error
}

// target is a selected cluster.
type target struct {
	targeting.Target
	digest string // of the bundle; empty when there is none
	err    error  // reportable: why there is none, for this cluster alone
	want   *v1alpha1.AssignmentEntry
	waits  string // for a dependency, before it may get what was rendered
	held   string // why it does not get what was rendered now

	ignored string   // annotations of what was rendered anew that have no effect
	marked  []string // files of what was rendered anew that have markers of image policies
}

// leavingCluster is a cluster that has an entry and is not selected.
type leavingCluster struct {
	cluster string
	want    *v1alpha1.AssignmentEntry // nil: the entry has done its work and goes
	event   *report.Event             // recorded when want is written; nil for none
}

// decide makes the decision, and renders for it. It fails only with errors of which nothing is said.
func (r *Reconciler) decide(ctx context.Context, o *observed) (*decision, error) {
	switch {
	case !o.ks.DeletionTimestamp.IsZero():
		return r.decideDeletion(ctx, o)
	case o.ks.IsSuspended():
		return r.decideSuspended(ctx, o)
	}
	d := decideTargets(o)
	if d.over() {
		return d, nil
	}
	d.guardSelection(o)
	if cycle := targeting.Cycle(o.ks, o.all); cycle != nil {
		d.err = &report.Stalled{Reason: v1alpha1.DependencyCycleReason, Err: fmt.Errorf("dependsOn leads in a circle: %s", strings.Join(namesFrom(o.key.Namespace, append(cycle, cycle[0])), " → "))}
		d.keep(o)
		return d, nil
	}
	if d.err = o.refusedDependency(); d.err != nil {
		d.keep(o)
		return d, nil //nolint:nilerr // d carries it: it is one to be reported
	}
	if _, err := r.expressions.Compile(o.ks.Spec.HealthCheckExprs); err != nil {
		d.err = &report.Stalled{Reason: v1alpha1.InvalidHealthCheckReason, Err: err}
		d.keep(o)
		return d, nil //nolint:nilerr // d carries it: it is one to be reported
	}
	if err := checkDrift(&o.ks.Spec); err != nil {
		d.err = err
		d.keep(o)
		return d, nil //nolint:nilerr // d carries it: it is one to be reported
	}
	if err := r.fill(ctx, o, d); err != nil {
		return nil, err
	}
	if d.silent {
		d.keep(o)
		return d, nil
	}
	if err := r.assign(ctx, o, d); err != nil {
		return nil, err
	}
	d.leaving = d.leavingUnlessRefused(o, leavingClusters(o, d.targets))
	return d, r.retain(ctx, o, d)
}

// over reports whether there is nothing more to decide.
func (d *decision) over() bool { return d.err != nil || d.silent }

// decideTargets selects the clusters.
func decideTargets(o *observed) *decision {
	selection, err := targeting.Select(o.ks, o.clusters, o.access)
	if err != nil {
		return &decision{err: &report.Stalled{Reason: v1alpha1.InvalidSelectorReason, Err: err}}
	}
	d := &decision{noTargets: selection.Message, selection: notFound(selection.NotFound), createHub: selection.MissingHub, silent: selection.MissingHub}
	for _, t := range selection.Targets {
		d.targets = append(d.targets, &target{Target: t})
	}
	d.addDenied(o, selection.Denied)
	return d
}

// fill renders for the targets, or records why that is not possible.
func (r *Reconciler) fill(ctx context.Context, o *observed, d *decision) error {
	if len(d.targets) == 0 {
		return nil
	}
	artifact := d.input(o)
	if artifact == nil {
		return nil
	}
	err := r.render(ctx, o, artifact, d.targets)
	switch {
	case errors.Is(err, git.ErrNotStored):
		d.err, d.silent = awaitFetch(o.source, artifact)
		return nil
	case err != nil && !report.IsReportable(err):
		return err
	}
	d.revision, d.err = artifact.Revision, err
	if d.err == nil {
		d.err = common(d.targets)
	}
	if transient := new(report.Transient); errors.As(d.err, &transient) {
		d.retry = d.err
	}
	return nil
}

// input is what the source has fetched; nil when that or something else has to be waited for.
func (d *decision) input(o *observed) *v1alpha1.Artifact {
	key := targeting.SourceOf(o.ks)
	name := v1alpha1.RelativeName(o.key.Namespace, key)
	switch {
	case o.source == nil && key.Namespace != o.key.Namespace && o.access.Closed:
		d.err = o.deniedSource(name) // whether it is there is not told
	case o.source != nil && !o.access.Admits(o.key.Namespace, key.Namespace, o.source.Spec.AccessFrom):
		d.err = o.deniedSource(name)
	case o.source == nil:
		d.err = &report.Waiting{Reason: v1alpha1.SourceNotFoundReason, Err: fmt.Errorf("there is no GitRepository %s", name)}
	case o.source.Status.Artifact == nil:
		d.err = &report.Waiting{Reason: v1alpha1.SourceNotReadyReason, Err: fmt.Errorf("the GitRepository %s has fetched nothing yet", name)}
	case o.missing != nil:
		d.err = o.missing
	default:
		return o.source.Status.Artifact
	}
	return nil
}

// awaitFetch is for a hub whose storage was lost. A moment later the source has fetched the commit
// again, and until then nothing new is known; unless it cannot.
func awaitFetch(source *v1alpha1.GitRepository, artifact *v1alpha1.Artifact) (err error, silent bool) {
	if ready := meta.FindStatusCondition(source.Status.Conditions, v1alpha1.ReadyCondition); ready == nil || ready.Status == metav1.ConditionTrue {
		return nil, true
	}
	return &report.Waiting{
		Reason: v1alpha1.SourceNotReadyReason,
		Err:    fmt.Errorf("the GitRepository %s has to fetch %s again and cannot", source.Name, artifact.Revision),
	}, false
}

// common returns the error that all targets share: then it is one of the Kustomization.
func common(targets []*target) error {
	for _, t := range targets {
		if t.err == nil || t.err.Error() != targets[0].err.Error() {
			return nil
		}
	}
	return targets[0].err
}

// keep leaves every entry as it is.
func (d *decision) keep(o *observed) {
	for _, t := range d.targets {
		t.want = o.assigned[t.Name].entry
	}
}

// assign decides the entries of the targets: by the rollout, or, where nothing could be rendered, at
// the revision that they have.
func (r *Reconciler) assign(ctx context.Context, o *observed, d *decision) error {
	if d.err == nil && len(d.targets) > 0 {
		return r.planRollout(ctx, o, d)
	}
	for _, t := range d.targets {
		d.keepContent(o, t)
	}
	return nil
}

// decideSuspended leaves every entry as it is, and suspends it. It renders all the same, to know what the
// revision wants of it: else its neighbours could delete nothing for as long as it is suspended.
func (r *Reconciler) decideSuspended(ctx context.Context, o *observed) (*decision, error) {
	d := decideTargets(o)
	d.createHub, d.silent = false, false
	d.suspended = &decision{targets: slices.Clone(d.targets), err: d.err}
	for i, t := range d.targets {
		d.suspended.targets[i] = &target{Target: t.Target}
	}
	if d.err == nil {
		if err := r.fill(ctx, o, d.suspended); err != nil {
			return nil, err
		}
	}
	for _, t := range d.targets {
		if have := o.assigned[t.Name].entry; have != nil {
			t.want = have.DeepCopy()
			t.want.Suspend = true
		}
	}
	return d, nil
}

// decideDeletion takes the Kustomization from every cluster. One that is suspended leaves its
// objects where they are, as in Flux; one that goes with its namespace, its kind or the hub leaves
// everything as it is, its entries included.
func (r *Reconciler) decideDeletion(ctx context.Context, o *observed) (*decision, error) {
	d := &decision{leaving: leavingClusters(o, nil), released: true}
	if len(d.leaving) == 0 {
		return d, nil
	}
	var err error
	if d.tornDown, err = r.TearDown(ctx, subject(o.key.Namespace, o.ks.CreationTimestamp.Time)); err != nil {
		hubapi.Record(r.Recorder, o.ks, "Reconcile", []report.Event{hubapi.TearDownUncertain(err)})
		return nil, err
	}
	if d.tornDown != "" {
		d.leaving = nil
		return d, nil
	}
	if o.ks.Spec.Suspend {
		for i := range d.leaving {
			if want := d.leaving[i].want; want != nil {
				want.DeletionPolicy = v1alpha1.DeletionOrphan
			}
		}
	}
	for _, l := range d.leaving {
		d.released = d.released && l.want == nil
	}
	r.orphanDenied(o, d)
	return d, r.retain(ctx, o, d)
}

func subject(namespace string, created time.Time) hubapi.Subject {
	return hubapi.Subject{Namespace: namespace, Plural: "kustomizations", Created: created}
}

// leavingClusters are the clusters with an entry that are not among the targets. A Cluster that is gone takes
// its Assignment with it and is not waited for.
func leavingClusters(o *observed, targets []*target) []leavingCluster {
	selected := make(map[string]bool, len(targets))
	for _, t := range targets {
		selected[t.Name] = true
	}
	var list []leavingCluster
	for i := range o.clusters {
		name := o.nameOf(&o.clusters[i])
		have := o.assigned[name]
		if have.entry == nil || selected[name] || o.byName[name] == nil {
			continue
		}
		l := leavingCluster{cluster: name}
		if !have.entry.Remove || have.status == nil || !have.status.Removed {
			l.want = have.entry.DeepCopy()
			l.want.Remove, l.want.Suspend, l.want.DeletionPolicy = true, false, o.ks.GetDeletionPolicy()
			l.want.ServiceAccountName = o.accountOn(name)
			l.want.RequireServiceAccount = l.want.RequireServiceAccount && l.want.ServiceAccountName == "" || o.requiresAccount(name)
		}
		list = append(list, l)
	}
	return list
}

// facts are what is known once the decision is carried out.
func (d *decision) facts(o *observed, now time.Time) report.KustomizationFacts {
	f := report.KustomizationFacts{Object: o.ks, Now: now, Revision: d.revision, Err: d.err, Selection: d.selection, NoTargets: d.noTargets, Rollout: d.rollout, CheckAt: d.checkAt, PruneHeld: d.pruneHeld, Denied: d.denied}
	f.Targets = make([]report.TargetFacts, 0, len(d.targets))
	for _, t := range d.targets {
		f.Targets = append(f.Targets, report.TargetFacts{
			Cluster: t.Name, Suspended: t.Suspended, Err: t.err, Digest: t.digest, Wanted: t.want, Held: t.held,
			Conditions: o.byName[t.Name].Status.Conditions, Reported: o.assigned[t.Name].status,
		})
		if d.err != nil {
			f.Targets[len(f.Targets)-1].Err = nil // said once, of all
		}
	}
	for _, l := range d.leaving {
		if l.want == nil {
			continue
		}
		f.Leaving = append(f.Leaving, report.TargetFacts{
			Cluster: l.cluster, Suspended: o.byName[l.cluster].Spec.Suspend, Wanted: l.want,
			Conditions: o.byName[l.cluster].Status.Conditions, Reported: o.assigned[l.cluster].status,
		})
	}
	return f
}

// changed reports whether an entry has to be written.
func changed(have, want *v1alpha1.AssignmentEntry) bool {
	return want != nil && (have == nil || !have.Equal(want))
}
