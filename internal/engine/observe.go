package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/drift"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/plan"
)

// observe finds out where each kind lives and waits until what was applied before is in sight. A
// kind that nothing defines any more has no objects there; any other failure to look is no answer.
func (p *pass) observe(ctx context.Context) error {
	p.session.client.Discover(ctx, p.kinds()) // which kinds there are is no secret, and remembered for all
	recorded := map[schema.GroupKind]bool{}
	for id, r := range p.inventory.Objects {
		gk := kindOf(id)
		recorded[gk] = true
		if err := p.find(ctx, gk.WithVersion(r.Version)); err != nil {
			return err
		}
		if err := p.findLost(ctx, gk.WithVersion(r.Version)); err != nil {
			return err
		}
	}
	for _, o := range p.desired {
		if err := p.find(ctx, schema.GroupVersionKind{Group: o.Group, Version: o.Version, Kind: o.Kind}); err != nil {
			return err
		}
	}
	reevaluated := p.client.Ignore(p.manager, p.ignoredOf(p.scopes()))
	for gk, m := range p.mappings {
		if !m.Supported {
			p.withheld[gk] = unsupportedKind(gk)
			continue
		}
		for _, at := range p.watchScopes(m) {
			if (p.relist || reevaluated[gk]) && recorded[gk] {
				p.watches.relist(m, at.namespace) //nolint:contextcheck // a watch outlives the pass
			} else {
				p.follow(ctx, m, at)
			}
		}
	}
	verify := map[watchScope]bool{}
	for gk := range p.awaited(recorded) {
		listed, err := p.awaitRecorded(ctx, gk)
		if err != nil {
			return err
		}
		for _, at := range listed {
			verify[at] = p.verify && recorded[gk] && p.uncertain[gk] == ""
		}
	}
	if p.verify && !p.relist {
		if err := p.verifyWatches(ctx, verify); err != nil {
			return err
		}
		p.references.verify(ctx, p.owner, p.now().Add(-counts(p.entry.Interval.Duration)))
	}
	if err := p.settle(); err != nil {
		return err
	}
	p.failWithheld()
	return nil
}

// kinds returns those of what is desired and of what is recorded.
func (p *pass) kinds() []schema.GroupVersionKind {
	kinds := recordedKinds(p.inventory)
	for _, o := range p.desired {
		kinds = append(kinds, schema.GroupVersionKind{Group: o.Group, Version: o.Version, Kind: o.Kind})
	}
	return kinds
}

// awaited returns the kinds whose first list is waited for: those of which something is recorded. An account may
// have no right to see what it is to apply; that is found out before any of it is recorded, or it would stay so.
func (p *pass) awaited(recorded map[schema.GroupKind]bool) map[schema.GroupKind]bool {
	if !p.limited {
		return recorded
	}
	all := maps.Clone(recorded)
	for gk, m := range p.mappings {
		all[gk] = all[gk] || m.Supported
	}
	return all
}

// awaitRecorded waits for the first list of a kind of which something is recorded, and returns where
// there is one: a kind that nothing defines any more has no objects, and of one in doubt stands what was
// seen last.
func (p *pass) awaitRecorded(ctx context.Context, gk schema.GroupKind) ([]watchScope, error) {
	if p.uncertain[gk] != "" {
		return nil, nil
	}
	m, there := p.mappings[gk]
	if !there || !m.Supported {
		p.watches.stop(gk)
		p.live.listed(watchScope{gk, ""}, nil, p.live.lastApply())
		return nil, nil
	}
	var listed []watchScope
	var err error
	for _, at := range p.watchScopes(m) {
		if p.limited { // another pass may have changed where the kind is watched
			p.follow(ctx, m, at)
		}
		if err = p.awaitFirstList(ctx, at); err != nil {
			break
		}
		listed = append(listed, at)
	}
	if errors.Is(err, errPerNamespace) {
		return p.awaitRecorded(ctx, gk)
	}
	if !errors.Is(err, errOutdated) {
		return listed, err
	}
	delete(p.mappings, gk)
	if err := p.find(ctx, m.GVK); err != nil {
		return nil, err
	}
	if err := p.findLost(ctx, m.GVK); err != nil {
		return nil, err
	}
	if m, there := p.mappings[gk]; there && m.Supported {
		for _, at := range p.watchScopes(m) {
			p.watches.relist(m, at.namespace) //nolint:contextcheck // a watch outlives the pass
		}
	}
	return p.awaitRecorded(ctx, gk)
}

