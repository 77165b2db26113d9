package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/json/jsontext"
	"errors"
	"fmt"
	"io"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/skerry-dev/skerry/internal/object"
)

// maxEvent bounds one event of a watch, and one object of a list, in bytes. An API server takes objects of up to 3 MiB.
const maxEvent = 4 << 20

// seenEvent is one event of a watch, or one object of a list.
type seenEvent struct {
	kind     string
	Metadata metadata
	content  map[string]any // the object, where not only its metadata was asked for
}

// read reads the object from its text.
func (e *seenEvent) read(raw []byte, fullObject bool) (err error) {
	d := newDecoder(bytes.NewReader(raw))
	defer d.release()
	if fullObject {
		e.content, err = d.content(&e.Metadata)
	} else {
		err = d.object(&e.Metadata)
	}
	if err != nil {
		return fmt.Errorf("cannot read an object of a watch: %w", err)
	}
	return nil
}

// addManagedFields adds the managed fields to the content.
func (e *seenEvent) addManagedFields() {
	of, _ := e.content["metadata"].(map[string]any)
	if of == nil || e.Metadata.managedFields == nil {
		return
	}
	d := newDecoder(bytes.NewReader(e.Metadata.managedFields))
	defer d.release()
	if all, err := d.value(); err == nil { // it has been read once
		of["managedFields"] = all
	}
}

// events reads the events of a watch. Between two events it holds next to nothing.
type events struct {
	body       *eventReader
	decoder    *decoder // nil between two events, unless the next one has begun to come
	fullObject bool
	onEvent    func() // called after each event; nil for none
}

func newEvents(ctx context.Context, b *budget, body io.Reader, fullObject bool) *events {
	return &events{body: &eventReader{ctx: ctx, from: body, reservation: &reservation{budget: b}}, fullObject: fullObject}
}

// end releases what the last event reserved.
func (e *events) end() { e.body.reservation.release() }

