package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/plan"
	"github.com/skerry-dev/skerry/internal/text"
)

// cleanUp deletes and releases, one after the other: what is deleted first may take others with it.
func (p *pass) cleanUp(ctx context.Context, actions []plan.Action) error {
	pruned := map[object.ID]string{}
	p.out.deleted = pruned
	for _, a := range actions {
		if p.mustStop() {
			break
		}
		if a.Verb == plan.Retain || a.Verb == plan.Hold {
			continue
		}
		if p.cannotSee(a) {
			continue
		}
		if why := p.whyUncertain(a.ID); why != "" {
			p.out.waiting, p.out.retrySoon = why, true // it cannot be deleted, and must not be forgotten
			continue
		}
		gone, err := p.clean(ctx, a)
		if apierror.KindGone(err) {
			p.forgetMapping(a.ID)
			continue
		}
		if err != nil {
			if apierror.Unanswered(err) || apierror.Unauthorized(err) || apierror.Overloaded(err) {
				return fmt.Errorf("cannot %s %s: %w", a.Verb, a.ID, err)
			}
			if !apierror.Denied(err) || !p.leaveAsItIs(a, apierror.Explain(err, a.ID)) {
				p.fail(a.ID, p.reasonIfDenied(err, v1alpha1.PruneFailedReason), p.explainForAccount(apierror.Explain(err, a.ID)))
			}
			continue
		}
		switch a.Verb {
		case plan.Delete:
			pruned[a.ID] = a.UID
		case plan.Release:
			p.reportRelease(a)
		default:
		}
		if gone {
			delete(p.out.inventory.Objects, a.ID)
		}
		p.out.cleaned = true
	}
	if len(pruned) > 0 {
		p.count(Pruned, len(pruned))
		first := slices.MinFunc(slices.Collect(maps.Keys(pruned)), object.Order)
		p.eventAbout(p.object(first, pruned[first]), v1alpha1.PrunedReason, text.Count(len(pruned), "object")+" deleted")
	}
	return nil
}

// cannotSee deals with an object that was refused to be looked at for want of a right, and reports whether it was. One
// that is to be deleted stays recorded, and fails.
func (p *pass) cannotSee(a plan.Action) bool {
	f, forbidden := p.forbidden[watchScope{kindOf(a.ID), a.ID.Namespace}]
	if !forbidden && p.hidden[kindOf(a.ID)] {
		f, forbidden = p.withheldKind(a.ID)
	}
	if !forbidden {
		return false
	}
	if p.leaveAsItIs(a, f.message) {
		return true
	}
	if f.reason == v1alpha1.ForbiddenReason {
		p.failOnce(a.ID, f)
		return true
	}
	return false
}

// leaveAsItIs deals with an object that an entry is to let go of, and to which a request was denied; false for any
// other. What the account may not do, the next pass does with the credentials; what these may not do either is left
// with the owner label on, since an object that no account may change must not hold up a removal.
func (p *pass) leaveAsItIs(a plan.Action, why string) bool {
	switch {
	case !isOrphaning(p.entry):
		return false
	case p.account != (edge.Account{}):
		p.noteDenied()
		return true
	}
	delete(p.out.inventory.Objects, a.ID)
	p.out.cleaned = true
	p.eventAbout(p.object(a.ID, a.UID), v1alpha1.ReleasedReason, fmt.Sprintf("%s stays on the cluster, with the label %s, which could not be taken off: %s", a.ID, v1alpha1.OwnerLabel, why))
	return true
}

// reportRelease reports why an object that left Git is still on the cluster. That another Kustomization has
// it, or that nothing is deleted at all, was asked for and is no news.
func (p *pass) reportRelease(a plan.Action) {
	message := fmt.Sprintf("%s has left Git and stays on the cluster, unmanaged: %s", a.ID, a.Why)
	if p.entry.Remove {
		message = fmt.Sprintf("%s stays on the cluster, unmanaged: %s", a.ID, a.Why)
	}
	switch a.Why {
	case plan.PruneDisabled, plan.BuiltIn, plan.InUse:
		p.eventAbout(p.object(a.ID, a.UID), v1alpha1.ReleasedReason, message)
	default:
	}
}

func (p *pass) object(id object.ID, uid string) Object {
	gk := kindOf(id)
	return Object{ID: id, Version: p.mappings[gk].GVK.GroupVersion().String(), UID: uid}
}

// clean carries out one action and reports whether the object is off the inventory at once. One that is
// deleted stays on it until a watch has seen it go.
func (p *pass) clean(ctx context.Context, a plan.Action) (bool, error) {
	switch a.Verb {
	case plan.Forget:
		return true, nil
	case plan.Await:
		return false, nil
	default:
	}
	m, ok := p.mappings[kindOf(a.ID)]
	if !ok {
		return true, nil
	}
	if a.Verb == plan.Release {
		return true, p.client.Release(ctx, m, a.ID, a.UID, p.manager)
	}
	gone, err := p.client.Delete(ctx, m, a.ID, a.UID)
	return gone, err
}

// forgetMapping notes that a kind that was found is not served any more. Whether it is gone for good, the
// next pass finds out.
func (p *pass) forgetMapping(id object.ID) {
	gk := kindOf(id)
	p.client.ForgetMapping(p.mappings[gk].GVK)
	p.out.waiting, p.out.retrySoon = fmt.Sprintf("%s is not served", gk), true
}
