package object

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
)

// Bundle is the set of objects that one Kustomization wants on one cluster, in the order in which
// they are applied, no ID twice. It is a value: it must not be changed.
type Bundle struct{ Objects []Object }

// DuplicateError says that two objects of one bundle have the same ID.
type DuplicateError struct{ ID ID }

func (e *DuplicateError) Error() string { return fmt.Sprintf("%s is there twice", e.ID) }

// NewBundle returns the bundle of the objects, sorted by Order. It returns a *DuplicateError when an
// ID is there twice.
func NewBundle(objects []Object) (Bundle, error) {
	b := Bundle{Objects: slices.Clone(objects)}
	slices.SortFunc(b.Objects, func(x, y Object) int { return Order(x.ID, y.ID) })
	for i := 1; i < len(b.Objects); i++ {
		if b.Objects[i-1].ID == b.Objects[i].ID {
			return Bundle{}, &DuplicateError{ID: b.Objects[i].ID}
		}
	}
	return b, nil
}

// Size is the length of what Encode returns, in bytes.
func (b Bundle) Size() int {
	n := 0
	for _, o := range b.Objects {
		n += len(o.Body) + 1
	}
	return n
}

// Encode returns the bundle as JSON lines: one body a line, in order. Equal bundles are equal bytes.
// Compressing them is the transport's affair.
func (b Bundle) Encode() []byte {
	out := make([]byte, 0, b.Size())
	for _, o := range b.Objects {
		out = append(append(out, o.Body...), '\n')
	}
	return out
}

// Digest returns "sha256:" and the 64 hexadecimal digits of the SHA-256 of what Encode returns.
func (b Bundle) Digest() string {
	h := sha256.New()
	for _, o := range b.Objects {
		h.Write(o.Body)
		h.Write([]byte{'\n'})
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// DecodeBundle reads what Encode wrote. The bodies alias data, which must not be changed. It checks
// that the lines are objects in order; that they are the ones meant is what Digest is for.
func DecodeBundle(data []byte) (Bundle, error) {
	var b Bundle
	for n := 1; len(data) > 0; n++ {
		line, rest, ok := bytes.Cut(data, []byte{'\n'})
		if !ok {
			return Bundle{}, fmt.Errorf("cannot decode bundle: line %d is cut off", n)
		}
		o, err := fromBody(line)
		if err != nil {
			return Bundle{}, fmt.Errorf("cannot decode bundle: line %d: %w", n, err)
		}
		if last := len(b.Objects) - 1; last >= 0 && Order(b.Objects[last].ID, o.ID) >= 0 {
			return Bundle{}, fmt.Errorf("cannot decode bundle: line %d: %s is out of order", n, o.ID)
		}
		b.Objects = append(b.Objects, o)
		data = rest
	}
	return b, nil
}
