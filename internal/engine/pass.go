package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/drift"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/engine/machine"
	"github.com/skerry-dev/skerry/internal/inventory"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/plan"
	"github.com/skerry-dev/skerry/internal/recovery"
)

// job is all that one pass over one entry works from. It is a snapshot: the pass shares nothing with
// the loop but the session's live objects, which have a lock of their own.
type job struct {
	of *entry // only the loop touches it
	// why the pass began, and when.
	why     machine.Why
	begun   time.Time
	tally   *tally
	entry   v1alpha1.AssignmentEntry
	session *session
	view    *view
	owner   string
	// bundle is the digest of desired.
	bundle  string
	desired []object.Object
	// autoscaled names the objects whose spec.replicas is left to an autoscaler, with that autoscaler.
	autoscaled map[object.ID]object.ID
	// ignored holds the objects of which fields are left to other managers.
	ignored map[object.ID]*drift.Ignored
	// left are the objects that the pass before has left as they were.
	left map[object.ID]difference
	// whole means that desired is the assigned bundle, not the last good one that stands in for it.
	whole     bool
	inventory *inventory.Inventory
	// reload reads the inventory anew, which could not be read before.
	reload bool
	// interest returns what other Kustomizations desire.
	interest func(object.ID) plan.Interest
	// tenancy bounds what may be applied to the cluster.
	tenancy *plan.Tenancy
	// ofSibling means that another Cluster that leads to the same cluster has the Kustomization.
	ofSibling bool
	// held objects are left alone: another manager keeps changing them back.
	held map[object.ID]bool
	// relist asks the cluster again for what is known of it.
	relist bool
	// verify asks the cluster whether its watches have reported everything.
	verify bool
	count  func(Counter, int)
	// timeout is how long the pass may begin something.
	timeout time.Duration
}

// outcome is what a pass found and did.
type outcome struct {
	job job
	// desired is what the job had, with the identities that the cluster's kinds give them.
	desired   []object.Object
	inventory *inventory.Inventory
	refusal   plan.Refusal
	failures  []failure
	// waiting means that a later stage waits for definitions of an earlier one.
	waiting string
	// awaits is the wave that waits for the ones before to be healthy; nil when none does.
	awaits *int32
	// retrySoon means that no event will come when the wait is over.
	retrySoon bool
	events    []Event
	drifted   []correction
	// left are the objects that have drifted and are left as they are; nil when the pass did not get to look.
	left map[object.ID]difference
	// verified is up to when the cluster is known to have reported everything of the kinds of the entry.
	verified time.Time
	// retained are the objects that stay for another Kustomization; undecided means that of some it is
	// not known whether one desires them.
	retained  map[object.ID]bool
	undecided bool
	// heldBack are the objects whose deletion waits for those of later waves to be gone.
	heldBack map[object.ID]bool
	// deleted holds the uids of the objects that were deleted, gone or not.
	deleted map[object.ID]string
	// cleaned means that something was released or deleted, so that others may have it now.
	cleaned bool
	// rewatched means that a kind is watched in other places than before.
	scopesChanged bool
	// denied means that the account has no right to let go of what the entry has, and is to leave there.
	denied bool
	// stopped means that the pass ended early because the engine stops.
	stopped bool
	// timedOut means that it ended early because it took too long.
	timedOut bool
	// err kept the pass from going on at all.
	err error
}

// correction is one object that was put back, and which manager had changed what, where that is known.
type correction struct {
	id               object.ID
	why              plan.Why
	fields, managers []string
	by               string
	// interactive means that it was a person, by the name of the field manager.
	interactive bool
}

// failure is one object that the cluster refused.
type failure struct {
	id      object.ID
	reason  string
	message string
	// final means that only a change of the object helps.
	final bool
}

// pass brings one entry of one cluster closer to what is desired: observe, plan, write ahead, apply
// in stages, clean up, record. It holds no lock and waits for nothing but the cluster's answers.
type pass struct {
	*session
	*view // shadows that of the session
	job
	manager   string // the field manager of the entry
	out       outcome
	mappings  map[schema.GroupKind]edge.Mapping
	missing   map[schema.GroupKind]bool   // not found
	gone      map[schema.GroupKind]bool   // of those, certain to be gone
	uncertain map[schema.GroupKind]string // of those, not certain to be gone, and why
	// forbidden are scopes of which the account may not see the objects.
	forbidden map[watchScope]failure
	// hidden are kinds that the cluster does not let be listed.
	hidden map[schema.GroupKind]bool
	// unsettled objects are neither recorded nor applied: their ID may change once their kind is known.
	unsettled map[object.ID]bool
	// moved means that the inventory has IDs which are not recorded on the cluster yet.
	moved bool

	mu sync.Mutex // guards out, record and what follows while objects are applied side by side
	// followed and asked are what was looked up in this stage.
	followed map[schema.GroupVersionKind]bool
	lookups  map[schema.GroupVersion]error
	// withheld are kinds of which no object is applied, and why; of those that are uncertain too, what is
	// recorded stays recorded.
	withheld map[schema.GroupKind]failure

	discovering sync.Mutex      // held while kinds are looked up; guards lookedUp
	lookedUp    *edge.Discovery // nil: nothing yet

	deadline <-chan struct{} // closed when the time is up
}

