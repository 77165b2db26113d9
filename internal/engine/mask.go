package engine

import (
	"slices"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/inventory"
	"github.com/skerry-dev/skerry/internal/object"
)

// A name with the value of a Secret in it is hidden where the engine hands out what it reports, in
// reports and events: so no message needs to mind it, be it of the API server, of the plan or of health.
// What is hidden stays so until the engine ends: an event may be about an object that is recorded no more.

// maskBundle hides the names and keys in a bundle that may not be shown.
func maskBundle(m *object.Mask, b bundle) {
	m.Hide(b.hidden)
	for i := range b.Objects {
		m.Add(b.Objects[i].ID, b.Objects[i].ManifestName)
	}
}

// maskInventory hides the names in an inventory that may not be shown.
func maskInventory(m *object.Mask, inv *inventory.Inventory) {
	for id, record := range inv.Objects {
		m.Add(id, record.ManifestName)
	}
}

// maskStatus hides what may not be shown in the status of an entry.
func maskStatus(m *object.Mask, st v1alpha1.AssignmentEntryStatus) v1alpha1.AssignmentEntryStatus {
	st.Message = m.Text(st.Message)
	if len(st.Drifts) > 0 {
		st.Drifts = slices.Clone(st.Drifts)
		for i := range st.Drifts {
			maskDrift(m, &st.Drifts[i])
		}
	}
	return st
}

// maskDrift hides what may not be shown in a drift record: a path may hold a name as the key of a map or of
// a list. The paths are copied: the entry keeps the record.
func maskDrift(m *object.Mask, r *v1alpha1.DriftRecord) {
	r.Object, r.Manager = m.Text(r.Object), m.Text(r.Manager)
	r.Paths = slices.Clone(r.Paths)
	for i := range r.Paths {
		r.Paths[i] = m.Text(r.Paths[i])
	}
}

// maskEvent hides what may not be shown in an event.
func maskEvent(m *object.Mask, ev Event) Event {
	ev.Message, ev.Object.ID = m.Text(ev.Message), m.ID(ev.Object.ID)
	return ev
}
