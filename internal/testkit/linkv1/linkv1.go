// Package linkv1 is the first version of what agents and the hub's gateway send one another: each message as it was
// sent, what is signed, and how it is framed. Agents in the field send it for years, so that nothing of it is ever
// changed, and none of it is made by package link: tests replay it against the ends of today.
package linkv1

import (
	"bytes"
	"compress/flate"
	"crypto/ed25519"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

//go:embed testdata/*.json
var messages embed.FS

// Values are what stands in a message in place of "$name". Bytes are written in base64.
type Values map[string]any

// Message returns a message as it was sent: the file of the name, with values in their places.
func Message(name string, values Values) ([]byte, error) {
	data, err := messages.ReadFile("testdata/" + name + ".json")
	if err != nil {
		return nil, err
	}
	text := strings.TrimSpace(string(data))
	for key, value := range values {
		encoded, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		if !strings.Contains(text, `"$`+key+`"`) {
			return nil, fmt.Errorf("message %s has no %s", name, key)
		}
		text = strings.ReplaceAll(text, `"$`+key+`"`, string(encoded))
	}
	if at := strings.Index(text, `"$`); at >= 0 {
		return nil, fmt.Errorf("message %s wants a value for %.20s", name, text[at:])
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(text)); err != nil {
		return nil, err
	}
	return compact.Bytes(), nil
}

const deflated = 1 << 31

// Frame frames a payload: its length in four bytes, with the upper bit for one that is deflated.
func Frame(payload []byte) ([]byte, error) {
	head := uint32(len(payload))
	if len(payload) >= 256 {
		var small bytes.Buffer
		w, err := flate.NewWriter(&small, flate.BestCompression)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(payload); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		if small.Len() < len(payload) {
			payload, head = small.Bytes(), uint32(small.Len())|deflated
		}
	}
	return append(binary.BigEndian.AppendUint32(nil, head), payload...), nil
}

// ReadFrame reads a payload.
func ReadFrame(from io.Reader) ([]byte, error) {
	var header [4]byte
	if _, err := io.ReadFull(from, header[:]); err != nil {
		return nil, err
	}
	head := binary.BigEndian.Uint32(header[:])
	payload := make([]byte, head&^deflated)
	if _, err := io.ReadFull(from, payload); err != nil {
		return nil, err
	}
	if head&deflated == 0 {
		return payload, nil
	}
	return io.ReadAll(flate.NewReader(bytes.NewReader(payload)))
}

// ReadMessage reads a frame of JSON, into maps.
func ReadMessage(from io.Reader) (map[string]any, error) {
	payload, err := ReadFrame(from)
	if err != nil || len(payload) == 0 {
		return nil, err
	}
	var m map[string]any
	return m, json.Unmarshal(payload, &m)
}

// Transcript is what is signed: a purpose of "join", "session", "hub", "assignment", "bundle" or "finalize", and fields.
func Transcript(purpose string, fields ...[]byte) []byte {
	purpose = "skerry.dev/link/v1 " + purpose
	out := append(binary.AppendUvarint(nil, uint64(len(purpose))), purpose...)
	for _, f := range fields {
		out = append(binary.AppendUvarint(out, uint64(len(f))), f...)
	}
	return out
}

// Generation is that of an Assignment, as it is signed.
func Generation(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// TokenHash is what stands for a token in what is signed.
func TokenHash(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// Digest is that of the entries of an Assignment, each as it was sent.
func Digest(entries ...[]byte) string {
	h := sha256.New()
	for _, e := range entries {
		h.Write(append(bytes.Clone(e), '\n'))
	}
	return fmt.Sprintf("sha256:%x", h.Sum(nil))
}

// Short tells two versions of one entry apart.
func Short(entry []byte) string { return fmt.Sprintf("%x", TokenHash(string(entry))[:8]) }

// ObjectID names an object of a bundle.
func ObjectID(body []byte) []byte { return TokenHash(string(body))[:8] }

// Chunk is a part of an object, as the payload of a frame.
func Chunk(body []byte, offset int) []byte {
	out := ObjectID(body)
	for _, n := range []int{len(body), offset, len(body) - offset} {
		out = binary.AppendUvarint(out, uint64(n))
	}
	return append(out, body[offset:]...)
}

// Chunks reads chunks of whole objects.
func Chunks(payload []byte) (bodies [][]byte, err error) {
	for len(payload) > 0 {
		payload = payload[8:]
		var numbers [3]uint64
		for i := range numbers {
			n, width := binary.Uvarint(payload)
			if width <= 0 {
				return nil, errors.New("a chunk is malformed")
			}
			numbers[i], payload = n, payload[width:]
		}
		bodies, payload = append(bodies, payload[:numbers[2]]), payload[numbers[2]:]
	}
	return bodies, nil
}

// Bytes reads a value of a message that is in base64; nil when it is none.
func Bytes(value any) []byte {
	text, ok := value.(string)
	if !ok {
		return nil
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	return data
}

// Text reads a value of a message that is a text; "" when it is none.
func Text(value any) string {
	text, _ := value.(string)
	return text
}

// Verify verifies a signature.
func Verify(key, transcript, signature []byte) bool {
	return len(key) == ed25519.PublicKeySize && ed25519.Verify(key, transcript, signature)
}