// errPassTimeout means that a pass did not get to look at the cluster in its time.
var errPassTimeout = errors.New("the pass took too long")

// mustStop reports whether the pass is to begin nothing more, and notes why. What was begun is still waited
// for and recorded.
func (p *pass) mustStop() bool {
	if p.stopping() {
		p.out.stopped = true
		return true
	}
	select {
	case <-p.deadline:
		p.out.timedOut = true
		return true
	default:
		return false
	}
}

func (s *session) run(ctx context.Context, j job) outcome {
	p := &pass{session: s, view: j.view, job: j, manager: object.FieldManager(j.owner), mappings: map[schema.GroupKind]edge.Mapping{}, missing: map[schema.GroupKind]bool{}, gone: map[schema.GroupKind]bool{}, uncertain: map[schema.GroupKind]string{}, withheld: map[schema.GroupKind]failure{}}
	p.out = outcome{job: j, desired: j.desired, inventory: j.inventory}
	timed, cancel := context.WithTimeoutCause(ctx, j.timeout, errPassTimeout)
	defer cancel()
	p.deadline = timed.Done()
	p.out.err = recovery.Run(func() error { return p.do(ctx, timed) })
	return p.out
}

// do looks at the cluster in time, and takes the time that it needs to record what it did.
func (p *pass) do(ctx, timed context.Context) error {
	begun := p.now()
	defer func() { p.out.verified = p.verifiedUpTo(begun) }()
	if may, err := p.mayBegin(timed); !may || err != nil {
		return err
	}
	if p.reload {
		inv, err := p.store.Reload(timed, p.owner)
		if err != nil {
			return err
		}
		p.inventory, p.out.inventory, p.out.job.inventory = inv, inv, inv
	}
	if err := p.observe(timed); err != nil {
		if ctx.Err() == nil && timed.Err() != nil {
			return errPassTimeout
		}
		return err
	}
	if p.out.refusal.Reason == "" && p.outdated() {
		p.out.refusal = plan.Refusal{Reason: v1alpha1.HubStateOutdatedReason, Message: fmt.Sprintf(
			"the cluster has what was decided later: was the hub restored from a backup? It waits for another commit; if this one is meant, annotate the Kustomization with %s=%s",
			v1alpha1.AllowPruneAnnotation, p.entry.Revision)}
	}
	if p.out.refusal.Reason != "" {
		return nil
	}
	todo := plan.Make(plan.Input{
		Desired: p.out.desired, Bundle: p.bundle, Recorded: p.inventory, Live: p.live.owned(p.owner), Ended: p.live.endedJobs(), Interest: p.interest,
		Options: plan.Options{
			Prune: p.entry.Prune, MaxPrune: p.entry.MaxPrune, AllowPrune: p.entry.AllowPrune,
			LeaveDrift: p.entry.Drift.GetMode() != v1alpha1.DriftCorrect,
			Remove:     p.entry.Remove, Orphan: p.entry.DeletionPolicy == v1alpha1.DeletionOrphan,
		},
	})
	if todo.Refusal.Reason != "" {
		p.out.refusal = todo.Refusal
		return nil
	}
	p.out.retained, p.out.undecided = todo.Retained()
	p.out.heldBack = todo.Held()
	if err := p.writeAhead(ctx, todo); err != nil {
		return err
	}
	recorded := p.out.inventory
	p.out.inventory = recorded.Clone()
	p.recordFinished(todo)
	p.sealDigests()
	err := recovery.Run(func() error { return errors.Join(p.execute(ctx, todo), p.compare(ctx, todo.Left)) }) // what was done before a panic is recorded
	return errors.Join(err, p.record(ctx, recorded, err == nil))
}

// mayBegin reports whether the pass is to do anything.
func (p *pass) mayBegin(ctx context.Context) (bool, error) {
	if p.ofSibling && p.entry.Remove { // what there is belongs to the other Cluster, and nothing is left to do here
		p.out.inventory = inventory.New(p.owner)
		return false, nil
	}
	if p.ofSibling {
		p.out.refusal = plan.Refusal{Reason: v1alpha1.DuplicateClusterReason, Message: "the Kustomization selects another Cluster that leads to the same cluster: select one of the two"}
		return false, nil
	}
	err := p.admit(ctx)
	refused := p.out.refusal.Reason != ""
	if err == nil && refused {
		p.noteDenied()
	}
	return err == nil && !refused, err
}

