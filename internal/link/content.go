package link

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/skerry-dev/skerry/internal/object"
)

// ObjectID names the body of an object by the first eight bytes of its SHA-256: enough to find what is there already,
// and 500 of them cost 4 KB. What was put together is verified by the digest of the whole.
type ObjectID [8]byte

func (id ObjectID) String() string { return hex.EncodeToString(id[:]) }

// IDOf returns the name of a body.
func IDOf(body []byte) ObjectID {
	sum := sha256.Sum256(body)
	return ObjectID(sum[:8])
}

// ObjectIDs are one string in JSON.
type ObjectIDs []ObjectID

// MarshalJSON writes base64.
func (ids ObjectIDs) MarshalJSON() ([]byte, error) {
	raw := make([]byte, 0, len(ids)*len(ObjectID{}))
	for _, id := range ids {
		raw = append(raw, id[:]...)
	}
	return json.Marshal(base64.StdEncoding.EncodeToString(raw))
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (ids *ObjectIDs) UnmarshalJSON(data []byte) error {
	var raw []byte
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	size := len(ObjectID{})
	if len(raw)%size != 0 {
		return errors.New("the list of objects is cut off")
	}
	*ids = make(ObjectIDs, 0, len(raw)/size)
	for ; len(raw) > 0; raw = raw[size:] {
		*ids = append(*ids, ObjectID(raw))
	}
	return nil
}

// Manifest describes a bundle: its content by digest, and its objects by their short digests.
type Manifest struct {
	// Digest by which the Assignment names the bundle.
	Digest string `json:"digest"`
	// Content is "sha256:" and the digest of the encoded bundle; the same as Digest, but for one that is Confidential.
	Content string `json:"content"`
	// Confidential is true for a bundle that is to be sealed on disk.
	Confidential bool `json:"confidential,omitempty"`
	// Size of the encoded bundle in bytes.
	Size int64 `json:"size"`
	// Objects in their order, and what is to be hidden of them (object.Bundle.Lines).
	Objects ObjectIDs `json:"objects"`
	// Signature is that of the hub over BundleTranscript.
	Signature []byte `json:"signature"`
}

// NewManifest returns the manifest of a bundle that an Assignment names by the digest, without a signature.
func NewManifest(digest string, b *object.Bundle) Manifest {
	lines := b.Lines()
	m := Manifest{Digest: digest, Content: b.Digest(), Confidential: b.Confidential, Size: int64(b.Size()), Objects: make(ObjectIDs, 0, len(lines))}
	for _, line := range lines {
		m.Objects = append(m.Objects, IDOf(line))
	}
	return m
}

// Assemble puts the bundle together. body returns what is there of an object. It fails when one is missing, or when
// the bundle does not have the digest: then a stored object is damaged, and all objects are fetched again.
func (m Manifest) Assemble(body func(ObjectID) ([]byte, bool)) (*object.Bundle, error) {
	if !m.Confidential && m.Content != m.Digest {
		return nil, fmt.Errorf("the manifest of bundle %.80q is for another content", m.Digest)
	}
	var encoded bytes.Buffer
	for _, id := range m.Objects {
		data, there := body(id)
		if !there {
			return nil, fmt.Errorf("object %s of bundle %.80q is missing", id, m.Digest)
		}
		if int64(encoded.Len()+len(data)) > m.Size {
			return nil, fmt.Errorf("bundle %.80q is larger than its manifest says", m.Digest)
		}
		encoded.Write(data)
		encoded.WriteByte('\n')
	}
	sum := sha256.Sum256(encoded.Bytes())
	if got := "sha256:" + hex.EncodeToString(sum[:]); got != m.Content {
		return nil, &DigestMismatchError{Bundle: m.Digest, Want: m.Content, Got: got}
	}
	b, err := object.DecodeBundle(encoded.Bytes())
	if err != nil {
		return nil, err
	}
	b.Confidential = m.Confidential || b.HoldsSecret()
	return &b, nil
}

// DigestMismatchError is returned for content that does not have the digest in its manifest.
type DigestMismatchError struct {
	// Bundle is how the Assignment names it.
	Bundle    string
	Want, Got string
}

func (e *DigestMismatchError) Error() string {
	return fmt.Sprintf("bundle %.80q: the content has digest %s, not %.80s", e.Bundle, e.Got, e.Want)
}

// Missing returns the objects that are not there, each once, in the order of the manifest.
func (m Manifest) Missing(has func(ObjectID) bool) ObjectIDs {
	var missing ObjectIDs
	seen := make(map[ObjectID]bool, len(m.Objects))
	for _, id := range m.Objects {
		if !seen[id] && !has(id) {
			missing = append(missing, id)
		}
		seen[id] = true
	}
	return missing
}

// Wanted asks for objects of a bundle. They come in the order asked for, each as one or more chunks.
type Wanted struct {
	// Bundle is the digest of one that the Assignment names.
	Bundle string `json:"bundle"`
	// Objects to send; all when empty.
	Objects ObjectIDs `json:"objects,omitempty"`
	// From is how many bytes of the first object are there already.
	From int64 `json:"from,omitempty"`
}

// Chunk is a part of the body of an object.
type Chunk struct {
	ID ObjectID
	// Size of the whole body, and Offset of the part in it.
	Size, Offset int64
	Data         []byte
}

// AppendChunk appends a chunk to the payload of a frame, which holds one or more, so that small objects are compressed
// together. The frame after the last chunk is empty: without it the answer was cut off.
func AppendChunk(to []byte, c Chunk) []byte {
	to = append(to, c.ID[:]...)
	to = binary.AppendUvarint(to, uint64(c.Size))
	to = binary.AppendUvarint(to, uint64(c.Offset))
	to = binary.AppendUvarint(to, uint64(len(c.Data)))
	return append(to, c.Data...)
}

var errMalformedChunk = errors.New("a chunk is malformed")

// ParseChunks reads what AppendChunk wrote. Data aliases the payload.
func ParseChunks(payload []byte) ([]Chunk, error) {
	var chunks []Chunk
	for len(payload) > 0 {
		c, rest, err := parseChunk(payload)
		if err != nil {
			return nil, err
		}
		chunks, payload = append(chunks, c), rest
	}
	return chunks, nil
}

func parseChunk(payload []byte) (Chunk, []byte, error) {
	var c Chunk
	if len(payload) < len(c.ID) {
		return c, nil, errMalformedChunk
	}
	copy(c.ID[:], payload)
	payload = payload[len(c.ID):]
	var numbers [3]uint64 // size, offset, length
	for i := range numbers {
		n, width := binary.Uvarint(payload)
		if width <= 0 {
			return c, nil, errMalformedChunk
		}
		numbers[i], payload = n, payload[width:]
	}
	size, offset, length := numbers[0], numbers[1], numbers[2]
	if size > MaxMessage || offset > size || length > size-offset || length > MaxChunk || length > uint64(len(payload)) {
		return c, nil, errMalformedChunk
	}
	c.Size, c.Offset, c.Data = int64(size), int64(offset), payload[:length]
	return c, payload[length:], nil
}
