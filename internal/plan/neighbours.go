package plan

import (
	"slices"
	"strings"

	"github.com/skerry-dev/skerry/internal/inventory"
	"github.com/skerry-dev/skerry/internal/object"
)

// Set is what a bundle desires. The zero Set desires nothing.
type Set struct {
	// Objects, in the order of the bundle, and ByID the same.
	Objects []object.Object
	ByID    map[object.ID]*object.Object
	// bare holds the IDs of custom resources that name a namespace, without it.
	bare map[object.ID]bool
	// hosts are the names of the Namespaces and definitions of the objects.
	hosts map[string]bool
}

// NewSet returns the Set of some objects, which must not be changed afterwards.
func NewSet(objects []object.Object) Set {
	s := Set{ByID: make(map[object.ID]*object.Object, len(objects)), Objects: objects, hosts: map[string]bool{}}
	for i := range objects {
		id := objects[i].ID
		s.ByID[id] = &objects[i]
		s.hosts[id.Namespace] = true
		if strings.Contains(id.Group, ".") {
			s.hosts[Definition(id)] = true
		}
		if id.Namespace == "" || !strings.Contains(id.Group, ".") {
			continue
		}
		if s.bare == nil {
			s.bare = map[object.ID]bool{}
		}
		id.Namespace = ""
		s.bare[id] = true
	}
	return s
}

// Desires reports whether an object of the cluster is in the Set. An object without a namespace is of a
// kind that has none, so that a namespace in a bundle which no pass has settled yet means nothing.
func (s Set) Desires(id object.ID) bool {
	return s.ByID[id] != nil || id.Namespace == "" && s.bare[id]
}

// needs reports whether an object of the cluster is in the Set, or is the Namespace or the definition of
// one that is, which would go with it.
func (s Set) needs(id object.ID) bool {
	switch {
	case s.Desires(id):
		return true
	case isNamespace(id), isDefinition(id):
		return s.hosts[id.Name]
	}
	return false
}

// without returns the Set without the objects that match.
func (s Set) without(match func(object.ID) bool) Set {
	return NewSet(slices.DeleteFunc(slices.Clone(s.Objects), func(o object.Object) bool { return match(o.ID) }))
}

// Neighbour is another Kustomization on the cluster, as far as it matters for an object that one Kustomization drops, or
// could not have.
type Neighbour struct {
	Name string
	// Remove means that it desires nothing any more.
	Remove bool
	// Desired is its assigned bundle, where Loaded is true; else it is not known what it desires.
	Desired Set
	Loaded  bool
	// LastGood is the bundle that it had before, while the assigned one is not on the cluster as a whole.
	LastGood Set
	// Recorded is its inventory; nil while that is not known.
	Recorded map[object.ID]inventory.Record
	// Foreign means that it is of another namespace of the hub.
	Foreign bool
	// Unadmitted means that its ServiceAccount may do nothing on the cluster, and Forbidden are the objects that this one
	// was refused.
	Unadmitted bool
	Forbidden  []object.ID
}

// attainable returns what it desires, without what its ServiceAccount was refused where it is of another
// namespace: else a tenant could keep the objects of others from being deleted, by naming them.
func (n Neighbour) attainable() Set {
	switch {
	case n.Recorded == nil || !n.Foreign:
		return n.Desired
	case n.Unadmitted:
		return n.recorded(n.Desired)
	case len(n.Forbidden) == 0:
		return n.Desired
	}
	return n.Desired.without(func(id object.ID) bool {
		_, has := n.Recorded[id]
		return !has && slices.Contains(n.Forbidden, id)
	})
}

// recorded returns those objects of a Set that it still has in its inventory: what it has released since
// belongs to another Kustomization.
func (n Neighbour) recorded(s Set) Set {
	return s.without(func(id object.ID) bool {
		_, has := n.Recorded[id]
		return !has
	})
}

// Neighbours are the other Kustomizations on the cluster, and what is known of those that are to come.
type Neighbours struct {
	// Assigned are on the cluster.
	Assigned []Neighbour
	// Expected are the bundles that others are going to have there at the same revision.
	Expected []Set
	// Undone is the bundle of a change that was undone: what it holds stays, unless this Kustomization has created it.
	Undone Set
	// Recorded is the inventory of this Kustomization.
	Recorded map[object.ID]inventory.Record
	// Unknown means that it is not known what another one desires.
	Unknown bool
}

// Interest returns what the neighbours desire of what this Kustomization drops.
//
//	in an assigned bundle, or in the last good one and recorded    Assigned: it is released to that one
//	in a bundle that is to come                                    Expected: it is retained until then
//	in one that was undone, and not created here                   Expected
//	else, while something is not known                             Undecided: it is retained
func (n Neighbours) Interest() func(object.ID) Interest {
	var assigned []Set
	unknown := n.Unknown
	for _, other := range n.Assigned {
		if other.Loaded {
			assigned = append(assigned, other.attainable())
		} else {
			unknown = true
		}
		if len(other.LastGood.ByID) > 0 {
			assigned = append(assigned, other.recorded(other.LastGood))
		}
	}
	return func(id object.ID) Interest {
		needs := func(s Set) bool { return s.needs(id) }
		switch {
		case slices.ContainsFunc(assigned, needs):
			return Assigned
		case slices.ContainsFunc(n.Expected, needs), !n.Recorded[id].Created && n.Undone.needs(id):
			return Expected
		case unknown:
			return Undecided
		}
		return NoInterest
	}
}

// Releaser returns the name of the neighbour that is about to release all of the objects which a Kustomization could not
// have, and the first of these; "" when one of them stays with its owner.
func Releaser(contested []object.ID, neighbours []Neighbour) (string, object.ID) {
	releaser, first := "", object.ID{}
	for _, id := range contested {
		name := ""
		for _, n := range neighbours {
			if _, has := n.Recorded[id]; has && (n.Remove || n.Loaded && !n.Desired.Desires(id)) {
				name = n.Name
			}
		}
		if name == "" {
			return "", object.ID{}
		}
		if releaser == "" || object.Order(id, first) < 0 {
			releaser, first = name, id
		}
	}
	return releaser, first
}