// wait returns when the next event has begun to come. What the last one reserved is released. It holds no buffer and has a
// small frame, as run wants it.
func (e *events) wait() error {
	b := e.body
	if b.begun {
		return nil
	}
	b.left = maxEvent
	b.reservation.release()
	for e.decoder == nil && !b.begun {
		n, err := b.from.Read(b.first[:])
		switch {
		case n > 0 && isSpace(b.first[0]): // between two events
			if b.left--; b.left <= 0 {
				return ErrTooLarge
			}
		case n > 0:
			b.begun = true
		case err != nil:
			return err
		}
	}
	return nil
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// next waits for the next event. The end of the watch is io.EOF, what the cluster reports against it an
// error as its other answers give it.
func (e *events) next() (*seenEvent, error) {
	if err := e.wait(); err != nil {
		return nil, err
	}
	if e.decoder == nil {
		e.decoder = newDecoder(e.body)
	}
	seen := &seenEvent{}
	status, err := e.read(seen)
	switch {
	case err != nil && e.body.err != nil && !errors.Is(e.body.err, io.EOF):
		return nil, e.body.err
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	case err != nil:
		return nil, err
	case seen.kind == string(watch.Error) && status == nil:
		return nil, errNoStatus
	case status != nil:
		return nil, &apierrors.StatusError{ErrStatus: *status}
	}
	if len(bytes.TrimSpace(e.decoder.json.UnreadBuffer())) == 0 {
		e.decoder.release()
		e.decoder = nil
	}
	if e.onEvent != nil {
		e.onEvent()
	}
	return seen, nil
}

var errNoStatus = fmt.Errorf("%w: an error of a watch has no status", ErrNotAPI)

// read reads an event, and of one that reports an error its Status. The object is decoded when all of it is there, and
// under its reservation if it is large: what many kinds have sent a part of would be many times as large as the parts.
func (e *events) read(seen *seenEvent) (status *metav1.Status, err error) {
	var early jsontext.Value // the object, where it comes before the type
	err = e.decoder.members(func(name []byte) error {
		switch string(name) {
		case `"type"`:
			return e.decoder.text(&seen.kind)
		case `"object"`:
			raw, err := e.decoder.json.ReadValue()
			switch {
			case err != nil:
				return err
			case seen.kind == "":
				early = raw.Clone()
				return nil
			}
			status, err = e.object(seen, raw)
			return err
		}
		return e.decoder.json.SkipValue()
	})
	if err == nil && early != nil {
		status, err = e.object(seen, early)
	}
	return status, err
}

func (e *events) object(seen *seenEvent, raw []byte) (*metav1.Status, error) {
	if seen.kind != string(watch.Error) {
		return nil, seen.read(raw, e.fullObject && seen.kind != string(watch.Bookmark))
	}
	status := &metav1.Status{}
	return status, json.Unmarshal(raw, status)
}

// eventReader reads one event after the other, and ends with an error when one is too large.
type eventReader struct {
	ctx         context.Context //nolint:containedctx // of the watch, whose end ends the wait for the reservation
	from        io.Reader
	left        int
	reservation *reservation // of the event that is being read
	err         error        // why nothing more comes
	first       [1]byte      // of the next event, where it has begun
	begun       bool
}

func (b *eventReader) Read(p []byte) (n int, err error) {
	defer func() { b.err = err }()
	if b.left <= 0 {
		return 0, ErrTooLarge
	}
	if b.begun {
		b.begun = false
		n = copy(p, b.first[:])
	} else {
		n, err = b.from.Read(p[:min(len(p), b.left)])
	}
	b.left -= n
	if n > 0 {
		if err := b.reservation.add(b.ctx, n); err != nil {
			return 0, err
		}
	}
	return n, err
}

var errNoList = fmt.Errorf("%w: the answer is not a list", ErrNotAPI)

// listPage is how many objects are asked for at a time.
const listPage = 500

// maxPages bounds the pages of one list: an API server fills each but the last, so that twice as many as
// MaxObjects take are more than any that means well needs.
const maxPages = 2 * MaxObjects / listPage

// list asks for all objects of the kind, for a cluster that cannot send them as events. It asks for
// them as of now: a list as old as the API server's cache would show what was applied since as
// deleted.
func (w *watcher) list(ctx context.Context) error {
	w.handler.Listing()
	var all []Observed
	version := ""
	err := w.pages(ctx, func(p *page, e *seenEvent) {
		version = p.Metadata.ResourceVersion
		if e == nil {
			return
		}
		if seen, ok := w.observe(e); ok {
			all = append(all, seen)
		}
	})
	if err != nil {
		return err
	}
	w.listed(all, version)
	return nil
}

// pages reads a list page by page and calls the function for each object, and once for a page that has
// none.
func (w *watcher) pages(ctx context.Context, take func(*page, *seenEvent)) error {
	next, objects := "", 0
	defer func() { w.client.budget.removeObjects(objects) }()
	for n := 1; ; n++ {
		reserved, release := w.client.budget.withReservation(ctx)
		page, err := w.page(reserved, next)
		if err != nil {
			release()
			return err
		}
		if len(page.Items) == 0 {
			take(page, nil)
		}
		for i, raw := range page.Items {
			e := &seenEvent{}
			objects++
			err := w.client.budget.addObject()
			switch {
			case err != nil:
			case len(raw) > maxEvent:
				err = ErrTooLarge
			default:
				err = e.read(raw, w.fullObject)
			}
			if err != nil {
				release()
				return err
			}
			take(page, e)
			page.Items[i] = nil
		}
		release()
		if n > maxPages {
			return ErrTooMany
		}
		if next = page.Metadata.Continue; next == "" {
			return nil
		}
	}
}

type page struct {
	Kind     string            `json:"kind"`
	Metadata metav1.ListMeta   `json:"metadata"`
	Items    []json.RawMessage `json:"items"`
}

func (w *watcher) page(ctx context.Context, next string) (*page, error) {
	ctx, cancel := context.WithTimeout(ctx, w.client.timeout)
	defer cancel()
	req := w.request().Param("limit", fmt.Sprint(listPage))
	if !w.fullObject {
		req = req.SetHeader("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
	}
	if next != "" {
		req = req.Param("continue", next)
	}
	raw, err := rawOf(req.Do(ctx))
	if err != nil {
		return nil, err
	}
	if listEntries(raw) > MaxObjects {
		return nil, ErrTooMany
	}
	p := &page{}
	if err := json.Unmarshal(raw, p); err != nil {
		return nil, fmt.Errorf("cannot read a list: %w", err)
	}
	if !strings.HasSuffix(p.Kind, "List") || p.Metadata.ResourceVersion == "" {
		return nil, errNoList // anything else would pass for an empty one, and everything for deleted
	}
	return p, nil
}

// Version is one object as a list of metadata shows it.
type Version struct {
	ID              object.ID
	UID             string
	ResourceVersion string
}

// Versions lists what there is of a kind with an owner label, in one namespace or in all, as of now, and returns the resource
// version of the list. It is how the cluster is asked whether a watch has reported everything.
func (c *Client) Versions(ctx context.Context, m Mapping, namespace string) ([]Version, string, error) {
	w := &watcher{client: c, mapping: m, namespace: namespace}
	var all []Version
	version := ""
	err := w.pages(ctx, func(p *page, e *seenEvent) {
		version = p.Metadata.ResourceVersion
		if e == nil {
			return
		}
		if seen, ok := w.observe(e); ok {
			all = append(all, Version{ID: seen.ID, UID: seen.UID, ResourceVersion: seen.ResourceVersion})
		}
	})
	return all, version, err
}
