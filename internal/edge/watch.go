package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"time"
	"unique"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/drift"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/sleep"
	"github.com/skerry-dev/skerry/internal/text"
)

// Observed is what a watch shows of one object: a few strings, whatever its size.
type Observed struct {
	ID              object.ID
	Owner           string
	UID             string
	ResourceVersion string
	Fields          drift.Fields
	Policy          object.Policy
	Terminating     bool
	Keep            object.Keep
	Health          health.Status
}

// WatchHandler takes what a watch sees. Its methods are called one after the other.
type WatchHandler interface {
	// Listing is called before the cluster is asked for all objects of the kind.
	Listing()
	// Listed replaces all that was seen of the kind.
	Listed(all []Observed)
	// Changed is called for an object that was added or changed.
	Changed(Observed)
	// Deleted is called for an object that is gone, or has lost its owner label.
	Deleted(Observed)
	// Progress is called for everything that the cluster sends, bookmarks included: at that moment it has
	// sent all changes up to the resource version.
	Progress(resourceVersion string)
	// Failed is called when a list or a watch failed; it is tried again.
	Failed(error)
}

var (
	// ErrBackwards means that the API server shows an older state than it did before: its store was
	// restored from a backup, or another cluster answers.
	ErrBackwards = errors.New("the resource version is lower than before: the cluster's store was restored from a backup")
	// ErrBrokenOff means that a watch ended before its time, as it does when the API server restarts or a
	// proxy connects to another one.
	ErrBrokenOff = errors.New("the watch ended before its time")
	// errSilent means that nothing came on a watch for so long that it counts as stuck.
	errSilent = errors.New("the watch sends nothing")
)

const (
	// watchFirst and watchMax bound the pause before a watch that broke off is begun anew, and
	// watchSteady is how long one has to last for the next pause to be a short one.
	watchFirst  = 200 * time.Millisecond
	watchMax    = 20 * time.Second
	watchSteady = 30 * time.Second
	// notReadyTries pauses of notReadyPause come first where the API server does not serve a kind yet:
	// the storage of a new definition is ready a moment after the definition is established.
	notReadyTries = 10
	notReadyPause = 100 * time.Millisecond
	// firstSilence bounds the wait for the next of the initial events, and laterSilence that for the
	// next event or bookmark after them: an API server sends a bookmark about once a minute.
	firstSilence = 10 * time.Second
	laterSilence = 3 * time.Minute
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
	handler WatchHandler
	// fullObject means that objects are read with spec and status, which their health is judged by, and not as metadata
	// alone.
	fullObject bool
	// namespace is the one that is watched; empty: all.
	namespace string
	// only is the one object that is watched, for an owner whose label it need not have; nil: all that
	// have one.
	only  *object.ID
	owner string
	// version is that of the last event; empty: everything has to be listed.
	version string
	// done means that the kind has been listed, so that what comes now are changes.
	done bool
	// highest is the highest version that the cluster has shown of the kind.
	highest uint64
	// lists means that the next attempt lists: the last one asked for initial events and failed, and
	// answered that it was the API server that failed it, not the network.
	lists, answered bool

	// tries counts the attempts since a watch lasted for long, listing means that the one under way lists, and begun is
	// when it, or its watch, was begun.
	tries   int
	listing bool
	begun   time.Time
	*stream // nil while nothing is watched
}

// stream is a watch that the cluster answers.
type stream struct {
	ctx    context.Context //nolint:containedctx // of its request
	cancel context.CancelCauseFunc
	// silence cancels it when nothing comes.
	silence *time.Timer
	// timeout is how long the cluster was asked to let it last.
	timeout time.Duration
	body    io.ReadCloser
	events  *events
}

// Watch passes to the handler all objects of a kind that carry an owner label, until ctx is done:
// metadata only, unless the kind has a status that reports whether its objects are healthy. Failures
// show as reachability and conditions; here they are only tried again.
//
// With a namespace it shows what is in that one, which asks for no right in any other.
func (c *Client) Watch(ctx context.Context, m Mapping, namespace string, handler WatchHandler) {
	c.Watcher(ctx, m, namespace, handler)()
}

