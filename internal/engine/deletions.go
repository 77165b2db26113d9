package engine

import (
	"fmt"
	"maps"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/object"
)

// deletionGrace is how long a deletion may take before it is told: most objects are gone within
// milliseconds, and a status that names each of them would flap with every prune.
const deletionGrace = 2 * time.Second

// deletions are the objects that were deleted and are still there.
type deletions struct {
	count int
	first object.ID
	// message says what the first of them waits for.
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
		if en.desired.index[id] != nil && !en.Spec.Remove || en.retained[id] {
			continue
		}
		l, there := en.session.live.get(id)
		if !there || l.Owner != en.owner || !l.Terminating && en.deleted[id] != l.UID {
			continue
		}
		if d.count++; d.count > 1 && object.Order(d.first, id) < 0 {
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

// deletionReadiness is the end of judging an entry whose objects are all as wanted: it is not done before
// what left Git has left the cluster. Until the timeout that is on its way, from then on it has failed.
// With wait off, only the failure is told.
//
// A commit drops a custom resource whose finalizer no controller takes off, at 12:00:00, timeout 5m:
// until 12:00:02 the entry is Progressing, then DeletionPending with the object and its finalizer, and
// Ready=False from 12:05:00. When the finalizer goes, Ready=True.
func (en *entry) deletionReadiness(now time.Time) (metav1.ConditionStatus, string, string) {
	d := en.deleting
	if d.count == 0 {
		en.deletingSince, en.toldDeletion = time.Time{}, false
		return metav1.ConditionTrue, v1alpha1.SucceededReason, ""
	}
	if en.deletingSince.IsZero() {
		en.deletingSince = now
	}
	told, late := en.deletingSince.Add(deletionGrace), en.deletingSince.Add(en.Spec.Timeout.Duration)
	switch {
	case !now.Before(late):
		return metav1.ConditionFalse, v1alpha1.DeletionPendingReason, "waits for deletions: " + d.String()
	case now.Before(told):
		en.lookAgain(earlier(told, late))
	default:
		en.lookAgain(late)
	}
	switch {
	case !en.Spec.Wait && !en.Spec.Remove:
		return metav1.ConditionTrue, v1alpha1.SucceededReason, ""
	case now.Before(told):
		return metav1.ConditionUnknown, v1alpha1.ProgressingReason, "deleting what is wanted no longer"
	}
	return metav1.ConditionUnknown, v1alpha1.DeletionPendingReason, "waits for deletions: " + d.String()
}

// lookAgain asks for another look at a time, if none is due before.
func (en *entry) lookAgain(at time.Time) {
	if en.recheck.IsZero() || at.Before(en.recheck) {
		en.recheck = at
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// deletionEvent tells once of deletions that take long, and what they wait for.
func (en *entry) deletionEvent(now time.Time) (Event, bool) {
	d := en.deleting
	if d.count == 0 || en.toldDeletion || en.deletingSince.IsZero() || now.Before(en.deletingSince.Add(deletionGrace)) {
		return Event{}, false
	}
	en.toldDeletion = true
	l, _ := en.session.live.get(d.first)
	return Event{
		Kustomization: en.Spec.Name, Reason: v1alpha1.DeletionPendingReason, Message: health.Clean(d.String()),
		Object: Object{ID: d.first, UID: l.UID},
	}, true
}
