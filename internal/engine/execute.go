package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/inventory"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/plan"
	"github.com/skerry-dev/skerry/internal/recovery"
)

func (p *pass) execute(ctx context.Context, todo *plan.Plan) error {
	for i, stage := range todo.Stages {
		waves := todo.Gates[i]
		if waves.Waits {
			if p.out.awaits != nil {
				continue // what is put back does not wait, later waves do
			}
			if why := plan.Awaited(p.out.desired, waves.Wave, p.stands); why != "" {
				p.out.waiting, p.out.awaits = why, &waves.Wave
				continue
			}
			if err := p.recordAhead(ctx, stage); err != nil {
				return err
			}
			p.out.inventory = p.out.inventory.Clone()
		}
		if i > 0 && object.Stage(todo.Stages[i-1][0].ID) == object.StageDefinitions {
			p.nextStage()
		}
		if object.Stage(stage[0].ID) != object.StageDefinitions {
			if why := p.unestablished(waves.Wave); why != "" {
				p.out.waiting = why
				return nil
			}
		}
		if err := p.applyAll(ctx, stage); err != nil {
			return err
		}
	}
	if p.out.waiting != "" || p.mustStop() {
		return nil
	}
	cleanup := todo.Cleanup
	if len(p.out.failures) > 0 {
		// Nothing is lost by a release, and another Kustomization waits for it: two that exchange objects
		// would wait for each other for ever.
		cleanup = slices.DeleteFunc(slices.Clone(cleanup), func(a plan.Action) bool { return a.Why != plan.Moved })
	}
	return p.cleanUp(ctx, cleanup)
}

// stands returns how an object stands, and false where it does not stand as desired. A claim that waits for
// its first consumer holds no wave up: the consumer may be in the next one.
func (p *pass) stands(o object.Object) (health.Status, bool) {
	record := p.out.inventory.Objects[o.ID]
	s, there := p.live.get(o.ID)
	there = there && s.Owner == p.owner
	switch {
	case ended(record, &o):
		return endedHealth(health.Outcome(record.Finished)), true
	case o.Policy.Mode == object.IfNotPresent && !there, there && s.Policy.Mode == object.Ignore:
		return health.Status{Phase: health.Current}, true
	case !there || !o.HasDigest(record.Digest) || record.UID != s.UID:
		return health.Status{}, false
	case s.Health.Class != "":
		return health.Status{Phase: health.Current}, true
	}
	return s.Health, true
}

// unestablished names a definition among the desired objects of a wave and those before it that the cluster does not serve yet.
func (p *pass) unestablished(wave int32) string {
	for _, o := range p.out.desired {
		if o.Kind != "CustomResourceDefinition" || o.Wave > wave {
			continue
		}
		if s, ok := p.live.get(o.ID); !ok || s.Health.Phase != health.Current {
			return fmt.Sprintf("%s is not established", o.ID)
		}
	}
	return ""
}

// definesGroup reports whether a definition of the group comes with the desired objects: then its kinds are
// served soon, though the cluster does not announce when.
func (p *pass) definesGroup(group string) bool {
	return slices.ContainsFunc(p.out.desired, func(o object.Object) bool {
		return o.Kind == "CustomResourceDefinition" && strings.HasSuffix(o.Name, "."+group)
	})
}