// Watcher returns a function that does what Watch does.
func (c *Client) Watcher(ctx context.Context, m Mapping, namespace string, handler WatchHandler) func() {
	w := &watcher{client: c, mapping: m, namespace: namespace, handler: handler, fullObject: !m.Own && c.assessor.HasStatus(m.GVK.GroupKind())}
	return func() { w.run(ctx) }
}

// WatchObject passes to the handler one object, whatever its labels, as Watch does of all: as a full object, judged
// for an owner.
func (c *Client) WatchObject(ctx context.Context, m Mapping, id object.ID, owner string, handler WatchHandler) {
	w := &watcher{client: c, mapping: m, handler: handler, fullObject: true, only: &id, owner: owner}
	w.run(ctx)
}

// run watches until ctx is done.
//
// A hub has tens of thousands of watches, and nearly all of them are at rest: in run, which waits for the next event. Go
// halves the stack of a goroutine when less than a quarter of it is in use, so that one of 8 KiB becomes one of 4 while
// what waits has less than 1,248 bytes of frames. Half of that is net/http's. So run and wait are small, and what has
// large frames (begin, take, end: a decoder, requests, errors) returns before run waits.
func (w *watcher) run(ctx context.Context) {
	defer w.close()
	for ctx.Err() == nil {
		err := w.begin(ctx)
		for err == nil {
			if err = w.events.wait(); err == nil {
				err = w.take()
			}
		}
		if !w.end(ctx, err) {
			return
		}
	}
}

// begin lists, where that is due, and begins a watch.
//
//go:noinline // or its frame would be part of run's
func (w *watcher) begin(ctx context.Context) error {
	w.begun = now()
	w.done = w.version != ""
	w.listing = !w.done && (w.lists || w.client.noWatchList.Load())
	initial := !w.done
	if w.listing {
		if err := w.list(ctx); err != nil {
			return err
		}
		if w.answered { // the initial events failed, and a list did not
			w.client.listsFromNowOn()
		}
		w.lists, w.answered = false, false
		initial = false
	}
	return w.open(ctx, initial)
}

// end ends an attempt, and pauses before the next one. It is false when ctx is done.
//
//go:noinline // or its frame would be part of run's
func (w *watcher) end(ctx context.Context, err error) bool {
	err = w.outcome(err)
	w.close()
	if !errors.Is(err, io.EOF) && ctx.Err() == nil {
		w.handler.Failed(err)
	}
	if errors.Is(err, errSilent) && w.done {
		w.tries++
		return true // from the last version on
	}
	if expired(err) {
		w.version = ""
	}
	if !w.done { // neither a list nor the initial events came to their end
		w.lists, w.answered = !w.listing, !w.listing && answered(err)
		if w.lists && refusesInitialEvents(err) {
			w.tries++
			return true
		}
	}
	if now().Sub(w.begun) >= watchSteady {
		w.tries = -1
	}
	w.tries++
	return sleep.For(ctx, watchBackoff(w.tries-1, apierror.KindGone(err) || apierrors.IsTooManyRequests(err))) == nil
}

// outcome returns why an attempt ended.
func (w *watcher) outcome(err error) error {
	if w.stream == nil {
		return err
	}
	err = cause(w.stream.ctx, err)
	if w.events != nil && w.done && errors.Is(err, io.EOF) && now().Sub(w.begun) < w.timeout-5*time.Second {
		return fmt.Errorf("%w: %w", ErrBrokenOff, io.ErrUnexpectedEOF) // the cluster has not had the time that was asked for
	}
	return err
}

// close gives up the watch, if there is one.
func (w *watcher) close() {
	if w.stream == nil {
		return
	}
	w.silence.Stop()
	if w.body != nil {
		w.events.end()
		_ = w.body.Close()
	}
	w.cancel(nil)
	w.stream = nil
}

func now() time.Time { return time.Now() } //nolint:forbidigo // how long a watch lasts needs the time

// refusesInitialEvents reports whether an error may be the API server's way to answer that it cannot send
// what is there as events: it is one where a list is worth an attempt at once.
func refusesInitialEvents(err error) bool {
	return err != nil && !apierror.KindGone(err) && !apierrors.IsTooManyRequests(err) && !apierrors.IsForbidden(err) && !apierrors.IsUnauthorized(err) &&
		!errors.Is(err, ErrTooMany) && !errors.Is(err, ErrTooLarge)
}

