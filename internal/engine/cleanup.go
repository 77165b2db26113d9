package engine

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/apply"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/plan"
)

// cleanUp deletes and releases, one after the other: what is deleted first may take others with it.
func (p *pass) cleanUp(ctx context.Context, actions []plan.Action) error {
	pruned := 0
	for _, a := range actions {
		if p.ending() {
			break
		}
		if why := p.doubtful[schema.GroupKind{Group: a.ID.Group, Kind: a.ID.Kind}]; why != "" {
			p.out.waiting, p.out.soon = why, true // it cannot be deleted, and must not be forgotten
			continue
		}
		gone, err := p.clean(ctx, a)
		if apply.KindGone(err) {
			p.unserved(a.ID)
			continue
		}
		if err != nil {
			if apply.Unanswered(err) || apply.Unauthorized(err) || apply.Overloaded(err) {
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
	default:
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

// unserved notes that a kind that was found is not served any more. Whether it is gone for good, the
// next pass finds out.
func (p *pass) unserved(id object.ID) {
	gk := schema.GroupKind{Group: id.Group, Kind: id.Kind}
	p.client.ForgetMapping(p.mappings[gk].GVK)
	p.out.waiting, p.out.soon = fmt.Sprintf("%s is not served", gk), true
}
