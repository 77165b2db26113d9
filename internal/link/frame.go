package link

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/skerry-dev/skerry/internal/deflate"
)

// A frame is four bytes, big-endian, and a payload: the upper bit is set when the payload is deflated, the others are
// its length on the wire. A frame of length 0 is empty.
const (
	headerSize          = 4
	deflated            = 1 << 31
	compressFrom        = 256 // bytes: below, compression saves less than it costs
	bestCompressionFrom = 4 << 10
)

var (
	// ErrTooLarge is returned when a peer sends more than the limit.
	ErrTooLarge = errors.New("the message is larger than the limit")
	// ErrTooManyValues is returned for a message that has more than MaxValues.
	ErrTooManyValues = errors.New("the message has more values than the limit")
)

// AppendFrame appends a frame with the payload, compressed if that makes it smaller.
func AppendFrame(to, payload []byte) ([]byte, error) {
	if len(payload) > MaxMessage {
		return to, ErrTooLarge
	}
	head := uint32(len(payload))
	if len(payload) >= compressFrom {
		small, err := compress(payload)
		if err != nil {
			return to, err
		}
		if len(small) < len(payload) {
			payload, head = small, uint32(len(small))|deflated
		}
	}
	return append(binary.BigEndian.AppendUint32(to, head), payload...), nil
}

// EncodeFrame returns a frame with the message as JSON.
func EncodeFrame(message any) ([]byte, error) {
	payload, err := json.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("cannot encode message: %w", err)
	}
	return AppendFrame(nil, payload)
}

// EncodeUp returns a report and its signature, a frame each. sign returns the signature over UpTranscript of the message.
// Earlier hubs do not read the second frame.
func EncodeUp(up Up, sign func(message []byte) []byte) ([]byte, error) {
	message, err := json.Marshal(up)
	if err != nil {
		return nil, fmt.Errorf("cannot encode message: %w", err)
	}
	frames, err := AppendFrame(nil, message)
	if err != nil {
		return nil, err
	}
	return AppendFrame(frames, sign(message))
}

// EmptyFrame keeps a stream alive.
func EmptyFrame() []byte { return make([]byte, headerSize) }

// ReadFrame reads one frame, of at most limit bytes before and after decompression. It returns an empty payload for
// an empty frame, io.EOF at the end, and io.ErrUnexpectedEOF in the middle of one.
func ReadFrame(from io.Reader, limit int) ([]byte, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(from, header[:]); err != nil {
		return nil, err
	}
	head := binary.BigEndian.Uint32(header[:])
	n := int(head &^ deflated)
	if n > limit {
		return nil, ErrTooLarge
	}
	// The buffer grows with what arrives: a header alone must not cost the limit.
	var payload bytes.Buffer
	if _, err := io.CopyN(&payload, from, int64(n)); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	if head&deflated == 0 {
		return payload.Bytes(), nil
	}
	plain, err := deflate.Decompress(payload.Bytes(), limit)
	if errors.Is(err, deflate.ErrTooLarge) {
		err = ErrTooLarge
	}
	return plain, err
}

// ReadMessage reads one frame into a message. Fields that the message does not have are ignored.
func ReadMessage(from io.Reader, limit int, message any) error {
	payload, err := ReadFrame(from, limit)
	if err != nil {
		return err
	}
	if len(payload) == 0 {
		return nil
	}
	return Decode(payload, message)
}

// Decode decodes JSON of a peer into a message, unless it has more than MaxValues.
func Decode(payload []byte, message any) error {
	if countValues(payload) > MaxValues {
		return ErrTooManyValues
	}
	if err := json.Unmarshal(payload, message); err != nil {
		return fmt.Errorf("cannot decode message: %w", err)
	}
	return nil
}

// countValues returns an upper bound of the values in JSON: each object, list and element costs many times its bytes when it
// is decoded, so that "[{},{},…" of a few megabytes would take a gigabyte. What is in strings does not count.
func countValues(payload []byte) int {
	n, quoted := 1, false
	for i := 0; i < len(payload); i++ {
		switch c := payload[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case !quoted && (c == ',' || c == '{' || c == '['):
			n++
		}
	}
	return n
}

// bestCompression is slow: many links are metered. It costs 160 µs even for a few hundred bytes, since it clears 640 KiB before
// each message; bestSpeed and huffmanOnly take 5 µs each for those. Measured: an Assignment with one entry is 525 bytes of 715 by
// bestSpeed and 521 by bestCompression, a manifest, which is random, 360 of 429 by huffmanOnly and 361 by bestCompression.
var (
	bestCompression = deflate.New(flate.BestCompression)
	bestSpeed       = deflate.New(flate.BestSpeed)
	huffmanOnly     = deflate.New(flate.HuffmanOnly)
)

// compress returns the payload compressed: a small one by whichever of the two fast ways makes it smaller.
func compress(payload []byte) ([]byte, error) {
	if len(payload) >= bestCompressionFrom {
		return bestCompression.Compress(payload)
	}
	repeats, err := bestSpeed.Compress(payload)
	if err != nil {
		return nil, err
	}
	bits, err := huffmanOnly.Compress(payload)
	if err != nil || len(repeats) <= len(bits) {
		return repeats, err
	}
	return bits, nil
}
