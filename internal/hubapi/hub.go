// Package hubapi is what the controllers share in their dealings with the hub's own API server:
// the client of that side, what wakes a reconcile, and how a report is committed.
package hubapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
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

// commitTimeout bounds a write of a status or of finalizers.
const commitTimeout = 3 * time.Second

// afterConflict is the time until the next try after a conflict: about as long as a change takes to
// come through a watch.
const afterConflict = 20 * time.Millisecond

// maxNote bounds the text of an event, in bytes, as the API does.
const maxNote = 1024

// PatchStatus writes the status of obj. It fails with a conflict when the object has changed since it was read. It replaces
// the status as a whole: a status that was never written has other fields on the server than in Go's zero value, and a
// merge patch would miss them. It is an update: of a Cluster, a JSON patch of the status, or of one time in it, costs the
// API server a tenth more, also where the answer is metadata alone.
func PatchStatus(ctx context.Context, hub Hub, obj client.Object) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if err := hub.Status().Update(ctx, obj); err != nil {
		return fmt.Errorf("cannot write status: %w", err)
	}
	return nil
}

// Record records the events of a report; action is what was being done, in one word.
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

// PatchFinalizers writes the finalizers of obj. It fails with a conflict when obj has changed since it was read. It bounds its own
// time: the continuation of a reconcile, which may call it, has no deadline.
func PatchFinalizers(ctx context.Context, hub Hub, obj client.Object) error {
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": obj.GetUID(), "resourceVersion": obj.GetResourceVersion(), "finalizers": obj.GetFinalizers(),
	}})
	if err != nil {
		return fmt.Errorf("cannot encode finalizers: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if err := hub.Patch(ctx, obj, client.RawPatch(types.MergePatchType, data)); err != nil {
		return fmt.Errorf("cannot write finalizers: %w", err)
	}
	return nil
}

// ResultForError returns what a reconcile returns when its commit failed, or when some of its writes did. A conflict, an
// object that is gone, and one in cooldown after a failed write are no errors: the next reconcile starts from what is there
// then. Every other failure is one.
func ResultForError(err error) (reconcile.Result, error) {
	var failed []error
	var result reconcile.Result
	for _, e := range flatten(err) {
		after := time.Duration(0)
		cooldown, cooling := errors.AsType[*CooldownError](e)
		switch {
		case cooling:
			after = cooldown.After
		case apierrors.IsConflict(e):
			after = afterConflict
		case !apierrors.IsNotFound(e):
			failed = append(failed, e)
		}
		if after > 0 && (result.RequeueAfter == 0 || after < result.RequeueAfter) {
			result.RequeueAfter = after
		}
	}
	if len(failed) > 0 {
		return reconcile.Result{}, errors.Join(failed...)
	}
	return result, nil
}

// flatten returns the errors that were joined to one.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error }) // what wraps joined errors describes them all
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, flatten(e)...)
	}
	return all
}
