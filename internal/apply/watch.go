package apply

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"
	"unique"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/object"
)

// Seen is what a watch says of one object: a few strings, whatever its size.
type Seen struct {
	ID              object.ID
	Owner           string
	UID             string
	ResourceVersion string
	Fields          Fields
	Policy          object.Policy
	Terminating     bool
	Keep            object.Keep
	Health          health.Status
}

// Sink takes what a watch sees. Its methods are called one after the other.
type Sink interface {
	// Listing is called before the cluster is asked for all objects of the kind.
	Listing()
	// Listed replaces all that was seen of the kind.
	Listed(all []Seen)
	// Changed is called for an object that was added or changed.
	Changed(Seen)
	// Deleted is called for an object that is gone, or has lost its owner label.
	Deleted(Seen)
	// Failed is called when the cluster did not let itself be asked; it is asked again.
	Failed(error)
}

const (
	// watchFirst and watchMax bound the pause before a watch that broke off is begun anew, and
	// watchSteady is how long one has to last for the next pause to be a short one.
	watchFirst  = 200 * time.Millisecond
	watchMax    = 20 * time.Second
	watchSteady = 30 * time.Second
	// watchShortest is how many seconds a watch lasts at least if nothing breaks it off; it is up to
	// twice as long, so that the watches of a fleet do not come in step.
	watchShortest = 300
)

// watcher watches one kind. It is a loop of its own and not client-go's reflector, because a fleet
// has tens of thousands of them and what a reflector keeps for each (three goroutines, buffers, a
// store) would outweigh everything else that the hub holds.
type watcher struct {
	client  *Client
	mapping Mapping
	sink    Sink
	// whole says that the kind has a status, so that metadata does not say whether objects are healthy.
	whole bool
	// version is that of the last event; empty: everything has to be asked for.
	version string
	// lists says that the cluster cannot send what is there as events.
	lists bool
}

// Watch tells the sink of all objects of a kind that carry an owner label, until ctx is done:
// metadata only, unless the kind has a status that says whether its objects are healthy. Failures
// show as reachability and conditions; here they are only tried again.
func (c *Client) Watch(ctx context.Context, m Mapping, sink Sink) {
	w := &watcher{client: c, mapping: m, sink: sink, whole: health.HasStatus(m.GVK.GroupKind())}
	for tries := 0; ctx.Err() == nil; tries++ {
		steady := &atomic.Bool{}
		timer := time.AfterFunc(watchSteady, func() { steady.Store(true) })
		err := w.once(ctx)
		timer.Stop()
		if err != nil && !errors.Is(err, io.EOF) && ctx.Err() == nil {
			w.sink.Failed(err)
		}
		switch {
		case expired(err):
			w.version = ""
		case w.version == "" && !w.lists && (apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)):
			w.lists, tries = true, -1
			continue
		case steady.Load():
			tries = -1
		}
		if !sleep(ctx, watchPause(tries)) {
			return
		}
	}
}