// ignoredOf returns the ignored fields under the IDs that the cluster gives.
func (p *pass) ignoredOf(scopes object.Scopes) map[object.ID]*drift.Ignored {
	if len(p.ignored) == 0 {
		return nil
	}
	out := make(map[object.ID]*drift.Ignored, len(p.ignored))
	for id, is := range p.ignored {
		settled, _ := scopes.Settle(id)
		out[settled] = is
	}
	return out
}

// first reports whether a version that is watched beside another one has not been looked up in this stage
// of the pass.
func (p *pass) first(gvk schema.GroupVersionKind) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.followed[gvk] {
		return false
	}
	if p.followed == nil {
		p.followed = map[schema.GroupVersionKind]bool{}
	}
	p.followed[gvk] = true
	return true
}

// nextStage forgets what was looked up in vain: the definitions of the stage before may have changed it.
func (p *pass) nextStage() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.followed, p.lookups = nil, nil
}

// lookUp returns where the objects of a kind live. Each group and version is asked for once in a stage.
func (p *pass) lookUp(ctx context.Context, gvk schema.GroupVersionKind) (edge.Mapping, error) {
	if m, known := p.client.KnownMapping(gvk); known {
		return m, nil
	}
	p.discovering.Lock()
	defer p.discovering.Unlock()
	p.mu.Lock()
	err, done := p.lookups[gvk.GroupVersion()]
	p.mu.Unlock()
	if done {
		if m, known := p.client.KnownMapping(gvk); known {
			return m, nil
		}
		if err == nil {
			err = &apierror.KindNotFoundError{GVK: gvk}
		}
		return edge.Mapping{}, err
	}
	m, err := p.session.client.Mapping(ctx, gvk)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lookups == nil {
		p.lookups = map[schema.GroupVersion]error{}
	}
	p.lookups[gvk.GroupVersion()] = err
	if _, unknown := errors.AsType[*apierror.KindNotFoundError](err); unknown {
		p.lookups[gvk.GroupVersion()] = nil
	}
	return m, err
}

// follow watches a kind at the resource that a mapping names. Two Kustomizations may use two
// versions of one kind: a watch in another version stays as long as that version is served, for it
// shows the same objects.
func (p *pass) follow(ctx context.Context, m edge.Mapping, at watchScope) {
	if x, other := p.watches.other(m, at.namespace); other && !x.unserved.Load() && p.first(x.mapping.GVK) {
		p.client.ForgetMapping(x.mapping.GVK)
		_, err := p.lookUp(ctx, x.mapping.GVK)
		if _, unknown := errors.AsType[*apierror.KindNotFoundError](err); unknown {
			x.unserved.Store(true)
		}
	}
	p.watches.ensure(m, at.namespace) //nolint:contextcheck // a watch outlives the pass
}

// firstListTimeout bounds the wait for the first list of a kind: one that cannot be listed, for want of a
// permission say, must not hold the pass for ever.
const firstListTimeout = 30 * time.Second

func (p *pass) awaitFirstList(ctx context.Context, at watchScope) error {
	short, cancel := context.WithTimeout(ctx, firstListTimeout)
	defer cancel()
	err := p.watches.wait(short, at)
	if err == nil || ctx.Err() != nil || errors.Is(err, errOutdated) {
		return err
	}
	why := p.watches.failure(at)
	if p.watchPerNamespace(ctx, at, why) {
		return errPerNamespace
	}
	if p.noteForbidden(at, why) || p.withhold(ctx, p.mappings[at.GroupKind].GVK, why, true) {
		return nil
	}
	if errors.Is(err, errBlocked) && apierror.Overloaded(why) { // the cluster itself, which may be over in a moment
		if err = p.watches.listed(short, at); err == nil {
			return nil
		}
	}
	return &unlistableError{at.GroupKind, why}
}

// unlistableError means that the cluster answers, and yet its objects of a kind cannot be listed.
type unlistableError struct {
	gk  schema.GroupKind
	why error // nil where the cluster only did not get to the end
}

