package drift

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/skerry-dev/skerry/internal/apierror"
)

// Takeover asks for other managed fields of an object.
type Takeover struct {
	// Manager is ours, and APIVersion the version in which it applies.
	Manager, APIVersion string
	// Adopting means that the object was not ours before: what Git names is then Git's alone, whichever manager
	// wrote it before. It needs an entry of ours.
	Adopting bool
	// Keep leaves the fields of people and tools alone.
	Keep bool
	// YieldReplicas takes spec.replicas out of what we own, so that the number stays when we no longer
	// apply one.
	YieldReplicas bool
	// Ignored fields stay with the manager that owns them.
	Ignored *Ignored
}

// Taken is the outcome of a Takeover.
type Taken struct {
	// Managed are the managed fields to write; nil when nothing changes.
	Managed []metav1.ManagedFieldsEntry
	// Grown means that we own fields now that the last apply did not name: the next one removes them.
	Grown bool
	// Contested names the fields and the managers that owned them.
	Contested *apierror.ConflictError
}

// Of decides what becomes of the managed fields of an object. Entries of people and tools are merged
// into ours, so that the next apply removes what it does not name; their fields at another version of
// the API are only given up, for they may not exist in ours. The status and other subresources stay
// whose they are.
func (t Takeover) Of(managed []metav1.ManagedFieldsEntry) Taken {
	x := &taking{Takeover: t, taken: &fieldpath.Set{}, contested: &apierror.ConflictError{}}
	entry := x.own(managed)
	for i := range managed {
		x.take(managed[i])
	}
	all := x.ours.Union(x.taken)
	if replicas := fieldpath.MakePathOrDie("spec", "replicas"); t.YieldReplicas && all.Has(replicas) {
		all, x.changed = all.Difference(fieldpath.NewSet(replicas)), true
	}
	if !x.changed {
		return Taken{}
	}
	entry, ok := encodeFields(entry, all)
	if !ok {
		return Taken{}
	}
	out := Taken{Managed: append(x.rest, entry), Grown: !x.taken.Difference(x.ours).Empty()}
	if len(x.contested.Managers) > 0 {
		out.Contested = x.contested.Sorted()
	}
	return out
}

// taking is a Takeover under way.
type taking struct {
	Takeover
	ours, taken *fieldpath.Set // what we own already, and what we get
	contested   *apierror.ConflictError
	rest        []metav1.ManagedFieldsEntry // the other entries, as they become
	changed     bool
}

// own takes up the fields that we own, and returns our entry.
func (x *taking) own(managed []metav1.ManagedFieldsEntry) metav1.ManagedFieldsEntry {
	entry := metav1.ManagedFieldsEntry{Manager: x.Manager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: x.APIVersion, FieldsType: "FieldsV1"}
	x.ours = &fieldpath.Set{}
	for i := range managed {
		if !isOurs(&managed[i], x.Manager) || managed[i].APIVersion != x.APIVersion {
			continue
		}
		if set, ok := decodeFields(&managed[i]); ok {
			x.ours, entry = set, managed[i]
		}
	}
	return entry
}

// take decides what becomes of one entry.
func (x *taking) take(e metav1.ManagedFieldsEntry) {
	switch {
	case isOurs(&e, x.Manager) && e.APIVersion == x.APIVersion:
		return // comes last
	case e.Subresource != "" || e.FieldsV1 == nil:
	case isTool(e.Manager) && !x.Keep && !isOurs(&e, x.Manager):
		if paths := foreign(&e, x.Ignored); len(paths) > 0 {
			if e.APIVersion == x.APIVersion {
				x.taken = x.taken.Union(fieldpath.NewSet(paths...))
			}
			addFields(x.contested, e.Manager, paths)
			set, _ := decodeFields(&e)
			x.drop(e, set, paths)
			return
		}
	case x.Adopting && !x.Keep && !controlPlane(e.Manager):
		if set, ok := decodeFields(&e); ok {
			if shared := x.shared(set); len(shared) > 0 {
				x.drop(e, set, shared)
				return
			}
		}
	}
	x.rest = append(x.rest, e)
}

// shared returns which of the fields are ours as well.
func (x *taking) shared(set *fieldpath.Set) []fieldpath.Path {
	return slices.DeleteFunc(significant(set), func(p fieldpath.Path) bool { return !x.ours.Has(p) || x.Ignored.Covers(p) })
}

// drop takes fields out of an entry, which goes when nothing is left of it.
func (x *taking) drop(e metav1.ManagedFieldsEntry, set *fieldpath.Set, paths []fieldpath.Path) {
	x.changed = true
	if left, ok := without(e, set, paths); ok {
		x.rest = append(x.rest, left)
	}
}

// without takes paths out of an entry. It is false when nothing is left that means anything.
func without(e metav1.ManagedFieldsEntry, set *fieldpath.Set, paths []fieldpath.Path) (metav1.ManagedFieldsEntry, bool) {
	left := fieldpath.NewSet(significant(set)...).Difference(fieldpath.NewSet(paths...))
	if left.Empty() {
		return e, false
	}
	return encodeFields(e, left)
}

// addFields adds fields and their manager to a conflict. An entry of a list that is a field itself stands for those in it.
func addFields(c *apierror.ConflictError, manager string, paths []fieldpath.Path) {
	all := fieldpath.NewSet(paths...)
	var fields []string
	for _, p := range paths {
		within := false
		for i := 1; i < len(p); i++ {
			within = within || all.Has(p[:i])
		}
		if !within {
			fields = append(fields, p.String())
		}
	}
	c.Add(manager, fields...)
}
