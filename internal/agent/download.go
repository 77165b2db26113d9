package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/object"
)

// downloads fetches bundles. What has arrived of one when the link goes is kept: the next try asks for the
// rest, at the byte.
type downloads struct {
	bundles bundles
	// digest is that of the bundle of which parts are there, got its objects, and partial the beginning of the next.
	digest    string
	got       map[link.ObjectID][]byte
	partialID link.ObjectID
	partial   []byte
	size      int64 // of the object whose beginning partial is
	// notKept are bundles that neither the disk nor the memory had room for, and when they are fetched again.
	notKept map[string]time.Time
}

// fetch brings one bundle onto the disk, and returns it: the objects that no other bundle there has. The error wraps
// errRefused when what arrived does not have the digest, also after all of it was fetched anew.
func (d *downloads) fetch(ctx context.Context, g *gateway, e link.Enrollment, digest string) (*object.Bundle, error) {
	if g.now().Before(d.notKept[digest]) {
		return nil, errNotKept
	}
	m, err := manifest(ctx, g, e, digest)
	if err != nil {
		return nil, err
	}
	if d.digest != digest {
		*d = downloads{bundles: d.bundles, digest: digest, got: map[link.ObjectID][]byte{}, notKept: d.notKept}
	}
	there := d.bundles.find(m.Objects)
	bundle, err := d.complete(ctx, g, m, there)
	if wrong, ok := errors.AsType[*link.DigestMismatchError](err); ok && len(there) > 0 && ctx.Err() == nil {
		// Something that was there has the short name of another object, or was received wrong before.
		d.reset()
		if bundle, err = d.complete(ctx, g, m, nil); err != nil {
			err = errors.Join(wrong, err)
		}
	}
	if _, ok := errors.AsType[*link.DigestMismatchError](err); ok {
		d.reset()
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	if err != nil {
		return nil, err
	}
	d.reset()
	if err := d.bundles.put(digest, bundle); err != nil && !d.bundles.digests()[digest] {
		if d.notKept == nil {
			d.notKept = map[string]time.Time{}
		}
		d.notKept[digest] = g.now().Add(notKeptRetry)
		return nil, errNotKept
	}
	delete(d.notKept, digest)
	return bundle, nil
}

// notKeptRetry is how long a bundle is not fetched again that could not be kept: over a metered link each time is paid for.
const notKeptRetry = time.Hour

var (
	// errRefused: a manifest or an object that was downloaded is not the one that the hub signed.
	errRefused = errors.New("what was downloaded is refused")
	// errNotKept: there is no room for what was downloaded.
	errNotKept = errors.New("the agent's disk refuses the bundle, and there is no room for it in memory: free space on the disk, or give it a larger volume; the bundle is fetched again within an hour, or at once when the agent is restarted")
)

func (d *downloads) reset() {
	d.got, d.partial, d.partialID, d.size = map[link.ObjectID][]byte{}, nil, link.ObjectID{}, 0
	d.bundles.dropPart(d.digest)
}

func manifest(ctx context.Context, g *gateway, e link.Enrollment, digest string) (link.Manifest, error) {
	var m link.Manifest
	if err := g.call(ctx, http.MethodGet, link.BundlesPath+digest, nil, &m, link.MaxMessage); err != nil {
		return m, err
	}
	if m.Digest != digest || !link.Verify(e.HubKey, link.BundleTranscript(e.HubID, e.Cluster, m), m.Signature) {
		return m, fmt.Errorf("%w: the manifest of bundle %.80q is not signed by the hub", errRefused, digest)
	}
	return m, nil
}

// complete receives what is missing of a bundle, and puts it together.
func (d *downloads) complete(ctx context.Context, g *gateway, m link.Manifest, there map[link.ObjectID][]byte) (*object.Bundle, error) {
	has := func(id link.ObjectID) bool { return there[id] != nil || d.got[id] != nil }
	if missing := m.Missing(has); len(missing) > 0 {
		if err := d.receive(ctx, g, m, missing); err != nil {
			d.savePartial()
			return nil, err
		}
	}
	return m.Assemble(func(id link.ObjectID) ([]byte, bool) {
		body := d.got[id]
		if body == nil {
			body = there[id]
		}
		return body, body != nil
	})
}

// savePartial writes what has arrived to the disk, where it is worth a write.
func (d *downloads) savePartial() {
	size := 0
	for _, body := range d.got {
		size += len(body)
	}
	if size >= worthKeeping {
		d.bundles.putPart(d.digest, d.got)
	}
}

// worthKeeping is how much of a bundle that has not arrived as a whole is written down, in bytes.
const worthKeeping = 64 << 10

func (d *downloads) receive(ctx context.Context, g *gateway, m link.Manifest, missing link.ObjectIDs) error {
	w := link.Wanted{Bundle: m.Digest, Objects: missing}
	if d.partialID == missing[0] {
		w.From = int64(len(d.partial))
	} else {
		d.partial = nil
	}
	asked := make(map[link.ObjectID]bool, len(missing))
	for _, id := range missing {
		asked[id] = true
	}
	body, err := g.do(ctx, http.MethodPost, link.ObjectsPath, w)
	if err != nil {
		return err
	}
	defer body.Close()
	for {
		payload, err := link.ReadFrame(body, link.MaxMessage)
		switch {
		case errors.Is(err, io.EOF):
			return fmt.Errorf("bundle %.80q: the download was cut off", m.Digest)
		case err != nil:
			return fmt.Errorf("bundle %.80q: the download was cut off: %w", m.Digest, err)
		case len(payload) == 0:
			return nil
		}
		chunks, err := link.ParseChunks(payload)
		if err != nil {
			return err
		}
		for _, c := range chunks {
			if err := d.addChunk(m, asked, c); err != nil {
				return err
			}
		}
	}
}

// addChunk adds a chunk to what is there. Chunks of an object come in order.
func (d *downloads) addChunk(m link.Manifest, wanted map[link.ObjectID]bool, c link.Chunk) error {
	if c.Offset == 0 {
		d.partialID, d.partial, d.size = c.ID, nil, c.Size
	}
	switch {
	case !wanted[c.ID] || d.got[c.ID] != nil:
		return fmt.Errorf("bundle %.80q: an object came that was not asked for", m.Digest)
	case c.Size > m.Size:
		return fmt.Errorf("bundle %.80q: an object is larger than the whole", m.Digest)
	case c.ID != d.partialID || c.Offset != int64(len(d.partial)) || c.Offset != 0 && d.size != 0 && c.Size != d.size:
		d.partial, d.partialID, d.size = nil, link.ObjectID{}, 0
		return fmt.Errorf("bundle %.80q: the parts of an object are out of order", m.Digest)
	}
	d.partial, d.size = append(d.partial, c.Data...), c.Size
	if int64(len(d.partial)) < c.Size {
		return nil
	}
	whole := d.partial
	d.partial, d.partialID, d.size = nil, link.ObjectID{}, 0
	if link.IDOf(whole) != c.ID {
		return fmt.Errorf("%w: an object of bundle %.80q is not what its digest says", errRefused, m.Digest)
	}
	d.got[c.ID] = whole
	return nil
}
