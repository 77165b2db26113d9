// Package hubapi is what the controllers share in their dealings with the hub's own API server:
// the client of that side, what wakes a reconcile, and how a report is committed.
package hubapi

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/text"
)

// Hub reads the hub's API server from the cache, and sees its own writes there; it writes straight.
type Hub struct {
	client.Client
	// Await returns when the API server is not known to be away, so that a reconcile does not begin what
	// it cannot record; nil for no wait.
	Await func(context.Context) error
}

// Direct reads the hub's API server itself. Secrets and ConfigMaps are read so: their contents are
// not to fill the hub's memory.
type Direct struct{ client.Reader }

// Recorder records events on objects of the hub.
type Recorder = events.EventRecorder

// commitTimeout bounds a status write. It is its own, so that a hub that stops still records what it
// has done.
const commitTimeout = 3 * time.Second

// afterConflict is the time until the next try after a conflict: about as long as a change takes to
// come through a watch.
const afterConflict = 20 * time.Millisecond

// maxNote bounds the text of an event, in bytes, as the API does.
const maxNote = 1024

// PatchStatus writes the status of obj. It fails with a conflict when somebody has changed the object
// since it was read. It replaces the status as a whole: of a status that nobody has written yet, the
// server has other fields than Go's zero value says, and a difference between the two would miss them.
func PatchStatus(ctx context.Context, hub Hub, obj client.Object) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	if err := hub.Status().Update(ctx, obj); err != nil {
		return fmt.Errorf("cannot write status: %w", err)
	}
	return nil
}

// Record records the events of a report; action says what was being done, in one word.
func Record(to Recorder, obj client.Object, action string, list []report.Event) {
	for _, e := range list {
		kind := corev1.EventTypeNormal
		if e.Warning {
			kind = corev1.EventTypeWarning
		}
		to.Eventf(obj, nil, kind, e.Reason, action, "%s", Note(e.Message))
	}
}

// Note makes a message fit for an event.
func Note(message string) string { return text.Truncate(report.Line(message), maxNote) }

// ResultForError returns what a reconcile returns when its commit failed. That somebody changed the object
// meanwhile is no error: the next reconcile starts from what is there then.
func ResultForError(err error) (reconcile.Result, error) {
	if apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: afterConflict}, nil
	}
	return reconcile.Result{}, client.IgnoreNotFound(err)
}
