package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/apply"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/inventory"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/plan"
)

// job is all that one pass over one entry works from. It is a snapshot: the pass shares nothing with
// the loop but the session's live objects, which have a lock of their own.
type job struct {
	entry   v1alpha1.AssignmentEntry
	session *session
	owner   string
	// bundle is the digest of desired.
	bundle  string
	desired []object.Object
	// whole says that desired is the assigned bundle, not the last good one that stands in for it.
	whole     bool
	inventory *inventory.Inventory
	claimed   func(object.ID) bool
	// held objects are left alone: somebody keeps changing them back.
	held map[object.ID]bool
	// relist asks the cluster again for what is known of it.
	relist bool
	count  func(Counter, int)
}

// outcome is what a pass found and did.
type outcome struct {
	job job
	// desired is what the job had, with the identities that the cluster's kinds give them.
	desired   []object.Object
	inventory *inventory.Inventory
	refusal   plan.Refusal
	failures  []failure
	// waiting says that a later stage waits for definitions of an earlier one.
	waiting string
	// soon says that no event will tell when the wait is over.
	soon    bool
	events  []Event
	drifted []correction
	// cleaned says that something was released or deleted, so that others may have it now.
	cleaned bool
	// stopped says that the pass ended early because the engine stops.
	stopped bool
	// err kept the pass from going on at all.
	err error
}

// correction is one object that was put back, and who had changed it, where that is known.
type correction struct {
	id object.ID
	by string
}

// failure is one object that the cluster refused.
type failure struct {
	id      object.ID
	reason  string
	message string
}

// pass brings one entry of one cluster closer to what is desired: observe, plan, write ahead, apply
// in stages, clean up, record. It holds no lock and waits for nothing but the cluster's answers.
type pass struct {
	*session
	job
	out      outcome
	mappings map[schema.GroupKind]apply.Mapping
	missing  map[schema.GroupKind]error

	mu sync.Mutex // guards out and record while objects are applied side by side
}

func (s *session) run(ctx context.Context, j job) outcome {
	p := &pass{session: s, job: j, mappings: map[schema.GroupKind]apply.Mapping{}, missing: map[schema.GroupKind]error{}}
	p.out = outcome{job: j, desired: j.desired, inventory: j.inventory}
	p.out.err = p.do(ctx)
	return p.out
}

func (p *pass) do(ctx context.Context) error {
	if err := p.observe(ctx); err != nil {
		return err
	}
	todo := plan.Make(plan.Input{
		Desired: p.out.desired, Recorded: p.inventory, Live: p.live.owned(p.owner), Claimed: p.claimed,
		Options: plan.Options{
			Prune: p.entry.Prune, AllowPrune: p.entry.AllowPrune,
			Remove: p.entry.Remove, Orphan: p.entry.DeletionPolicy == v1alpha1.DeletionOrphan,
		},
	})
	if todo.Refusal.Reason != "" {
		p.out.refusal = todo.Refusal
		return nil
	}
	if err := p.writeAhead(ctx, todo); err != nil {
		return err
	}
	recorded := p.out.inventory
	p.out.inventory = recorded.Clone()
	err := p.execute(ctx, todo)
	return errors.Join(err, p.record(ctx, recorded, err == nil))
}

// observe finds out where each kind lives and waits until what was applied before is in sight. A
// kind that the cluster does not know has no objects there; any other failure to look is no answer.
func (p *pass) observe(ctx context.Context) error {
	recorded := map[schema.GroupKind]bool{}
	for id, r := range p.inventory.Objects {
		gk := schema.GroupKind{Group: id.Group, Kind: id.Kind}
		recorded[gk] = true
		if err := p.find(ctx, gk.WithVersion(r.Version)); err != nil {
			return err
		}
	}
	for _, o := range p.desired {
		if err := p.find(ctx, schema.GroupVersionKind{Group: o.Group, Version: o.Version, Kind: o.Kind}); err != nil {
			return err
		}
	}
	for gk, m := range p.mappings {
		if p.relist && recorded[gk] {
			p.watches.relist(m)
		} else {
			p.watches.ensure(m)
		}
	}
	for gk := range recorded {
		if _, there := p.mappings[gk]; !there {
			p.watches.stop(gk)
			p.live.listed(gk, nil, p.live.mark())
			continue
		}
		if err := p.sight(ctx, gk); err != nil {
			return err
		}
	}
	p.out.desired = p.identify(p.desired)
	return nil
}