// outdated reports whether the assigned bundle was decided on before what the cluster has. What a person has
// acknowledged for its revision goes on.
func (p *pass) outdated() bool {
	if !p.whole || p.entry.AllowPrune || p.entry.AssignedAt == nil {
		return false
	}
	return p.inventory.Newer(p.bundle, p.entry.AssignedAt.Unix())
}

// decided is when what is applied from now on was decided on. A last good bundle that stands in is
// younger than nothing.
func (p *pass) decided(inv *inventory.Inventory) int64 {
	if !p.whole || p.entry.AssignedAt == nil {
		return inv.Decided
	}
	return p.entry.AssignedAt.Unix()
}

func (p *pass) writeAhead(ctx context.Context, todo *plan.Plan) error {
	var now []plan.Action
	for i, stage := range todo.Stages {
		if !todo.Gates[i].Waits {
			now = append(now, stage...)
		}
	}
	p.out.inventory = p.inventory
	return p.recordAhead(ctx, now)
}

// recordAhead records what is about to be applied. Of a wave that waits that is done when it begins. Until then
// what is recorded of its objects is what the last bundle had.
func (p *pass) recordAhead(ctx context.Context, stage []plan.Action) error {
	var applying []object.Object
	for _, a := range stage {
		if _, withheld := p.withheldKind(a.ID); !withheld && !p.unsettled[a.ID] {
			applying = append(applying, a.Object)
		}
	}
	ahead, changed := p.out.inventory.Ahead(applying)
	if !changed && !p.moved {
		return nil
	}
	if changed {
		ahead.Accepted = p.bundle
		ahead.Decided = p.decided(ahead)
	}
	if err := p.store.Save(ctx, ahead); err != nil {
		return fmt.Errorf("cannot record what is about to be applied: %w", err)
	}
	p.out.inventory, p.moved = ahead, false
	return nil
}

// sealDigests replaces the digests that an earlier version recorded of confidential objects: from a plain one a
// short password could be guessed on the edge. The objects are as they were, and are not applied for it.
func (p *pass) sealDigests() {
	for i := range p.out.desired {
		o := &p.out.desired[i]
		record := p.out.inventory.Objects[o.ID]
		if o.IsSealed() && record.Digest != o.Digest && o.HasDigest(record.Digest) {
			record.Digest = o.Digest
			p.out.inventory.Objects[o.ID] = record
		}
	}
}

// record writes down what was confirmed. It goes on for a moment when the engine stops, for all that
// is not recorded now is applied again later.
func (p *pass) record(ctx context.Context, before *inventory.Inventory, finished bool) error {
	inv := p.out.inventory
	if finished && p.whole && p.out.complete() && inv.Bundle != p.entry.Digest {
		inv.Revision, inv.Bundle, inv.Decided = p.entry.Revision, p.entry.Digest, p.decided(inv)
	}
	if p.entry.Remove && len(inv.Objects) == 0 {
		// A Kustomization that is made again under this name starts with nothing. Otherwise the last bundle
		// of the one before would be enforced while the new one waits for a dependency.
		p.out.inventory = inventory.New(p.owner)
		return p.store.Delete(ctx, p.owner)
	}
	if inv.Equal(before) {
		return nil
	}
	return p.store.Save(ctx, inv)
}

// final returns whether trying again is of no use: everything that was tried is done but for objects
// that would be refused again.
func (o *outcome) final() bool {
	return o.err == nil && o.waiting == "" && !o.stopped && !o.timedOut && len(o.failures) > 0 &&
		!slices.ContainsFunc(o.failures, func(f failure) bool { return !f.final })
}

// applied counts the objects that stand as desired.
func (o *outcome) applied() int {
	n := 0
	for i := range o.desired {
		if o.desired[i].HasDigest(o.inventory.Objects[o.desired[i].ID].Digest) {
			n++
		}
	}
	return n
}

// complete reports whether everything desired was applied.
func (o *outcome) complete() bool {
	return o.err == nil && o.refusal.Reason == "" && o.waiting == "" && len(o.failures) == 0 && !o.stopped && !o.timedOut && !o.job.entry.Remove
}

// corrupt reports whether the inventory cannot be relied on.
func (o *outcome) corrupt() bool {
	_, corrupt := errors.AsType[*edge.CorruptError](o.err)
	return corrupt
}
