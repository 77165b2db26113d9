package engine

import (
	"context"
	"slices"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/plan"
)

// interest returns what the other Kustomizations on the cluster desire of the objects that the next
// pass of an entry does not. It loads their bundles first: after a restart a pass may begin before the
// other entries have had theirs, and a bundle that is not loaded would look like one without objects.
// Of a bundle that cannot be loaded it is not known what it desires, so that nothing is deleted.
func (e *Engine) interest(ctx context.Context, en *entry) func(object.ID) plan.Interest {
	if en.unread = false; !en.drops() {
		return nil
	}
	unknown := en.spec.HoldPrune && !en.spec.AllowPrune
	var assigned, expected []bundle
	for _, name := range e.order {
		other := e.entries[name]
		if other == en || other.spec.Remove || other.spec.Digest == "" {
			continue
		}
		if e.load(ctx, other) == nil {
			assigned = append(assigned, other.desired)
		} else {
			en.unread = true
		}
		if !other.applied() {
			assigned = append(assigned, other.recordedOf(other.lastGood))
		}
	}
	for _, digest := range en.spec.KeepFor {
		if b, err := e.o.Bundles.Get(ctx, digest); err == nil {
			expected = append(expected, newBundle(digest, b.Objects))
		} else {
			en.unread = true
		}
	}
	unknown = unknown || en.unread
	return func(id object.ID) plan.Interest {
		needs := func(b bundle) bool { return b.needs(id) }
		switch {
		case slices.ContainsFunc(assigned, needs):
			return plan.Assigned
		case slices.ContainsFunc(expected, needs):
			return plan.Expected
		case unknown:
			return plan.Undecided
		}
		return plan.NoInterest
	}
}

// load brings in the bundles of an entry. What it desires from then on may be what another one retains.
func (e *Engine) load(ctx context.Context, en *entry) error {
	before := en.desired.digest
	err := e.guard("bundle", func() error { return en.load(ctx, e.o.Bundles) })
	if en.desired.digest != before {
		e.desires++
	}
	maskBundle(&e.mask, en.desired)
	maskBundle(&e.mask, en.lastGood)
	return err
}

// drops says whether something is recorded that the next pass does not desire.
func (en *entry) drops() bool {
	kept := en.enforced()
	for id := range en.inv.Objects {
		if kept.index[id] == nil {
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

// needs says whether an object of the cluster is in the bundle, or is the Namespace or the definition of
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

// reconsider makes a pass due of each entry that retains objects, when what others desire has changed.
func (e *Engine) reconsider(now time.Time) {
	for _, en := range e.entries {
		if en.desires == e.desires || en.running || en.session == nil {
			continue
		}
		if refused := en.reason == v1alpha1.PruneHeldReason; refused || len(en.retained) > 0 {
			en.desires, en.due, en.unprocessed = e.desires, now, en.unprocessed || refused
		}
	}
}

// cede lets the entries try again at once that could not have an object, now that another entry has
// released some.
func (e *Engine) cede(by *entry, now time.Time) {
	for _, other := range e.entries {
		if other == by {
			continue
		}
		other.ceded = true
		if other.contested() && !other.running {
			other.due = now
		}
	}
}

// contested says whether the last pass could not have an object because another Kustomization owns it.
func (en *entry) contested() bool {
	return slices.ContainsFunc(en.failures, func(f failure) bool { return f.reason == v1alpha1.OwnershipConflictReason })
}

// giver returns the name of the entry that is about to release all that this one could not have, and the
// first object of those; "" when one of them stays with its owner.
func (e *Engine) giver(en *entry) (string, object.ID) {
	giver, first := "", object.ID{}
	for _, f := range en.failures {
		name := ""
		for _, n := range e.order {
			other := e.entries[n]
			if other == en || other.inv == nil || other.spec.Suspend {
				continue
			}
			_, has := other.inv.Objects[f.id]
			if has && (other.spec.Remove || other.desired.digest == other.spec.Digest && !other.desired.desires(f.id)) {
				name = n
			}
		}
		if name == "" || f.reason != v1alpha1.OwnershipConflictReason {
			return "", object.ID{}
		}
		if giver == "" || object.Order(f.id, first) < 0 {
			giver, first = name, f.id
		}
	}
	return giver, first
}
