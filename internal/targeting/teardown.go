package targeting

import (
	"fmt"
	"time"
)

// Part is an object on the hub's own cluster without which a Kustomization or Cluster cannot be: its
// namespace, the definition of its kind, or something of the hub itself.
type Part struct {
	// Name is how messages call it: "the namespace skerry-system".
	Name string
	// Found is false when the API server has no such object.
	Found bool
	// Deleting means that it has a deletion timestamp.
	Deleting bool
	// Created is its creation timestamp.
	Created time.Time
	// Needed means that the hub cannot do its work without it, so that its absence is that of the hub.
	Needed bool
	// Carries means that the object lies in it or is defined by it, so that it cannot be older.
	Carries bool
}

// TornDown returns why the deletion of an object is part of a larger one, and "" when a person or Git
// decided about the object itself. A namespace and a definition have their deletion timestamp before
// the first object in them is deleted, so the answer does not depend on the order of the deletions.
//
// What goes with its namespace, with its kind or with the hub is no fact about the edges: an
// uninstalled or restored hub must not delete what runs there. Worked example: `kubectl delete
// namespace skerry-system` deletes Kustomizations and Clusters in any order; without this rule, a
// Kustomization that goes before its Clusters prunes all of them.
//
// created is when the object, or the entry of an Assignment that stands for it, was made. One that is
// older than what carries it is a leftover of an earlier installation.
func TornDown(created time.Time, parts []Part) string {
	for _, p := range parts {
		switch {
		case p.Found && p.Deleting:
			return p.Name + " is being deleted"
		case !p.Found && p.Needed:
			return p.Name + " is gone"
		case p.Found && p.Carries && created.Before(p.Created):
			return fmt.Sprintf("%s was made anew since", p.Name)
		}
	}
	return ""
}