// sightTimeout bounds the wait for the first list of a kind: one that cannot be listed, for want of a
// permission say, must not hold the pass for ever.
const sightTimeout = 30 * time.Second

func (p *pass) sight(ctx context.Context, gk schema.GroupKind) error {
	short, cancel := context.WithTimeout(ctx, sightTimeout)
	defer cancel()
	err := p.watches.wait(short, gk)
	if err != nil && ctx.Err() == nil {
		return &blindError{gk}
	}
	return err
}

// blindError says that the cluster answers, and yet its objects of a kind cannot be listed.
type blindError struct{ gk schema.GroupKind }

func (e *blindError) Error() string {
	return fmt.Sprintf("the objects of kind %s cannot be listed: may these credentials list and watch them?", e.gk.Kind)
}

// find looks up a kind once. That the cluster has no such kind is remembered, not an error.
func (p *pass) find(ctx context.Context, gvk schema.GroupVersionKind) error {
	gk := gvk.GroupKind()
	if m, ok := p.mappings[gk]; ok && m.GVK == gvk {
		return nil
	}
	if p.missing[gk] != nil {
		return nil
	}
	m, err := p.client.Mapping(ctx, gvk)
	var unknown *apply.KindNotFoundError
	if errors.As(err, &unknown) {
		if _, ok := p.mappings[gk]; !ok {
			p.missing[gk] = err
		}
		return nil
	}
	if err != nil {
		return err
	}
	p.mappings[gk] = m
	return nil
}

// identify strikes the namespace off objects of cluster-scoped kinds: a manifest or a namespace
// override may name one, the cluster does not keep it.
func (p *pass) identify(desired []object.Object) []object.Object {
	var out []object.Object
	for i, o := range desired {
		m, ok := p.mappings[schema.GroupKind{Group: o.Group, Kind: o.Kind}]
		if !ok || m.Namespaced || o.Namespace == "" {
			continue
		}
		if out == nil {
			out = slices.Clone(desired)
		}
		out[i].Namespace = ""
	}
	if out == nil {
		return desired
	}
	return out
}

func (p *pass) writeAhead(ctx context.Context, todo *plan.Plan) error {
	var applying []object.Object
	for _, stage := range todo.Stages {
		for _, a := range stage {
			applying = append(applying, a.Object)
		}
	}
	ahead, changed := p.inventory.Ahead(applying)
	if !changed {
		return nil
	}
	if err := p.store.Save(ctx, ahead); err != nil {
		return fmt.Errorf("cannot record what is about to be applied: %w", err)
	}
	p.out.inventory = ahead
	return nil
}

// record writes down what was confirmed. It goes on for a moment when the engine stops, for all that
// is not recorded now is applied again later.
func (p *pass) record(ctx context.Context, before *inventory.Inventory, finished bool) error {
	inv := p.out.inventory
	if finished && p.whole && p.out.complete() && inv.Bundle != p.entry.Digest {
		inv.Revision, inv.Bundle = p.entry.Revision, p.entry.Digest
	}
	if p.entry.Remove && len(inv.Objects) == 0 {
		return p.store.Delete(ctx, p.owner)
	}
	if inv.Equal(before) {
		return nil
	}
	return p.store.Save(ctx, inv)
}

// complete says whether everything desired was applied.
func (o *outcome) complete() bool {
	return o.err == nil && o.refusal.Reason == "" && o.waiting == "" && len(o.failures) == 0 && !o.stopped && !o.job.entry.Remove
}

