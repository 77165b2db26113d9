package engine

import (
	"fmt"
	"maps"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine/machine"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/object"
)

// deletions are the objects that were deleted and are still there.
type deletions struct {
	count int
	first object.ID
	// message describes what the first of them waits for.
	message string
}

func (d deletions) String() string {
	text := fmt.Sprintf("%s %s", d.first, d.message)
	if d.count > 1 {
		text += fmt.Sprintf(" (and %d more)", d.count-1)
	}
	return text
}

// pendingDeletions finds the recorded objects that are desired no longer, that were deleted, and that the
// cluster still shows as the entry's own.
func (en *entry) pendingDeletions() deletions {
	var d deletions
	if en.session == nil || len(en.inv.Objects) == 0 {
		return d
	}
	for id := range en.inv.Objects {
		if en.desired.ByID[id] != nil && !en.Spec.Remove || en.retained[id] {
			continue
		}
		l, there := en.view.live.get(id)
		if there && en.heldBack[id] && l.UID == en.inv.Objects[id].UID {
			if d.count++; d.count == 1 {
				d.first, d.message = id, "is deleted when the objects of later waves are gone"
			}
			continue
		}
		if !there || l.Owner != en.owner || !l.Terminating && en.deleted[id] != l.UID {
			continue
		}
		if d.count++; d.count > 1 && !en.heldBack[d.first] && object.Order(d.first, id) < 0 {
			continue
		}
		d.first, d.message = id, "is being deleted"
		if l.Terminating {
			d.message = l.Health.Message
		}
		if id.Group == "" && id.Kind == "Namespace" {
			d.message += ", with all that is in it"
		}
	}
	return d
}

// noteDeleted remembers what a pass has deleted: the watch shows it a moment later.
func (en *entry) noteDeleted(uids map[object.ID]string) {
	if en.deleted == nil {
		en.deleted = map[object.ID]string{}
	}
	maps.Copy(en.deleted, uids)
	maps.DeleteFunc(en.deleted, func(id object.ID, _ string) bool {
		_, recorded := en.inv.Objects[id]
		return !recorded
	})
}

// recheckAt asks for another look at a time, if none is due before.
func (en *entry) recheckAt(at time.Time) {
	if en.recheck.IsZero() || at.Before(en.recheck) {
		en.recheck = at
	}
}

// deletionEvent reports once which deletions take long, and what they wait for.
func (en *entry) deletionEvent(now time.Time) (Event, bool) {
	d := en.deleting
	if en.since.Deleting.IsZero() {
		en.deletionReported = false
	}
	if d.count == 0 || en.deletionReported || en.since.Deleting.IsZero() || now.Before(en.since.Deleting.Add(machine.DeletionGrace)) {
		return Event{}, false
	}
	en.deletionReported = true
	l, _ := en.view.live.get(d.first)
	return Event{
		Kustomization: en.Spec.Name, Reason: v1alpha1.DeletionPendingReason, Message: health.Clean(d.String()),
		Object: Object{ID: d.first, UID: l.UID},
	}, true
}
