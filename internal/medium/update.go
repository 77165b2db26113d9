package medium

import (
	"bufio"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/object"
)

// Update is what the hub wants on a cluster.
type Update struct {
	// HubVersion is the version of the hub.
	HubVersion string `json:"hubVersion,omitempty"`
	// Settings of the Cluster.
	Settings link.Settings `json:"settings"`
	// Assignment holds all entries: what leads an agent there that has none.
	Assignment link.Assignment `json:"assignment"`
	// Bundles are those that follow, in their order. The signature of the whole stands for theirs.
	Bundles []link.Manifest `json:"bundles,omitempty"`
}

// batchSize is how much of a bundle goes into one record, so that small objects are compressed together.
const batchSize = 64 << 10

func notSigned() error {
	return refused(v1alpha1.MediumNotSignedReason, "the file is not signed by whom it says it is from")
}

// WriteUpdate writes an update of the hub for the agent with the public key. bundle returns what the manifests of the
// update are of.
func WriteUpdate(to io.Writer, l Label, u Update, hubKey ed25519.PrivateKey, agentKey []byte, bundle func(digest string) (*object.Bundle, error)) error {
	message, err := json.Marshal(u)
	if err != nil {
		return fmt.Errorf("cannot encode the update: %w", err)
	}
	l.Kind = KindUpdate
	s, err := seal(to, l, agentKey, message, hubKey)
	if err != nil {
		return err
	}
	for _, m := range u.Bundles {
		b, err := bundle(m.Digest)
		if err != nil {
			return err
		}
		if err := s.writeBundle(b); err != nil {
			return err
		}
	}
	return s.write(nil, true)
}

// writeBundle writes the objects of a bundle, each once.
func (s *sealer) writeBundle(b *object.Bundle) error {
	var batch []byte
	written := make(map[link.ObjectID]bool, len(b.Objects))
	for i := range b.Objects {
		body := b.Objects[i].Body
		id := link.IDOf(body)
		if written[id] {
			continue
		}
		written[id] = true
		for offset := 0; offset < len(body); {
			n := min(len(body)-offset, link.MaxChunk)
			batch = link.AppendChunk(batch, link.Chunk{ID: id, Size: int64(len(body)), Offset: int64(offset), Data: body[offset : offset+n]})
			offset += n
			if len(batch) >= batchSize {
				if err := s.write(batch, false); err != nil {
					return err
				}
				batch = batch[:0]
			}
		}
	}
	if len(batch) == 0 {
		return nil
	}
	return s.write(batch, false)
}

// Edge is the agent that reads an update.
type Edge struct {
	// Hub is the identity of its hub, HubKey the public key that it has pinned.
	Hub    string
	HubKey []byte
	// Cluster is "namespace/name" on the hub.
	Cluster string
	// Key is the one with which the agent has joined.
	Key ed25519.PrivateKey
}

// UpdateReader reads an update whose label and signature are right.
type UpdateReader struct {
	Label  Label
	Update Update

	o    *opener
	next int // of Update.Bundles
}

// OpenUpdate begins to read an update. What follows may still be damaged: nothing is to be done until Next has returned
// io.EOF once.
func OpenUpdate(from io.Reader, e Edge) (*UpdateReader, error) {
	in := bufio.NewReader(from)
	l, line, err := ReadLabel(in)
	if err != nil {
		return nil, err
	}
	public, ok := e.Key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("the agent has no key")
	}
	if err := l.check(KindUpdate, e.Hub, e.Cluster, public); err != nil {
		return nil, err
	}
	o, message, err := open(in, line, e.Key, e.HubKey)
	if err != nil {
		return nil, err
	}
	r := &UpdateReader{Label: l, o: o}
	if err := json.Unmarshal(message, &r.Update); err != nil {
		return nil, refused(v1alpha1.MediumUnsupportedReason, "the update cannot be read, though it is whole: upgrade the agent, or the hub")
	}
	if !link.Verify(e.HubKey, link.AssignmentTranscript(e.Hub, e.Cluster, r.Update.Assignment), r.Update.Assignment.Signature) {
		return nil, notSigned()
	}
	return r, nil
}

// Next returns the next bundle and the digest by which the Assignment names it, or io.EOF at the end of a file that is
// whole. It holds one bundle at a time.
func (r *UpdateReader) Next() (digest string, b *object.Bundle, err error) {
	if r.next == len(r.Update.Bundles) {
		payload, err := r.o.read()
		if err == nil && (len(payload) > 0 || !r.o.ended) {
			err = damaged()
		}
		if err != nil {
			return "", nil, err
		}
		return "", nil, io.EOF
	}
	m := r.Update.Bundles[r.next]
	r.next++
	bodies, err := r.bodies(m)
	if err != nil {
		return "", nil, err
	}
	b, err = m.Assemble(func(id link.ObjectID) ([]byte, bool) { body, there := bodies[id]; return body, there })
	if err != nil {
		return "", nil, damaged()
	}
	return m.Digest, b, nil
}

// bodies reads the records of one bundle.
func (r *UpdateReader) bodies(m link.Manifest) (map[link.ObjectID][]byte, error) {
	missing := make(map[link.ObjectID]bool, len(m.Objects))
	for _, id := range m.Objects {
		missing[id] = true
	}
	bodies := make(map[link.ObjectID][]byte, len(missing))
	for size := int64(0); len(missing) > 0; {
		payload, err := r.o.read()
		if errors.Is(err, io.EOF) {
			return nil, damaged()
		}
		if err != nil {
			return nil, err
		}
		chunks, err := link.ParseChunks(payload)
		if err != nil || len(chunks) == 0 {
			return nil, damaged()
		}
		for _, c := range chunks {
			if size += int64(len(c.Data)); !missing[c.ID] || c.Offset != int64(len(bodies[c.ID])) || size > m.Size {
				return nil, damaged()
			}
			if bodies[c.ID] = append(bodies[c.ID], c.Data...); int64(len(bodies[c.ID])) == c.Size {
				delete(missing, c.ID)
			}
		}
	}
	return bodies, nil
}