func (e *unlistableError) Error() string {
	why := ""
	switch {
	case e.why == nil:
		why = "the answer does not come to an end"
	case edge.Unexpected(e.why) != "":
		why = edge.Unexpected(e.why)
	case apierror.Overloaded(e.why):
		why = overloaded
	case apierror.Unanswered(e.why):
		why = unreachableMessage(e.why)
	default:
		why = "the API server answers: " + apierror.Explain(e.why, noObject)
	}
	return fmt.Sprintf("the objects of kind %s cannot be listed: %s", e.gk.Kind, why)
}

// find looks up a kind once. That the cluster has no such kind is remembered, not an error.
func (p *pass) find(ctx context.Context, gvk schema.GroupVersionKind) error {
	gk := gvk.GroupKind()
	if m, ok := p.mappings[gk]; ok && m.GVK == gvk {
		return nil
	}
	if p.missing[gk] {
		return nil
	}
	if p.uncertain[gk] != "" {
		return nil
	}
	m, err := p.lookUp(ctx, gvk)
	_, unknown := errors.AsType[*apierror.KindNotFoundError](err)
	switch {
	case err == nil:
		p.mappings[gk] = m
	case !unknown && p.withhold(ctx, gvk, err, true):
	case !unknown:
		return err
	case p.mappings[gk].Resource == "":
		p.missing[gk] = true
	}
	return nil
}

// findLost looks closer at a kind of which something is recorded and that was not found: it is missing
// only when it is certain that it is gone. Else what is recorded would be struck off the inventory,
// and left behind.
func (p *pass) findLost(ctx context.Context, gvk schema.GroupVersionKind) error {
	gk := gvk.GroupKind()
	if !p.missing[gk] || p.mappings[gk].Resource != "" || p.gone[gk] || p.uncertain[gk] != "" {
		return nil
	}
	m, err := p.closer().Lost(ctx, gvk)
	if _, unknown := errors.AsType[*apierror.KindNotFoundError](err); unknown {
		p.gone[gk] = true
		return nil
	}
	if uncertain, ok := errors.AsType[*apierror.UncertainKindError](err); ok {
		p.uncertain[gk] = uncertain.Error()
		return nil
	}
	if err == nil {
		p.mappings[gk] = m
		delete(p.missing, gk)
	}
	return err
}

// settle brings what is desired and what is recorded under the IDs that the cluster gives. What is
// recorded under another one, by an earlier version, is recorded under the right one as well; the plan
// forgets the wrong one, of which there is no object.
func (p *pass) settle() error {
	scopes := p.scopes()
	desired, unsettled, err := object.Bundle{Objects: p.desired}.Settle(scopes)
	if twice, ok := errors.AsType[*object.DuplicateError](err); ok {
		p.out.refusal = plan.Refusal{Reason: v1alpha1.DuplicateObjectReason, Message: twice.Error()}
		return nil
	}
	if err != nil {
		return err
	}
	for _, o := range desired.Objects {
		// Here, because nothing that writes an Assignment or a bundle gets past it.
		if why := p.tenancy.Refuses(o.ID); why != "" {
			p.out.refusal = plan.Refusal{Reason: v1alpha1.NotPermittedReason, Message: fmt.Sprintf("%s %s", o.ID, why)}
			return nil
		}
		// A bundle of an earlier version may hold one.
		if why := plan.Reserved(o.ID, false); why != "" {
			p.out.refusal = plan.Refusal{Reason: v1alpha1.ReservedObjectReason, Message: fmt.Sprintf("%s %s", o.ID, why)}
			return nil
		}
	}
	p.out.desired, p.unsettled = desired.Objects, unsettled
	p.inventory, p.moved = p.inventory.Settle(scopes)
	return nil
}

// scopes asks the cluster first, for that is where requests go, and then the bundle.
func (p *pass) scopes() object.Scopes {
	defined := object.BundleScopes(p.desired)
	return func(group, kind string) object.Scope {
		m, ok := p.mappings[schema.GroupKind{Group: group, Kind: kind}]
		switch {
		case !ok:
			return defined(group, kind)
		case m.Namespaced:
			return object.ScopeNamespaced
		}
		return object.ScopeCluster
	}
}
