package object

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// Bundle is the set of objects that one Kustomization wants on one cluster, in the order in which
// they are applied, no ID twice. It is a value: it must not be changed.
type Bundle struct {
	Objects []Object
	// Confidential means that content is not to be readable, nor to be guessed from a digest: it holds
	// Secrets, what was decrypted, or values of Secrets.
	Confidential bool
	// Hidden maps texts that come from Secrets and may be part of a path, as the key of a map or of an item of
	// a list, to what messages show in their place.
	Hidden map[string]string
}

// DuplicateError means that two objects of one bundle have the same ID.
type DuplicateError struct {
	ID ID
	// Namespaces means that they name different namespaces, and their kind has none.
	Namespaces bool
}

func (e *DuplicateError) Error() string {
	if e.Namespaces {
		return fmt.Sprintf("%s is there twice: the kind has no namespaces, so metadata.namespace does not make two objects of it", e.ID)
	}
	return fmt.Sprintf("%s is there twice", e.ID)
}

// NewBundle returns the bundle of the objects, sorted by Order. An object whose kind is known to have no
// namespace, by being Kubernetes' own or by a definition among the objects, loses its namespace. It
// returns a *DuplicateError when an ID is there twice.
func NewBundle(objects []Object) (Bundle, error) {
	b := Bundle{Objects: slices.Clone(objects)}
	scopes := BundleScopes(objects)
	stripped := map[ID]bool{}
	for i, o := range b.Objects {
		if o.Namespace == "" || scopes(o.Group, o.Kind) != ScopeCluster {
			continue
		}
		o, err := o.withoutNamespace()
		if err != nil {
			return Bundle{}, err
		}
		b.Objects[i], stripped[o.ID] = o, true
	}
	slices.SortFunc(b.Objects, func(x, y Object) int { return Order(x.ID, y.ID) })
	return b, b.duplicate(stripped)
}

// Settle returns the objects with the IDs under which the cluster keeps them, and those whose ID is not
// certain: of an unknown kind, or without the namespace that their kind asks for. Bodies stay as they
// are. It returns a *DuplicateError when two objects are the same to the cluster.
func (b Bundle) Settle(scopes Scopes) (Bundle, map[ID]bool, error) {
	out := b
	open, stripped := map[ID]bool{}, map[ID]bool{}
	for i, o := range b.Objects {
		id, certain := scopes.Settle(o.ID)
		if !certain {
			open[id] = true
		}
		if id == o.ID {
			continue
		}
		if len(stripped) == 0 {
			out.Objects = slices.Clone(b.Objects)
		}
		out.Objects[i].ID, stripped[id] = id, true
	}
	if len(stripped) == 0 {
		return b, open, nil
	}
	slices.SortFunc(out.Objects, func(x, y Object) int { return Order(x.ID, y.ID) })
	return out, open, out.duplicate(stripped)
}

// duplicate returns a *DuplicateError when an ID of the sorted objects is there twice.
func (b Bundle) duplicate(stripped map[ID]bool) error {
	for i := 1; i < len(b.Objects); i++ {
		if id := b.Objects[i].ID; b.Objects[i-1].ID == id {
			return &DuplicateError{ID: id, Namespaces: stripped[id]}
		}
	}
	return nil
}

// Size is the length of what Encode returns, in bytes.
func (b Bundle) Size() int {
	n := 0
	for _, o := range b.Objects {
		n += len(o.Body) + 1
	}
	if line := b.hiddenLine(); line != nil {
		n += len(line) + 1
	}
	return n
}

// hiddenMark begins the line that holds Hidden. No object begins so.
const hiddenMark = `{"skerry.dev/hidden":`

// hiddenLine is the last line of an encoded bundle with something to hide; nil for any other.
func (b Bundle) hiddenLine() []byte {
	if len(b.Hidden) == 0 {
		return nil
	}
	data, err := json.Marshal(b.Hidden) // sorted
	if err != nil {
		return nil // strings always encode
	}
	return append(append([]byte(hiddenMark), data...), '}')
}

// write writes what Encode returns.
func (b Bundle) write(to io.Writer) {
	for _, o := range b.Objects {
		_, _ = to.Write(o.Body) // a digest and a buffer take everything
		_, _ = to.Write([]byte{'\n'})
	}
	if line := b.hiddenLine(); line != nil {
		_, _ = to.Write(append(line, '\n'))
	}
}

// Lines returns the lines of what Encode returns, which must not be changed.
func (b Bundle) Lines() [][]byte {
	lines := make([][]byte, 0, len(b.Objects)+1)
	for _, o := range b.Objects {
		lines = append(lines, o.Body)
	}
	if line := b.hiddenLine(); line != nil {
		lines = append(lines, line)
	}
	return lines
}

// Encode returns the bundle as JSON lines: one body a line, in order, and what is hidden last. Equal bundles are equal bytes.
// Compressing them is the transport's affair.
func (b Bundle) Encode() []byte {
	out := bytes.NewBuffer(make([]byte, 0, b.Size()))
	b.write(out)
	return out.Bytes()
}

// Digest returns "sha256:" and the 64 hexadecimal digits of the SHA-256 of what Encode returns.
func (b Bundle) Digest() string {
	h := sha256.New()
	b.write(h)
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// KeyedDigest returns Digest of a bundle that is not confidential, or where there is no key. Of one that is,
// it returns an HMAC-SHA-256 in the same form: a digest is read by many, and a short password in a bundle
// whose rest is known would be guessed from a plain one. The same content has the same digest as long as
// the key is the same.
func (b Bundle) KeyedDigest(key []byte) string {
	if !b.Confidential || len(key) == 0 {
		return b.Digest()
	}
	h := hmac.New(sha256.New, key)
	b.write(h)
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// HoldsSecret reports whether one of the objects is a Secret.
func (b Bundle) HoldsSecret() bool {
	return slices.ContainsFunc(b.Objects, func(o Object) bool { return o.Group == "" && o.Kind == "Secret" })
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
		if bytes.HasPrefix(line, []byte(hiddenMark)) && len(rest) == 0 {
			if err := json.Unmarshal(line[len(hiddenMark):len(line)-1], &b.Hidden); err != nil {
				return Bundle{}, fmt.Errorf("cannot decode bundle: line %d is not what is hidden", n)
			}
			break
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
