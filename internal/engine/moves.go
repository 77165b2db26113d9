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
	unknown := en.Spec.HoldPrune && !en.Spec.AllowPrune
	var assigned, expected []bundle
	for _, name := range e.m.Names() {
		other := e.entries[name]
		if other == en || other.Spec.Remove || other.Spec.Digest == "" {
			continue
		}
		if other.desired.digest == other.Spec.Digest {
			assigned = append(assigned, e.attainable(en, other))
		} else {
			en.unread = true
		}
		if !other.Matches() {
			assigned = append(assigned, other.recordedOf(other.lastGood))
		}
	}
	for _, digest := range en.Spec.KeepFor {
		if b, ok := en.expected[digest]; ok {
			expected = append(expected, b)
		} else {
			en.unread = true
		}
	}
	undone, recorded := bundle{}, en.inv.Objects
	if digest := en.undone(); digest != "" {
		var ok bool
		if undone, ok = en.expected[digest]; !ok {
			en.unread = true
		}
	}
	unknown = unknown || en.unread
	return func(id object.ID) plan.Interest {
		needs := func(b bundle) bool { return b.needs(id) }
		switch {
		case slices.ContainsFunc(assigned, needs):
			return plan.Assigned
		case slices.ContainsFunc(expected, needs), !recorded[id].Created && undone.needs(id):
			return plan.Expected
		case unknown:
			return plan.Undecided
		}
		return plan.NoInterest
	}
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
		if enforced.index[id] == nil {
			return true
		}
	}
	return false
}

// recordedOf returns those objects of a bundle that the entry still has in its inventory: what it has
// released since belongs to another entry.
func (en *entry) recordedOf(b bundle) bundle {
	var have []object.Object
	for i := range b.objects {
		if en.inv == nil {
			break
		}
		if _, ok := en.inv.Objects[b.objects[i].ID]; ok {
			have = append(have, b.objects[i])
		}
	}
	return newBundle(b.digest, have)
}

// attainable returns what another entry desires, without what its ServiceAccount was refused where it is of another
// namespace: else a tenant could keep the objects of others from being deleted, by naming them.
func (e *Engine) attainable(en, other *entry) bundle {
	namespaceOf := func(en *entry) string { return v1alpha1.ResolveName(e.key.Namespace, en.Spec.Name).Namespace }
	if other.inv == nil || namespaceOf(en) == namespaceOf(other) {
		return other.desired
	}
	if v1alpha1.IsUnadmitted(other.Reason) {
		return other.recordedOf(other.desired)
	}
	refused := map[object.ID]bool{}
	for _, f := range other.failures {
		if _, has := other.inv.Objects[f.id]; !has && f.reason == v1alpha1.ForbiddenReason {
			refused[f.id] = true
		}
	}
	if len(refused) == 0 {
		return other.desired
	}
	rest := slices.DeleteFunc(slices.Clone(other.desired.objects), func(o object.Object) bool { return refused[o.ID] })
	return newBundle(other.desired.digest, rest)
}

// needs reports whether an object of the cluster is in the bundle, or is the Namespace or the definition of
// one that is, which would go with it.
func (b bundle) needs(id object.ID) bool {
	switch {
	case b.desires(id):
		return true
	case id.Group == "" && id.Kind == "Namespace", id.Group == "apiextensions.k8s.io" && id.Kind == "CustomResourceDefinition":
		return b.hosts[id.Name]
	}
	return false
}

// contested reports whether the last pass could not have an object because another Kustomization owns it.
func (en *entry) contested() bool {
	return slices.ContainsFunc(en.failures, func(f failure) bool { return f.reason == v1alpha1.OwnershipConflictReason })
}

// releaser returns the name of the entry that is about to release all that this one could not have, and the
// first object of those; "" when one of them stays with its owner.
func (e *Engine) releaser(en *entry) (string, object.ID) {
	releaser, first := "", object.ID{}
	for _, f := range en.failures {
		name := ""
		for _, n := range e.m.Names() {
			other := e.entries[n]
			if other == en || other.inv == nil || other.Spec.Suspend {
				continue
			}
			_, has := other.inv.Objects[f.id]
			if has && (other.Spec.Remove || other.desired.digest == other.Spec.Digest && !other.desired.desires(f.id)) {
				name = n
			}
		}
		if name == "" || f.reason != v1alpha1.OwnershipConflictReason {
			return "", object.ID{}
		}
		if releaser == "" || object.Order(f.id, first) < 0 {
			releaser, first = name, f.id
		}
	}
	return releaser, first
}