func (p *pass) execute(ctx context.Context, todo *plan.Plan) error {
	for _, stage := range todo.Stages {
		if object.Stage(stage[0].ID) != object.StageDefinitions {
			if p.out.waiting = p.unestablished(); p.out.waiting != "" {
				return nil
			}
		}
		if err := p.applyAll(ctx, stage); err != nil {
			return err
		}
	}
	if len(p.out.failures) > 0 || p.out.waiting != "" || p.out.stopped {
		return nil
	}
	return p.cleanUp(ctx, todo.Cleanup)
}

// unestablished names a definition among the desired objects that the cluster does not serve yet.
func (p *pass) unestablished() string {
	for _, o := range p.out.desired {
		if o.Kind != "CustomResourceDefinition" {
			continue
		}
		if s, ok := p.live.get(o.ID); !ok || s.Health.Phase != health.Current {
			return fmt.Sprintf("%s is not established", o.ID)
		}
	}
	return ""
}

// defines says whether a definition of the group comes with the desired objects: then its kinds are
// served soon, though the cluster does not say when.
func (p *pass) defines(group string) bool {
	return slices.ContainsFunc(p.out.desired, func(o object.Object) bool {
		return o.Kind == "CustomResourceDefinition" && strings.HasSuffix(o.Name, "."+group)
	})
}

// applyAll applies the objects of one stage side by side, begun in their order. Only a cluster that
// does not answer ends it; an object that is refused does not keep the others.
func (p *pass) applyAll(ctx context.Context, stage []plan.Action) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(cap(p.slots))
	for _, a := range stage {
		if p.held[a.ID] {
			continue
		}
		if p.stopping() {
			p.out.stopped = true
			break
		}
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error { return p.apply(gctx, a) })
	}
	return g.Wait()
}

func (p *pass) apply(ctx context.Context, a plan.Action) error {
	m, err := p.mapping(ctx, a.Object)
	if err == nil && m.Namespaced && a.ID.Namespace == "" {
		p.fail(a.ID, v1alpha1.InvalidObjectReason, "has no namespace: set metadata.namespace, or targetNamespace of the Kustomization")
		return nil
	}
	var got apply.Applied
	var contested *apply.ConflictError
	if err == nil {
		got, contested, err = p.send(ctx, m, a)
	}
	if err != nil {
		if apply.Unanswered(err) || apply.Unauthorized(err) {
			return fmt.Errorf("cannot apply %s: %w", a.ID, err)
		}
		if apply.KindGone(err) {
			p.client.ForgetMapping(m.GVK)
		}
		if apply.Reason(err, a.ID) == v1alpha1.KindNotFoundReason && p.defines(a.ID.Group) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.out.waiting, p.out.soon = fmt.Sprintf("%s of %s is not served yet", a.ID.Kind, a.ID.Group), true
			return nil
		}
		p.fail(a.ID, apply.Reason(err, a.ID), apply.Explain(err, a.ID))
		return nil
	}
	p.live.applied(a.ID, p.owner, got)
	p.count(Applied, 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out.inventory.Objects[a.ID] = inventory.Record{Version: a.Object.Version, Digest: a.Object.Digest, UID: got.UID, Fields: got.Fields}
	p.tell(a, got, contested)
	return nil
}

// mapping returns where an object lives. A kind that was unknown when the pass began may have come
// with the stage before.
func (p *pass) mapping(ctx context.Context, o object.Object) (apply.Mapping, error) {
	gvk := schema.GroupVersionKind{Group: o.Group, Version: o.Version, Kind: o.Kind}
	m, err := p.client.Mapping(ctx, gvk)
	if err == nil {
		p.watches.ensure(m)
	}
	return m, err
}

// send applies an object, without force first: the owner label is the lock, and a conflict on it
// means that the object is somebody else's. Conflicts on other fields are drift and are overridden.
func (p *pass) send(ctx context.Context, m apply.Mapping, a plan.Action) (apply.Applied, *apply.ConflictError, error) {
	manager := object.FieldManager(p.owner)
	got, err := p.client.Apply(ctx, m, a.Object, manager, false)
	var contested *apply.ConflictError
	if errors.As(err, &contested) && !contested.Owner() {
		got, err = p.client.Apply(ctx, m, a.Object, manager, true)
	}
	if !p.entry.Force || !apply.Immutable(err) {
		return got, contested, err
	}
	s, ok := p.live.get(a.ID)
	if !ok || s.Owner != p.owner {
		return got, contested, err
	}
	if _, err := p.client.Delete(ctx, m, a.ID, s.UID); err != nil {
		return got, contested, err
	}
	got, err = p.client.Apply(ctx, m, a.Object, manager, false)
	return got, contested, err
}

