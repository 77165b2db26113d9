package diff

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/drift"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/inventory"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/plan"
)

// sideBySide bounds how many objects of one cluster are asked for at once.
const sideBySide = 8

// review is the comparison of what is rendered with what one cluster has. It plans as the engine does, and
// asks the API server by a dry run what would come of each object that would be applied.
type review struct {
	client *edge.Client
	spec   *v1alpha1.KustomizationSpec
	// owner is the value of the owner label, and manager the one that applies.
	owner, manager, hubID string
	bundle                string
	desired               []object.Object
	secrets               []string

	mappings map[schema.GroupKind]edge.Mapping
	mu       sync.Mutex // guards what follows
	found    map[object.ID]*edge.Content
	result   Result
}

// run asks the cluster. The error means that it did not answer.
func (r *review) run(ctx context.Context) error {
	r.mappings, r.found = map[schema.GroupKind]edge.Mapping{}, map[object.ID]*edge.Content{}
	rules, err := drift.Compile(slices.Concat(r.spec.Drift.Rules(), r.spec.Ignore))
	if err != nil {
		r.result.Refused = append(r.result.Refused, Problem{Reason: v1alpha1.InvalidIgnoreRuleReason, Message: err.Error()})
		return nil //nolint:nilerr // it is a result
	}
	objects, _ := object.WithoutReplicas(r.desired)
	objects, ignored := rules.Apply(objects)
	recorded, err := r.inventory(ctx)
	if err != nil {
		return err
	}
	if err := r.discover(ctx, objects, recorded); err != nil {
		return err
	}
	scopes := r.scopes(objects)
	settled, _, err := object.Bundle{Objects: objects}.Settle(scopes)
	if twice, ok := errors.AsType[*object.DuplicateError](err); ok {
		r.result.Refused = append(r.result.Refused, Problem{Reason: v1alpha1.DuplicateObjectReason, Message: twice.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	recorded, _ = recorded.Settle(scopes)
	r.ignore(ignored, scopes)
	if err := r.read(ctx, settled.Objects, recorded); err != nil {
		return err
	}
	return r.evaluate(ctx, settled.Objects, recorded)
}

// inventory reads what is recorded on the cluster. Where that cannot be read, nothing is known of deletions.
func (r *review) inventory(ctx context.Context) (*inventory.Inventory, error) {
	inv, err := edge.NewInventories(r.client, edge.Holder{Hub: r.hubID}).Reload(ctx, r.owner)
	var corrupt *edge.CorruptError
	var other *edge.OtherHubError
	switch {
	case errors.As(err, &other):
		r.result.Refused = append(r.result.Refused, Problem{Reason: v1alpha1.OwnedByAnotherHubReason, Message: err.Error()})
	case errors.As(err, &corrupt):
		r.result.Refused = append(r.result.Refused, Problem{Reason: v1alpha1.InventoryCorruptReason, Message: err.Error()})
	case apierror.Refused(err) && !apierror.Unauthorized(err):
		r.result.Unknown = append(r.result.Unknown, Problem{Reason: v1alpha1.ForbiddenReason, Message: "the inventory may not be read, so that what would be deleted is not known"})
	case err != nil:
		return nil, err
	default:
		return inv, nil
	}
	return inventory.New(r.owner), nil
}

// discover looks up the kinds of what is desired and of what is recorded.
func (r *review) discover(ctx context.Context, objects []object.Object, recorded *inventory.Inventory) error {
	kinds := map[schema.GroupVersionKind]bool{}
	for _, o := range objects {
		kinds[schema.GroupVersionKind{Group: o.Group, Version: o.Version, Kind: o.Kind}] = true
	}
	for id, record := range recorded.Objects {
		if record.Version != "" {
			kinds[schema.GroupVersionKind{Group: id.Group, Version: record.Version, Kind: id.Kind}] = true
		}
	}
	for kind := range kinds {
		m, err := r.client.Mapping(ctx, kind)
		if _, unknown := errors.AsType[*apierror.KindNotFoundError](err); unknown {
			continue
		}
		if err != nil {
			return err
		}
		r.mappings[kind.GroupKind()] = m
	}
	return nil
}

func (r *review) scopes(objects []object.Object) object.Scopes {
	defined := object.BundleScopes(objects)
	return func(group, kind string) object.Scope {
		m, ok := r.mappings[schema.GroupKind{Group: group, Kind: kind}]
		switch {
		case !ok:
			return defined(group, kind)
		case m.Namespaced:
			return object.ScopeNamespaced
		}
		return object.ScopeCluster
	}
}

func (r *review) ignore(ignored map[object.ID]*drift.Ignored, scopes object.Scopes) {
	settled := make(map[object.ID]*drift.Ignored, len(ignored))
	for id, is := range ignored {
		at, _ := scopes.Settle(id)
		settled[at] = is
	}
	r.client.Ignore(r.manager, settled)
}

// read reads everything that is desired or recorded.
func (r *review) read(ctx context.Context, objects []object.Object, recorded *inventory.Inventory) error {
	ids := map[object.ID]bool{}
	for _, o := range objects {
		ids[o.ID] = true
	}
	for id := range recorded.Objects {
		ids[id] = true
	}
	if err := r.list(ctx, ids); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(sideBySide)
	for id := range ids {
		if r.at(id) != nil {
			continue
		}
		m, ok := r.mappings[schema.GroupKind{Group: id.Group, Kind: id.Kind}]
		if !ok {
			continue
		}
		g.Go(func() error {
			found, err := r.client.Read(ctx, m, id, r.manager)
			switch {
			case err == nil && found == nil:
				return nil
			case err != nil && apierror.Refused(err) && !apierror.Unauthorized(err):
				r.problem(&r.result.Unknown, Ref{}.of(object.Object{ID: id}), v1alpha1.ForbiddenReason, apierror.Explain(err, id))
				return nil
			case err != nil:
				return err
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.found[id] = found
			return nil
		})
	}
	return g.Wait()
}

// list reads what carries the owner label, a request for each kind; the rest is read one by one. A kind that
// may not be listed is left to that as well.
func (r *review) list(ctx context.Context, ids map[object.ID]bool) error {
	kinds := map[schema.GroupKind]bool{}
	for id := range ids {
		kinds[schema.GroupKind{Group: id.Group, Kind: id.Kind}] = true
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(sideBySide)
	for kind := range kinds {
		m, ok := r.mappings[kind]
		if !ok {
			continue
		}
		g.Go(func() error {
			owned, err := r.client.Owned(ctx, m, r.owner)
			if err != nil && apierror.Unanswered(err) {
				return err
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			for id, found := range owned {
				if ids[id] {
					r.found[id] = found
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// evaluate plans as the engine does and previews what would be applied.
func (r *review) evaluate(ctx context.Context, objects []object.Object, recorded *inventory.Inventory) error {
	live := map[object.ID]plan.Live{}
	for id, found := range r.found {
		if found.Owner == r.owner {
			live[id] = plan.Live{UID: found.UID, Fields: found.Fields.Digest, Terminating: found.Terminating, Keep: found.Keep, Ignored: found.Policy.Mode == object.Ignore}
		}
	}
	for id := range recorded.Objects {
		if _, known := r.mappings[schema.GroupKind{Group: id.Group, Kind: id.Kind}]; !known {
			delete(recorded.Objects, id) // its kind is gone, and it with it
		}
	}
	todo := plan.Make(plan.Input{
		Desired: objects, Bundle: r.bundle, Recorded: recorded, Live: live,
		Options: plan.Options{
			Prune: r.spec.Prune == nil || *r.spec.Prune, MaxPrune: r.spec.MaxPrune,
			LeaveDrift: r.spec.Drift.GetMode() != v1alpha1.DriftCorrect,
		},
	})
	if todo.Refusal.Reason != "" {
		r.result.Refused = append(r.result.Refused, Problem{Reason: todo.Refusal.Reason, Message: todo.Refusal.Message})
		return nil
	}
	for _, a := range todo.Cleanup {
		r.cleanup(a, recorded.Objects[a.ID].Version)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(sideBySide)
	for _, stage := range todo.Stages {
		for _, a := range stage {
			g.Go(func() error { return r.preview(ctx, a.Object, objects) })
		}
	}
	return g.Wait()
}

func (r *review) cleanup(a plan.Action, version string) {
	action := map[plan.Verb]Action{plan.Delete: Delete, plan.Hold: Delete, plan.Release: Release}[a.Verb]
	if action == "" {
		return
	}
	note := string(a.Why)
	if a.Why == plan.NotDesired || a.Why == plan.LaterWave {
		note = ""
	}
	r.result.Changes = append(r.result.Changes, Change{Action: action, Object: Ref{}.of(object.Object{ID: a.ID, Version: version}), Note: note})
}

// of names an object.
func (Ref) of(o object.Object) Ref {
	version := ""
	if o.Version != "" {
		version = o.APIVersion()
	}
	return Ref{APIVersion: version, Kind: o.Kind, Namespace: o.Namespace, Name: o.Name, id: o.ID}
}

// preview asks what would come of applying one object.
func (r *review) preview(ctx context.Context, o object.Object, all []object.Object) error {
	m, known := r.mappings[schema.GroupKind{Group: o.Group, Kind: o.Kind}]
	before := r.at(o.ID)
	switch {
	case !known && defines(all, o.ID):
		return r.create(o, "not tried: its definition comes with the same change")
	case !known:
		r.problem(&r.result.Refused, Ref{}.of(o), v1alpha1.KindNotFoundReason, (&apierror.KindNotFoundError{GVK: schema.GroupVersionKind{Group: o.Group, Version: o.Version, Kind: o.Kind}}).Error())
		return nil
	case before != nil && before.Owner != "" && before.Owner != r.owner:
		r.problem(&r.result.Refused, Ref{}.of(o), v1alpha1.OwnershipConflictReason, "is owned by "+before.Owner)
		return nil
	case before != nil && o.Policy.Mode == object.IfNotPresent:
		return nil
	}
	body := o
	if before != nil {
		body = drift.Without(o, before.Fields.Yielded)
		body, _ = object.WithoutInjected(body)
	}
	after, err := r.client.Preview(ctx, m, body, r.manager)
	switch {
	case apierror.NamespaceMissing(err, o.ID) && holds(all, object.ID{Kind: "Namespace", Name: o.Namespace}):
		return r.create(o, "not tried: its namespace comes with the same change")
	case apierror.Immutable(err) && before != nil && (r.spec.Force || o.Policy.Force):
		r.change(Change{Action: Recreate, Object: Ref{}.of(o), Note: apierror.ExplainApply(err, o)})
		return nil
	case err != nil && !apierror.Unanswered(err) && !apierror.Unauthorized(err) && !apierror.Overloaded(err):
		r.problem(&r.result.Refused, Ref{}.of(o), apierror.Reason(err, o.ID), apierror.ExplainApply(err, o))
		return nil
	case err != nil:
		return err
	case before == nil:
		return r.create(o, "")
	}
	if fields := Compare(before.Object, after, r.secrets); len(fields) > 0 {
		r.change(Change{Action: Update, Object: Ref{}.of(o), Fields: fields})
	}
	return nil
}

func (r *review) create(o object.Object, note string) error {
	body, err := decode(o)
	if err != nil {
		return err
	}
	r.change(Change{Action: Create, Object: Ref{}.of(o), Fields: Whole(body, r.secrets), Note: note})
	return nil
}

// defines returns whether the definition of a kind is among the objects.
func defines(all []object.Object, id object.ID) bool {
	return strings.Contains(id.Group, ".") && object.BundleScopes(all)(id.Group, id.Kind) != object.ScopeUnknown
}

func holds(all []object.Object, id object.ID) bool {
	return slices.ContainsFunc(all, func(o object.Object) bool { return o.ID == id })
}

func (r *review) at(id object.ID) *edge.Content {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.found[id]
}

func (r *review) change(c Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Changes = append(r.result.Changes, c)
}

func (r *review) problem(to *[]Problem, o Ref, reason, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*to = append(*to, Problem{Object: &o, Reason: reason, Message: cmp.Or(message, fmt.Sprintf("%s is refused", o))})
}
