package engine

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/drift"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/plan"
)

// sent is the outcome of sending one object.
type sent struct {
	edge.Applied
	// contested names the fields that others had, and that are ours now.
	contested *apierror.ConflictError
	// yielded means that a certificate that a controller has injected was left to it.
	yielded bool
	// left means that the object is there, is not ours, and was left as it is.
	left bool
}

// send applies an object: one request where nothing else owns fields of it.
//
// The owner label is the lock: the apply is without force first, and a conflict on the label means that
// the object is another owner's. Conflicts on other fields are drift and are overridden. What people
// and deployment tools own beside us is taken over (apply.Takeover), which costs a patch of the managed
// fields, once for an object, and another apply where we own more then than Git names.
func (p *pass) send(ctx context.Context, m edge.Mapping, a plan.Action) (sent, error) {
	t := takeover{pass: p, mapping: m, action: a, body: a.Object, manager: p.manager}
	t.ignored = p.client.Ignored(t.manager, a.ID)
	s, ours := p.live.get(a.ID)
	ours = ours && s.Owner == p.owner
	if ours {
		t.body = drift.Without(a.Object, s.Fields.Yielded)
	}
	if a.Object.Policy.Mode == object.IfNotPresent && !ours {
		if left, err := t.occupied(ctx); left || err != nil {
			return sent{left: left}, err
		}
	}
	var contested *apierror.ConflictError
	tried := false
	if ours && t.needed(s.Fields) {
		var err error
		if contested, err = t.first(ctx); err != nil {
			return sent{}, err
		}
		tried = true
	}
	got, err := t.apply(ctx, contested)
	if apierrors.IsInvalid(err) && !tried && !apierror.Immutable(err) {
		// Two entries of a list, one of them written by hand, may be one too many.
		if contested, err2 := t.first(ctx); err2 == nil && contested != nil {
			got, err = t.apply(ctx, contested)
		}
	}
	if err == nil {
		got, err = t.after(ctx, got)
	}
	if apierror.Immutable(err) && (p.entry.Force || a.Object.Policy.Force) {
		return p.recreate(ctx, m, a, err)
	}
	return got, err
}

// takeover sends one object beside other owners of its fields.
type takeover struct {
	*pass
	mapping edge.Mapping
	action  plan.Action
	manager string
	// body is what is sent: the object, or the object without ignored fields that others own.
	body    object.Object
	ignored *drift.Ignored
}

func (t *takeover) keep() bool { return t.action.Object.Policy.Mode == object.Merge }

// needed returns whether managed fields have to be patched before the object is applied: where an
// entry of a list was added or renamed, an apply alone would put ours beside it, and a Deployment would
// roll out both.
func (t *takeover) needed(f drift.Fields) bool {
	return f.Entries && !t.keep() || f.Replicas && !namesReplicas(t.action.Object)
}

// namesReplicas returns whether an object may name a number of replicas.
func namesReplicas(o object.Object) bool { return bytes.Contains(o.Body, []byte(`"replicas":`)) }

func (t *takeover) of(adopting bool) drift.Takeover {
	return drift.Takeover{
		Manager: t.manager, APIVersion: t.action.Object.APIVersion(), Adopting: adopting,
		Keep: t.keep(), YieldReplicas: !namesReplicas(t.action.Object), Ignored: t.ignored,
	}
}

// occupied returns whether there is an object of the name that is not ours.
func (t *takeover) occupied(ctx context.Context) (bool, error) {
	found, err := t.client.Find(ctx, t.mapping, t.action.ID, t.manager)
	return found != nil && found.Owner != t.owner, err
}

// first patches the managed fields of an object before it is applied. The patch is bound to the version
// of the object that carried no other owner's label; an object that changes meanwhile is left to the
// apply, and to the next pass.
func (t *takeover) first(ctx context.Context) (*apierror.ConflictError, error) {
	found, err := t.client.Find(ctx, t.mapping, t.action.ID, t.manager)
	if err != nil || found == nil || found.Owner != "" && found.Owner != t.owner {
		return nil, err
	}
	taken := t.of(false).Of(found.Managed)
	if taken.Managed == nil {
		return nil, nil
	}
	_, _, err = t.client.SetManaged(ctx, t.mapping, t.action.ID, found.ResourceVersion, taken.Managed, t.manager)
	return taken.Contested, err
}

// apply sends the object: without force, and with force when another manager owns fields of it. Where
// Git has a placeholder for a certificate, the conflict means that its controller has injected one, which
// stays.
//
// A conflict on ignored fields that the watch has not shown yet, or on an object that is adopted, means the
// same of them: the managed fields are read, and the object is sent again without what others own.
func (t *takeover) apply(ctx context.Context, contested *apierror.ConflictError) (sent, error) {
	got, err := t.client.Apply(ctx, t.mapping, t.body, t.manager, false)
	var c *apierror.ConflictError
	if !errors.As(err, &c) || c.Owner() {
		return sent{Applied: got, contested: contested}, err
	}
	o, yielded := t.body, false
	if t.ignored != nil {
		if o, err = t.yield(ctx); err != nil {
			return sent{}, err
		}
		yielded = !bytes.Equal(o.Body, t.body.Body)
		t.body = o
	}
	if slices.ContainsFunc(c.Fields, func(f string) bool { return strings.HasSuffix(f, object.InjectedField) }) {
		var injected bool
		o, injected = object.WithoutInjected(o)
		yielded = yielded || injected
	}
	if yielded {
		got, err = t.client.Apply(ctx, t.mapping, o, t.manager, false)
		if c = nil; !errors.As(err, &c) || c.Owner() {
			return sent{Applied: got, contested: contested, yielded: true}, err
		}
	}
	got, err = t.client.Apply(ctx, t.mapping, o, t.manager, true)
	return sent{Applied: got, contested: contested.And(c), yielded: yielded}, err
}

