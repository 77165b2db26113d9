package engine

import (
	"slices"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/plan"
)

// interest returns what the other Kustomizations on the cluster desire of the objects that the next
// pass of an entry does not. Their bundles are read before the pass: after a restart it may begin before
// the other entries have had theirs, and a bundle that is not loaded would look like one without objects.
// Of a bundle that cannot be loaded it is not known what it desires, so that nothing is deleted.
func (e *Engine) interest(en *entry) func(object.ID) plan.Interest {
	if en.unread = false; !en.drops() {
		return nil
	}
	n := plan.Neighbours{Recorded: en.inv.Objects}
	for _, name := range e.m.Names() {
		other := e.entries[name]
		if other == en || other.Spec.Remove || other.Spec.Digest == "" {
			continue
		}
		neighbour := e.neighbour(en, other)
		en.unread = en.unread || !neighbour.Loaded
		n.Assigned = append(n.Assigned, neighbour)
	}
	for _, digest := range en.Spec.KeepFor {
		b, ok := en.expected[digest]
		en.unread = en.unread || !ok
		n.Expected = append(n.Expected, b.Set)
	}
	if digest := en.undone(); digest != "" {
		b, ok := en.expected[digest]
		en.unread = en.unread || !ok
		n.Undone = b.Set
	}
	n.Unknown = en.unread || en.Spec.HoldPrune && !en.Spec.AllowPrune
	return n.Interest()
}

// neighbour returns what is known of another entry, as far as it matters for one.
func (e *Engine) neighbour(en, other *entry) plan.Neighbour {
	namespaceOf := func(en *entry) string { return v1alpha1.ResolveName(e.key.Namespace, en.Spec.Name).Namespace }
	n := plan.Neighbour{
		Name: other.Spec.Name, Remove: other.Spec.Remove, Desired: other.desired.Set, Loaded: other.desired.digest == other.Spec.Digest,
		Foreign: namespaceOf(en) != namespaceOf(other), Unadmitted: v1alpha1.IsUnadmitted(other.Reason),
	}
	if other.inv != nil {
		n.Recorded = other.inv.Objects
	}
	if !other.Matches() {
		n.LastGood = other.lastGood.Set
	}
	for _, f := range other.failures {
		if f.reason == v1alpha1.ForbiddenReason {
			n.Forbidden = append(n.Forbidden, f.id)
		}
	}
	return n
}

// undone returns the digest of the bundle that was undone: what it holds stays, unless the entry has
// created it.
func (en *entry) undone() string {
	if en.Spec.AllowPrune {
		return ""
	}
	return en.Spec.Undone
}

// keeps returns the digests of the bundles that hold what is not to be deleted.
func (en *entry) keeps() []string {
	if digest := en.undone(); digest != "" {
		return append(slices.Clone(en.Spec.KeepFor), digest)
	}
	return en.Spec.KeepFor
}

// drops reports whether something is recorded that the next pass does not desire.
func (en *entry) drops() bool {
	enforced := en.enforced()
	for id := range en.inv.Objects {
		if enforced.ByID[id] == nil {
			return true
		}
	}
	return false
}

// contested reports whether the last pass could not have an object because another Kustomization owns it.
func (en *entry) contested() bool {
	return slices.ContainsFunc(en.failures, func(f failure) bool { return f.reason == v1alpha1.OwnershipConflictReason })
}

// releaser returns the name of the entry that is about to release all that this one could not have, and the
// first object of those; "" when one of them stays with its owner, or failed for another reason.
func (e *Engine) releaser(en *entry) (string, object.ID) {
	contested := make([]object.ID, 0, len(en.failures))
	for _, f := range en.failures {
		if f.reason != v1alpha1.OwnershipConflictReason {
			return "", object.ID{}
		}
		contested = append(contested, f.id)
	}
	if len(contested) == 0 {
		return "", object.ID{}
	}
	var neighbours []plan.Neighbour
	for _, name := range e.m.Names() {
		if other := e.entries[name]; other != en && !other.Spec.Suspend {
			neighbours = append(neighbours, e.neighbour(en, other))
		}
	}
	return plan.Releaser(contested, neighbours)
}