// answered reports whether initial events failed by what the API server answered, or did not get to their
// end though the connection lives. Who may list and not watch has learnt nothing about the cluster.
func answered(err error) bool {
	var status apierrors.APIStatus
	return !apierrors.IsForbidden(err) && errors.As(err, &status) || errors.Is(err, errSilent) || errors.Is(err, ErrBrokenOff) || errors.Is(err, errNoList)
}

// open begins a watch, and takes the initial events where it is to.
func (w *watcher) open(ctx context.Context, initial bool) error {
	timeout := watchShortest + rand.IntN(watchShortest) //nolint:gosec // not a secret
	req := w.request().Param("watch", "true").Param("allowWatchBookmarks", "true").Param("timeoutSeconds", strconv.Itoa(timeout))
	if initial {
		w.handler.Listing()
		req = req.Param("sendInitialEvents", "true").Param("resourceVersionMatch", string(metav1.ResourceVersionMatchNotOlderThan))
	} else {
		req = req.Param("resourceVersion", w.version)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	s := &stream{ctx: ctx, cancel: cancel, timeout: time.Duration(timeout) * time.Second}
	s.silence = time.AfterFunc(w.client.firstSilence, func() { cancel(errSilent) })
	w.stream, w.begun = s, now()
	body, err := req.Stream(ctx)
	if err != nil {
		return err
	}
	s.body, s.events = body, newEvents(ctx, w.client.budget, body, w.fullObject)
	if initial {
		s.events.onEvent = func() { s.silence.Reset(w.client.firstSilence) }
		if err := w.listFrom(s.events); err != nil {
			return err
		}
	}
	s.silence.Reset(w.client.laterSilence)
	s.events.onEvent = func() { s.silence.Reset(w.client.laterSilence) }
	return nil
}

// cause returns why a request was cancelled, where it was, and else the error.
func cause(ctx context.Context, err error) error {
	if why := context.Cause(ctx); why != nil {
		return why
	}
	return err
}

// listFrom takes what is there from the events at the beginning of a watch.
func (w *watcher) listFrom(events *events) error {
	var all []Observed
	defer func() { w.client.budget.removeObjects(len(all)) }()
	for {
		e, err := events.next()
		switch {
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%w before its initial events were there: %w", ErrBrokenOff, io.ErrUnexpectedEOF)
		case err != nil:
			return err
		case e.kind == string(watch.Bookmark) && e.Metadata.Annotations[metav1.InitialEventsAnnotationKey] == "true":
			if v := e.Metadata.ResourceVersion; v == "" || !text.IsPrintable(v, 64) {
				return errNoList
			}
			w.listed(all, e.Metadata.ResourceVersion)
			return nil
		case e.kind == string(watch.Added):
			if seen, ok := w.observe(e); ok {
				all = append(all, seen)
				if err := w.client.budget.addObject(); err != nil {
					return err
				}
			}
		}
	}
}

// listed hands over all objects of the kind as of a version.
func (w *watcher) listed(all []Observed, version string) {
	backwards := w.backwards(version)
	w.version, w.highest, w.done = version, 0, true
	w.note(version)
	w.handler.Progress(version)
	w.handler.Listed(all)
	if backwards {
		w.handler.Failed(ErrBackwards)
	}
}

// note keeps the highest version.
func (w *watcher) note(version string) {
	if n, err := strconv.ParseUint(version, 10, 64); err == nil {
		w.highest = max(w.highest, n)
	}
}

// backwards reports whether a version is lower than one that the cluster has shown before.
func (w *watcher) backwards(version string) bool {
	n, err := strconv.ParseUint(version, 10, 64)
	return err == nil && n < w.highest
}

// take takes the change that has come.
//
//go:noinline // or its frame would be part of run's
func (w *watcher) take() error {
	e, err := w.events.next()
	if err != nil {
		return err
	}
	version := e.Metadata.ResourceVersion
	if version != "" && w.backwards(version) {
		w.version = ""
		return ErrBackwards
	}
	seen, ok := w.observe(e)
	switch {
	case !ok: // a bookmark, or what no API server would show
	case e.kind == string(watch.Added), e.kind == string(watch.Modified):
		w.handler.Changed(seen)
	case e.kind == string(watch.Deleted):
		w.handler.Deleted(seen)
	}
	if version != "" && text.IsPrintable(version, 64) {
		w.version = version
		w.note(version)
		w.handler.Progress(version)
	}
	return nil
}

// request asks for all objects of the kind that carry an owner label.
func (w *watcher) request() *rest.Request {
	accept := asMetadata
	if w.fullObject {
		accept = "application/json"
	}
	if w.mapping.Own {
		return w.client.rest.Get().AbsPath(configMaps).MaxRetries(0).SetHeader("Accept", accept).Param("labelSelector", v1alpha1.PartLabel)
	}
	if w.only != nil {
		return w.client.rest.Get().AbsPath(w.mapping.path(w.only.Namespace, "")...).MaxRetries(0).
			SetHeader("Accept", accept).Param("fieldSelector", "metadata.name="+w.only.Name)
	}
	return w.client.rest.Get().AbsPath(w.mapping.within(w.namespace)...).MaxRetries(0).
		SetHeader("Accept", accept).Param("labelSelector", v1alpha1.OwnerLabel)
}

// observe keeps of an object what matters. Most of its strings are the same on every cluster of a fleet
// and are kept once. It is false for what no API server would show as an object: without a name, or
// with one that is longer than any.
func (w *watcher) observe(e *seenEvent) (Observed, bool) {
	m := &e.Metadata
	if e.kind == string(watch.Bookmark) || m.Name == "" || !text.IsPrintable(m.Name, maxName) || !text.IsPrintable(m.Namespace, 63) ||
		!text.IsPrintable(m.Labels[v1alpha1.OwnerLabel], 63) || !text.IsPrintable(m.UID, 128) || !text.IsPrintable(m.ResourceVersion, 64) {
		return Observed{}, false
	}
	if w.namespace != "" && m.Namespace != w.namespace {
		return Observed{}, false // not what was asked for
	}
	if w.only != nil && (m.Name != w.only.Name || m.Namespace != w.only.Namespace) {
		return Observed{}, false // not what was asked for
	}
	owner := one(e.Metadata.Labels[v1alpha1.OwnerLabel])
	policy, _ := object.PolicyOf(e.Metadata.Labels, e.Metadata.Annotations)
	id := object.ID{Group: w.mapping.GVK.Group, Kind: w.mapping.GVK.Kind, Namespace: one(e.Metadata.Namespace), Name: one(e.Metadata.Name)}
	manager := object.FieldManager(owner)
	fields := drift.ReadFields(e.Metadata.ManagedFields, manager, policy.Mode == object.Merge, w.client.Ignored(manager, id))
	fields.Digest, fields.Yielded = one(fields.Digest), one(fields.Yielded)
	seen := Observed{
		ID:              id,
		Owner:           owner,
		UID:             e.Metadata.UID,
		ResourceVersion: e.Metadata.ResourceVersion,
		Fields:          fields,
		Policy:          policy,
		Terminating:     e.Metadata.DeletionTimestamp != "",
		Health:          health.Status{Phase: health.Current},
	}
	seen.Keep = object.KeepOf(seen.ID, m.Labels, m.Annotations)
	switch {
	case w.fullObject:
		u := &unstructured.Unstructured{Object: e.content}
		u.SetGroupVersionKind(w.mapping.GVK)
		assessedFor := owner
		if w.only != nil {
			assessedFor = w.owner
		}
		seen.Health = w.client.assessor.Health(assessedFor, u, e.addManagedFields)
	case seen.Terminating:
		seen.Health = health.Deleting(m.Finalizers)
	}
	return seen, true
}

func one(s string) string { return unique.Make(s).Value() }

// expired means that the cluster no longer knows what came after a version, or does not know the version
// yet, as after a restore.
func expired(err error) bool {
	return apierrors.IsGone(err) || apierrors.IsResourceExpired(err) || apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}

// watchBackoff doubles from watchFirst to watchMax, and is spread to either side. It is short at first
// where the API server does not serve the kind yet.
func watchBackoff(tries int, notReady bool) time.Duration {
	d := notReadyPause
	if n := max(tries, 0); !notReady || n >= notReadyTries {
		if notReady {
			n -= notReadyTries
		}
		d = min(watchFirst<<min(n, 16), watchMax)
	}
	return d/2 + rand.N(d) //nolint:gosec // not a secret
}