// once watches until the cluster ends it, which is no error, or something breaks it off.
func (w *watcher) once(ctx context.Context) error {
	if w.version == "" && w.lists {
		if err := w.list(ctx); err != nil {
			return err
		}
	}
	req := w.request().Param("watch", "true").Param("allowWatchBookmarks", "true").
		Param("timeoutSeconds", strconv.Itoa(watchShortest+rand.IntN(watchShortest))) //nolint:gosec // not a secret
	initial := w.version == ""
	if initial {
		w.sink.Listing()
		req = req.Param("sendInitialEvents", "true").Param("resourceVersionMatch", string(metav1.ResourceVersionMatchNotOlderThan))
	} else {
		req = req.Param("resourceVersion", w.version)
	}
	body, err := req.Stream(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	events := newEvents(body, w.whole)
	if initial {
		if err := w.listFrom(events); err != nil {
			return err
		}
	}
	return w.follow(events)
}

// listFrom takes what is there from the events at the beginning of a watch.
func (w *watcher) listFrom(events *events) error {
	var all []Seen
	for {
		e, err := events.next()
		switch {
		case err != nil:
			return err
		case e.kind == string(watch.Bookmark) && e.Metadata.Annotations[metav1.InitialEventsAnnotationKey] == "true":
			if v := e.Metadata.ResourceVersion; v == "" || !sane(v, 64) {
				return errNoList
			}
			w.version = e.Metadata.ResourceVersion
			w.sink.Listed(all)
			return nil
		case e.kind == string(watch.Added):
			if seen, ok := w.see(e); ok {
				all = append(all, seen)
			}
		}
		if len(all) > MaxObjects {
			return ErrTooMany
		}
	}
}

// follow takes changes until the watch ends.
func (w *watcher) follow(events *events) error {
	for {
		e, err := events.next()
		if err != nil {
			return err
		}
		seen, ok := w.see(e)
		switch {
		case !ok: // a bookmark, or what no API server would show
		case e.kind == string(watch.Added), e.kind == string(watch.Modified):
			w.sink.Changed(seen)
		case e.kind == string(watch.Deleted):
			w.sink.Deleted(seen)
		}
		if e.Metadata.ResourceVersion != "" && sane(e.Metadata.ResourceVersion, 64) {
			w.version = e.Metadata.ResourceVersion
		}
	}
}

// request asks for all objects of the kind that carry an owner label.
func (w *watcher) request() *rest.Request {
	accept := asMetadata
	if w.whole {
		accept = "application/json"
	}
	everywhere := w.mapping
	everywhere.Namespaced = false
	return w.client.rest.Get().AbsPath(everywhere.path("", "")...).MaxRetries(0).
		SetHeader("Accept", accept).Param("labelSelector", v1alpha1.OwnerLabel)
}

// see keeps of an object what matters. Most of its strings are the same on every cluster of a fleet
// and are kept once. It is false for what no API server would show as an object: without a name, or
// with one that is longer than any.
func (w *watcher) see(e *seenEvent) (Seen, bool) {
	m := &e.Metadata
	if e.kind == string(watch.Bookmark) || m.Name == "" || !sane(m.Name, 253) || !sane(m.Namespace, 63) ||
		!sane(m.Labels[v1alpha1.OwnerLabel], 63) || !sane(m.UID, 128) || !sane(m.ResourceVersion, 64) {
		return Seen{}, false
	}
	owner := one(e.Metadata.Labels[v1alpha1.OwnerLabel])
	policy, _ := object.PolicyOf(e.Metadata.Labels, e.Metadata.Annotations)
	fields := ReadFields(e.Metadata.ManagedFields, object.FieldManager(owner), policy.Mode == object.Merge)
	fields.Digest = one(fields.Digest)
	seen := Seen{
		ID:              object.ID{Group: w.mapping.GVK.Group, Kind: w.mapping.GVK.Kind, Namespace: one(e.Metadata.Namespace), Name: one(e.Metadata.Name)},
		Owner:           owner,
		UID:             e.Metadata.UID,
		ResourceVersion: e.Metadata.ResourceVersion,
		Fields:          fields,
		Policy:          policy,
		Terminating:     e.Metadata.DeletionTimestamp != nil,
		Health:          health.Status{Phase: health.Current},
	}
	seen.Keep = object.KeepOf(seen.ID, m.Labels, m.Annotations)
	switch {
	case w.whole:
		u := &unstructured.Unstructured{Object: e.content}
		u.SetGroupVersionKind(w.mapping.GVK)
		seen.Health = health.Of(u)
	case seen.Terminating:
		seen.Health = health.Deleting(m.Finalizers)
	}
	return seen, true
}

func one(s string) string { return unique.Make(s).Value() }

// expired says that the cluster no longer knows what came after a version.
func expired(err error) bool { return apierrors.IsGone(err) || apierrors.IsResourceExpired(err) }

// watchPause doubles from watchFirst to watchMax, and is spread to either side.
func watchPause(tries int) time.Duration {
	d := min(watchFirst<<min(max(tries, 0), 16), watchMax)
	return d/2 + rand.N(d) //nolint:gosec // not a secret
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