// yield returns the object without the ignored fields that others own now.
func (t *takeover) yield(ctx context.Context) (object.Object, error) {
	found, err := t.client.Find(ctx, t.mapping, t.action.ID, t.manager)
	if err != nil || found == nil {
		return t.body, err
	}
	return drift.Without(t.action.Object, found.Fields.Yielded), nil
}

// after takes over what the answer to an apply shows of other owners. When that does not succeed
// because the object has changed, the digest of its fields is not recorded, so that the next look
// finds drift.
func (t *takeover) after(ctx context.Context, got sent) (sent, error) {
	adopting := t.action.Why == plan.New || t.action.Why == plan.Unconfirmed
	if got.Created || !adopting && !got.Fields.Foreign {
		return got, nil
	}
	taken := t.of(adopting).Of(got.Managed)
	if taken.Managed == nil {
		return got, nil
	}
	now, ok, err := t.client.SetManaged(ctx, t.mapping, t.action.ID, got.ResourceVersion, taken.Managed, t.manager)
	switch {
	case err != nil:
		return got, err
	case !ok:
		got.Fields.Digest = ""
		return got, nil
	}
	got.contested = got.contested.And(taken.Contested)
	got.Applied = now
	if !taken.Grown {
		return got, nil
	}
	return t.apply(ctx, got.contested)
}

// notRecreatedError explains why an object whose immutable field changes was not deleted although force is set.
type notRecreatedError struct {
	refused error
	why     string
	// final means that only a change of the object helps.
	final bool
}

func (e *notRecreatedError) Error() string { return e.why }

func (e *notRecreatedError) Unwrap() error { return e.refused }

// recreate deletes an object of ours and creates it anew, because it was refused on account of an
// immutable field. What would take others or data along is not deleted, and neither is what could not
// be created again.
func (p *pass) recreate(ctx context.Context, m edge.Mapping, a plan.Action, refused error) (sent, error) {
	s, ok := p.live.get(a.ID)
	if !ok || s.Owner != p.owner {
		return sent{}, &notRecreatedError{refused: refused, why: "it is not deleted, because it is not Skerry's yet: delete it by hand, or put the field back"}
	}
	if (s.Keep != "" || a.Object.PruneDisabled) && !a.Object.Policy.Force {
		return sent{}, &notRecreatedError{refused: refused, final: true, why: fmt.Sprintf("it is not deleted in order to be created anew: %s", cmp.Or(s.Keep, object.KeepPruneDisabled))}
	}
	if why := keeps(a.Object); why != "" {
		return sent{}, &notRecreatedError{refused: refused, why: why, final: true}
	}
	if err := p.client.Creatable(ctx, m, a.Object, p.manager); err != nil {
		if apierror.Unanswered(err) || apierror.Overloaded(err) {
			return sent{}, err
		}
		return sent{}, &notRecreatedError{refused: refused, why: "it is not deleted, because it would not be created again: " + apierror.ExplainApply(err, a.Object)}
	}
	if _, err := p.client.Delete(ctx, m, a.ID, s.UID); err != nil {
		return sent{}, err
	}
	t := takeover{pass: p, mapping: m, action: a, body: a.Object, manager: p.manager}
	got, err := t.apply(ctx, nil)
	if apierror.Immutable(err) {
		return sent{}, &notRecreatedError{refused: refused, why: "it is deleted to be created anew, and waits for its finalizers"}
	}
	return got, err
}

// keeps explains why an object must not be deleted in order to create it anew; "" when it may.
func keeps(o object.Object) string {
	id := o.ID
	switch {
	case id.Group == "" && id.Kind == "Namespace":
		return "a Namespace is never deleted for it: that would delete everything in it"
	case id.Group == "apiextensions.k8s.io" && id.Kind == "CustomResourceDefinition":
		return "a CustomResourceDefinition is never deleted for it: that would delete every object of its kind"
	case o.Policy.Force:
		return "" // asked for on the object itself
	case id.Group == "" && (id.Kind == "PersistentVolumeClaim" || id.Kind == "PersistentVolume"):
		return fmt.Sprintf("a %s holds data: annotate it with skerry.dev/force: enabled to delete it and create it anew", id.Kind)
	case id.Group == "apps" && id.Kind == "StatefulSet" && bytes.Contains(o.Body, []byte(`"whenDeleted":"Delete"`)):
		return "its claims would be deleted with it (persistentVolumeClaimRetentionPolicy): annotate it with skerry.dev/force: enabled to delete it and create it anew"
	}
	return ""
}
