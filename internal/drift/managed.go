package drift

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/skerry-dev/skerry/internal/recovery"
)

// Fields is what matters for drift of the managed fields of an object.
type Fields struct {
	// Digest of the fields that our manager applied and still owns, and of those that people and
	// deployment tools own beside them; "" when ours owns nothing.
	//
	// Drift shows there and nowhere else needs to be looked: the API server takes a field out of our
	// set as soon as another manager changes its value, and enters what kubectl adds beside it as an
	// entry of its own. A status, a replica count that an autoscaler owns, or a field of a controller
	// changes neither. So metadata is enough to see drift in any kind, Secrets included.
	Digest string
	// Foreign is true when people or deployment tools own fields, which TakeOver hands to us.
	Foreign bool
	// Entries is true when some of these are entries of lists, such as a port or a container. An apply
	// would put ours beside them.
	Entries bool
	// Replicas is true when our manager owns spec.replicas.
	Replicas bool
	// Yielded are the ignored fields that other managers own, in the form of managed fields; "" when there
	// are none. They are not applied.
	Yielded string
}

// ReadFields reads the managed fields of an object whose owner applies as manager. With keep, the
// fields of people and tools are left alone, and not counted. Ignored fields are not counted, whichever manager has
// them.
func ReadFields(managed []metav1.ManagedFieldsEntry, manager string, keep bool, ignored *Ignored) Fields {
	var f Fields
	var sets [][]byte
	applied := false
	for i := range managed {
		e := &managed[i]
		switch {
		case e.FieldsV1 == nil || e.Subresource != "":
		case isOurs(e, manager):
			applied = true
			sets = append(sets, setText(counted(e, ignored), e.APIVersion))
			f.Replicas = f.Replicas || bytes.Contains(e.FieldsV1.GetRawBytes(), []byte(`"f:replicas"`))
		case !keep && isTool(e.Manager):
			paths := foreign(e, ignored)
			if len(paths) == 0 {
				continue
			}
			f.Foreign = true
			f.Entries = f.Entries || slices.ContainsFunc(paths, inList)
			sets = append(sets, setText(counted(e, ignored), e.Manager, string(e.Operation), e.APIVersion))
		}
	}
	f.Yielded = yielded(managed, manager, ignored)
	if !applied {
		f.Digest = ""
		return f
	}
	slices.SortFunc(sets, bytes.Compare)
	h := sha256.New()
	for _, s := range sets {
		h.Write(s)
		h.Write([]byte{0})
	}
	f.Digest = hex.EncodeToString(h.Sum(nil)[:12])
	return f
}

// setText returns what the digest is made of for one entry: words that name it, and its fields.
func setText(fields []byte, names ...string) []byte {
	n := len(fields)
	for _, name := range names {
		n += len(name) + 1
	}
	text := make([]byte, 0, n)
	for _, name := range names {
		text = append(append(text, name...), 0)
	}
	return append(text, fields...)
}

// counted returns what of an entry counts for drift, as text.
func counted(e *metav1.ManagedFieldsEntry, ignored *Ignored) []byte {
	raw := e.FieldsV1.GetRawBytes()
	if ignored == nil {
		return raw
	}
	set, ok := decodeFields(e)
	if !ok {
		return raw
	}
	left, _ := ignored.Split(set)
	return []byte(fieldsText(left))
}

// yielded returns the ignored fields that other managers own.
func yielded(managed []metav1.ManagedFieldsEntry, manager string, ignored *Ignored) string {
	if ignored == nil {
		return ""
	}
	all := &fieldpath.Set{}
	for i := range managed {
		if isOurs(&managed[i], manager) {
			continue
		}
		if set, ok := decodeFields(&managed[i]); ok {
			_, theirs := ignored.Split(set)
			all = all.Union(theirs)
		}
	}
	if all.Empty() {
		return ""
	}
	return fieldsText(all)
}

func fieldsText(set *fieldpath.Set) string {
	raw, err := set.ToJSON()
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(raw))
}

// foreign returns the fields of an entry that are to be taken over.
func foreign(e *metav1.ManagedFieldsEntry, ignored *Ignored) []fieldpath.Path {
	set, ok := decodeFields(e)
	if !ok {
		return nil
	}
	var paths []fieldpath.Path
	for _, p := range significant(set) {
		if !preserved(p) && !ignored.Covers(p) {
			paths = append(paths, p)
		}
	}
	return paths
}

// inList returns whether a path leads into an entry of a list.
func inList(p fieldpath.Path) bool {
	return slices.ContainsFunc(p, func(e fieldpath.PathElement) bool { return e.FieldName == nil })
}

// significant returns the paths of a set that hold something by themselves: leaves and entries of
// lists. That a client owns a map as such, which an update notes and an apply does not, would take
// along what others put into it.
func significant(set *fieldpath.Set) []fieldpath.Path {
	leaves := set.Leaves()
	var paths []fieldpath.Path
	set.Iterate(func(p fieldpath.Path) {
		if len(p) > 0 && (p[len(p)-1].FieldName == nil || leaves.Has(p)) {
			paths = append(paths, p.Copy())
		}
	})
	return paths
}

const (
	// maxFields bounds the set of one entry that is decoded, in bytes, and maxNesting its depth: the
	// paths in it take the product of both.
	maxFields  = 256 << 10
	maxNesting = 64
)

// decodeFields reads the set of an entry. An edge may send anything; what no API server would send
// counts as nothing.
func decodeFields(e *metav1.ManagedFieldsEntry) (set *fieldpath.Set, ok bool) {
	if e.FieldsV1 == nil {
		return nil, false
	}
	if raw := e.FieldsV1.GetRawString(); len(raw) > maxFields || nesting(raw) > maxNesting {
		return nil, false
	}
	defer func() {
		if recover() != nil {
			recovery.CountInput()
			set, ok = nil, false
		}
	}()
	set = &fieldpath.Set{}
	if err := set.FromJSON(e.FieldsV1.GetRawReader()); err != nil {
		return nil, false
	}
	return set, true
}

// nesting returns how deep objects stand in each other in JSON, or more where brackets stand in strings.
func nesting(raw string) int {
	depth, deepest := 0, 0
	for i := range len(raw) {
		switch raw[i] {
		case '{':
			depth++
			deepest = max(deepest, depth)
		case '}':
			depth--
		}
	}
	return deepest
}

func encodeFields(e metav1.ManagedFieldsEntry, set *fieldpath.Set) (metav1.ManagedFieldsEntry, bool) {
	raw, err := set.ToJSON()
	if err != nil {
		return e, false
	}
	e.FieldsV1 = &metav1.FieldsV1{}
	e.FieldsV1.SetRawBytes(bytes.TrimSpace(raw))
	return e, true
}