// applyAll applies the objects of one stage side by side, begun in their order. Only a cluster that
// does not answer ends it; an object that is refused does not keep the others.
func (p *pass) applyAll(ctx context.Context, stage []plan.Action) error {
	g, gctx := errgroup.WithContext(ctx)
	begun := 0 // guarded by p.mu, as is what mustStop notes
	next := func() (plan.Action, bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for begun < len(stage) && !p.mustStop() && gctx.Err() == nil {
			a := stage[begun]
			begun++
			if !p.held[a.ID] {
				return a, true
			}
		}
		return plan.Action{}, false
	}
	// Each goroutine applies one object after the other: its stack has grown to the depth of a request with the first.
	for range min(cap(p.slots), len(stage)) {
		g.Go(func() error {
			return recovery.Run(func() error {
				for a, ok := next(); ok; a, ok = next() {
					if err := p.apply(gctx, a); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	return g.Wait()
}

func (p *pass) apply(ctx context.Context, a plan.Action) error {
	if f, withheld := p.withheldKind(a.ID); withheld {
		p.failOnce(a.ID, f)
		return nil
	}
	m, err := p.mapping(ctx, a.Object)
	if err == nil && !m.Supported {
		p.failOnce(a.ID, unsupportedKind(m.GVK.GroupKind()))
		return nil
	}
	if err == nil && m.Namespaced && a.ID.Namespace == "" {
		p.fail(a.ID, v1alpha1.InvalidObjectReason, "has no namespace: set metadata.namespace, or targetNamespace of the Kustomization")
		return nil
	}
	var got sent
	if err == nil {
		got, err = p.send(ctx, m, a)
	}
	if err != nil {
		gvk := schema.GroupVersionKind{Group: a.Object.Group, Version: a.Object.Version, Kind: a.Object.Kind}
		if p.withhold(ctx, gvk, err, false) {
			f, _ := p.withheldKind(a.ID)
			p.failOnce(a.ID, f)
			return nil
		}
		if apierror.Unanswered(err) || apierror.Unauthorized(err) || apierror.Overloaded(err) {
			return fmt.Errorf("cannot apply %s: %w", a.ID, err)
		}
		if apierror.KindGone(err) {
			p.client.ForgetMapping(m.GVK) // the next pass looks closer
		}
		uncertain := apierror.KindGone(err) || p.uncertain[kindOf(a.ID)] != ""
		if apierror.Reason(err, a.ID) == v1alpha1.KindNotFoundReason && (uncertain || p.definesGroup(a.ID.Group)) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.out.waiting, p.out.retrySoon = fmt.Sprintf("%s of %s is not served yet", a.ID.Kind, a.ID.Group), true
			return nil
		}
		p.refused(a, err)
		return nil
	}
	if got.left {
		return nil
	}
	p.live.applied(a.ID, p.owner, got.Applied)
	p.count(Applied, 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.inventory.Objects[a.ID]
	p.out.inventory.Objects[a.ID] = inventory.Record{
		Version: a.Object.Version, Digest: a.Object.Digest, UID: got.UID, Fields: got.Fields.Digest,
		PruneDisabled: a.Object.PruneDisabled, ManifestName: a.Object.ManifestName, Wave: a.Object.Wave,
		Created: before.Created || before.UID == "" && got.Created,
	}
	p.recordApplied(a, got)
	return nil
}

// refused notes an object that the cluster refused, and what helps.
func (p *pass) refused(a plan.Action, err error) {
	f := failure{id: a.ID, reason: p.reasonIfDenied(err, apierror.Reason(err, a.ID)), message: p.explainForAccount(apierror.ExplainApply(err, a.Object)), final: apierror.Final(err, a.ID)}
	if notRecreated, ok := errors.AsType[*notRecreatedError](err); ok {
		f.message, f.final = apierror.ExplainApply(notRecreated.refused, a.Object)+"; "+notRecreated.why, notRecreated.final
	} else if f.reason == v1alpha1.ImmutableFieldReason {
		f.message += "; set force on the Kustomization, or annotate the object with skerry.dev/force: enabled, to delete it and create it anew"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out.failures = append(p.out.failures, f)
}

// mapping returns where an object lives. A kind that was unknown when the pass began may have come
// with the stage before. Of one whose scope was unknown then, the next pass settles the ID first.
func (p *pass) mapping(ctx context.Context, o object.Object) (edge.Mapping, error) {
	gvk := schema.GroupVersionKind{Group: o.Group, Version: o.Version, Kind: o.Kind}
	if m, known := p.mappings[gvk.GroupKind()]; p.unsettled[o.ID] && (!known || !m.Namespaced) {
		return edge.Mapping{}, &apierror.KindNotFoundError{GVK: gvk}
	}
	m, err := p.lookUp(ctx, gvk)
	if err == nil && m.Supported {
		p.follow(ctx, m, p.view.scope(m, o.Namespace))
	}
	return m, err
}

func (p *pass) fail(id object.ID, reason, message string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out.failures = append(p.out.failures, failure{id: id, reason: reason, message: message})
}

// recordApplied describes what is worth telling of an apply that went well.
func (p *pass) recordApplied(a plan.Action, got sent) {
	if by, ok := p.autoscaled[a.ID]; ok && a.Why != plan.Drifted {
		p.eventAbout(about(a, got.Applied), v1alpha1.ReplicasIgnoredReason, fmt.Sprintf("spec.replicas of %s is not applied: %s sets it", a.ID, by))
	}
	switch a.Why {
	case plan.New:
		if got.Created {
			return
		}
		message := fmt.Sprintf("%s was there and is managed from now on", a.ID)
		if got.contested != nil {
			message += ": took over " + got.contested.Error()
		}
		p.eventAbout(about(a, got.Applied), v1alpha1.AdoptedReason, message)
	case plan.Missing, plan.Recreated, plan.Drifted:
		if got.yielded && got.contested == nil {
			return // what changed is the injector's
		}
		c := correction{id: a.ID, why: a.Why}
		if got.contested != nil {
			c.fields, c.managers = got.contested.Fields, got.contested.Managers
			c.by, c.interactive = got.contested.By(), interactive(got.contested.Managers)
		}
		p.out.drifted = append(p.out.drifted, c)
		p.count(DriftCorrected, 1)
		message := fmt.Sprintf("%s was %s and is put back", a.ID, described[a.Why])
		if got.contested != nil {
			message += ": " + got.contested.Error()
		}
		p.eventAbout(about(a, got.Applied), v1alpha1.DriftCorrectedReason, message)
	default: // what a commit changed is no news
	}
}

var described = map[plan.Why]string{plan.Missing: "deleted", plan.Recreated: "created anew by somebody else", plan.Drifted: "changed"}

func about(a plan.Action, got edge.Applied) Object {
	return Object{ID: a.ID, Version: a.Object.APIVersion(), UID: got.UID, ResourceVersion: got.ResourceVersion}
}

// eventAbout notes what is to be reported of one object. The caller holds p.mu while objects are applied
// side by side.
func (p *pass) eventAbout(o Object, reason, message string) {
	p.out.events = append(p.out.events, Event{Kustomization: p.entry.Name, Reason: reason, Message: health.Clean(message), Object: o})
}