func (p *pass) fail(id object.ID, reason, message string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out.failures = append(p.out.failures, failure{id, reason, message})
}

// tell says what is worth telling of an apply that went well.
func (p *pass) tell(a plan.Action, got apply.Applied, contested *apply.ConflictError) {
	switch a.Why {
	case plan.New:
		if got.Created {
			return
		}
		message := fmt.Sprintf("%s was there and is managed from now on", a.ID)
		if contested != nil {
			message += ": took over " + contested.Error()
		}
		p.event(false, "Adopted", message)
	case plan.Missing, plan.Recreated, plan.Drifted:
		c := correction{id: a.ID}
		if contested != nil {
			c.by = strings.Join(contested.Managers, ", ")
		}
		p.out.drifted = append(p.out.drifted, c)
		p.count(DriftCorrected, 1)
		message := fmt.Sprintf("%s was %s and is put back", a.ID, described[a.Why])
		if contested != nil {
			message += ": " + contested.Error()
		}
		p.event(false, "DriftCorrected", message)
	}
}

var described = map[plan.Why]string{plan.Missing: "deleted", plan.Recreated: "created anew by somebody else", plan.Drifted: "changed"}

func (p *pass) event(warning bool, reason, message string) {
	p.out.events = append(p.out.events, Event{Kustomization: p.entry.Name, Warning: warning, Reason: reason, Message: health.Clean(message)})
}

// cleanUp deletes and releases, one after the other: what is deleted first may take others with it.
func (p *pass) cleanUp(ctx context.Context, actions []plan.Action) error {
	pruned := 0
	for _, a := range actions {
		if p.stopping() {
			p.out.stopped = true
			break
		}
		gone, err := p.clean(ctx, a)
		if err != nil {
			if apply.Unanswered(err) || apply.Unauthorized(err) {
				return fmt.Errorf("cannot %s %s: %w", a.Verb, a.ID, err)
			}
			p.fail(a.ID, v1alpha1.PruneFailedReason, apply.Explain(err, a.ID))
			continue
		}
		if a.Verb == plan.Delete {
			pruned++
		}
		if gone {
			delete(p.out.inventory.Objects, a.ID)
		}
		p.out.cleaned = true
	}
	if pruned > 0 {
		p.count(Pruned, pruned)
		p.event(false, "Pruned", fmt.Sprintf("%d objects deleted", pruned))
	}
	return nil
}

// clean carries out one action and says whether the object is off the inventory at once. One that is
// deleted stays on it until a watch has seen it go.
func (p *pass) clean(ctx context.Context, a plan.Action) (bool, error) {
	switch a.Verb {
	case plan.Forget:
		return true, nil
	case plan.Await:
		return false, nil
	}
	m, ok := p.mappings[schema.GroupKind{Group: a.ID.Group, Kind: a.ID.Kind}]
	if !ok {
		return true, nil
	}
	if a.Verb == plan.Release {
		return true, p.client.Release(ctx, m, a.ID, a.UID, object.FieldManager(p.owner))
	}
	gone, err := p.client.Delete(ctx, m, a.ID, a.UID)
	return gone, err
}

// transient says whether an error of a pass means that the cluster did not answer, or that the engine
// itself must look again, rather than something to tell a person.
func transient(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || apply.Unanswered(err) ||
		apierrors.IsServerTimeout(err) || apierrors.IsTooManyRequests(err) || errors.Is(err, apply.ErrInventoryChanged)
}

// backoff returns the wait before try n (from 1): a second, doubled with each, at most limit.
func backoff(n int, limit time.Duration) time.Duration {
	d := time.Second << min(max(n-1, 0), 16)
	return min(d, limit)
}
