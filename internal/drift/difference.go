package drift

import (
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/object"
)

// Difference is what of an object differs from Git.
type Difference struct {
	// Fields are paths, sorted: ".spec.replicas"; none when every field has the value that Git names.
	Fields []string
	// Managers wrote them, sorted, as far as that is known.
	Managers []string
	// Since is when the first of these managers wrote last; zero when that is not known.
	Since time.Time
}

// Compared is what a Difference is read from.
type Compared struct {
	// Object is what Git wants, and Manager the one that applies it.
	Object  object.Object
	Manager string
	// Managed are the managed fields of the object on the cluster.
	Managed []metav1.ManagedFieldsEntry
	Ignored *Ignored
	// Keep leaves the fields of people and tools alone.
	Keep bool
	// Conflict is what an apply without force answers; nil when it would succeed. Unknown when that cannot
	// be asked.
	Conflict *apierror.ConflictError
	Unknown  bool
}

// Difference compares an object with what Git wants, by its managed fields:
//
//	a field that Git names and another manager owns    differs if an apply would conflict on it
//	a field that Git names and no manager owns        was removed
//	a field of a person or a deployment tool           was added
func (c Compared) Difference() Difference {
	ours, theirs := &fieldpath.Set{}, map[int]*fieldpath.Set{}
	for i := range c.Managed {
		set, ok := decodeFields(&c.Managed[i])
		switch {
		case !ok:
		case isOurs(&c.Managed[i], c.Manager):
			ours = ours.Union(set)
		default:
			theirs[i] = set
		}
	}
	d := &differing{of: c.Managed, paths: map[string]bool{}, managers: map[string]bool{}}
	for _, p := range Lost(c.Object, ours, c.Ignored) {
		text := "." + apierror.Path(p.String())
		owned := false
		for i, set := range theirs {
			if set.Has(p) || !at(set, p).Empty() {
				owned = true
				if c.Unknown || c.Conflict != nil && conflicts(c.Conflict, text) {
					d.add(text, i)
				}
			}
		}
		if !owned {
			d.paths[text] = true
		}
	}
	for i := range theirs {
		if e := &c.Managed[i]; !c.Keep && e.Subresource == "" && isTool(e.Manager) {
			for _, p := range foreign(e, c.Ignored) {
				if !ours.Has(p) {
					d.add("."+apierror.Path(p.String()), i)
				}
			}
		}
	}
	return d.difference()
}

// at returns what a set has below a path.
func at(set *fieldpath.Set, p fieldpath.Path) *fieldpath.Set {
	for _, e := range p {
		set = set.WithPrefix(e)
	}
	return set
}

// conflicts returns whether a conflict is about a field, or about one below it or above it.
func conflicts(c *apierror.ConflictError, field string) bool {
	return slices.ContainsFunc(c.Fields, func(f string) bool { return f == field || within(f, field) || within(field, f) })
}

func within(path, of string) bool {
	return len(path) > len(of) && path[:len(of)] == of && (path[len(of)] == '.' || path[len(of)] == '[')
}

type differing struct {
	of              []metav1.ManagedFieldsEntry
	paths, managers map[string]bool
	since           time.Time
}

func (d *differing) add(path string, entry int) {
	e := &d.of[entry]
	d.paths[path], d.managers[apierror.Clean(e.Manager)] = true, true
	if e.Time != nil && (d.since.IsZero() || e.Time.Time.Before(d.since)) {
		d.since = e.Time.Time
	}
}

func (d *differing) difference() Difference {
	return Difference{Fields: slices.Sorted(maps.Keys(d.paths)), Managers: slices.Sorted(maps.Keys(d.managers)), Since: d.since}
}
