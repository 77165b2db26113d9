package edge

import (
	"bytes"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// metadata is what is read of the metadata of an object.
type metadata struct {
	Name              string
	Namespace         string
	UID               string
	ResourceVersion   string
	DeletionTimestamp string
	Finalizers        []string
	Labels            map[string]string
	Annotations       map[string]string
	// ManagedFields are without their times and types, unless complete is set.
	ManagedFields []metav1.ManagedFieldsEntry
	complete      bool
	// managedFields are the same as the cluster sent them; of a full object only.
	managedFields jsontext.Value
}

// decoder reads JSON of a cluster in one pass, from its bytes to the values that are kept. A pool has those that are
// not in use: tens of thousands of watches are at rest.
type decoder struct {
	json jsontext.Decoder
	// names are the last names of fields, by their hash: most occur in each object.
	names [256]string
}

// lenient reads what encoding/json takes as well: of fields that occur twice the last one counts.
var lenient = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

var decoders = sync.Pool{New: func() any { return &decoder{} }}

func newDecoder(from io.Reader) *decoder {
	d := decoders.Get().(*decoder)
	d.json.Reset(from, lenient)
	return d
}

// maxPooled bounds the text after which a decoder is used again, in bytes: its buffer holds the longest value of it.
const maxPooled = 64 << 10

// release gives the decoder back. What it has returned stays valid.
func (d *decoder) release() {
	if d.json.InputOffset() > maxPooled {
		return
	}
	d.json.Reset(nothing)
	decoders.Put(d)
}

var nothing io.Reader = strings.NewReader("")

var errNotOfItsType = errors.New("a field of an object is not of its type")

// members calls a function with the name of each field of an object, in quotes, after which it reads or skips the value.
// The name is valid until then. Null has no fields.
func (d *decoder) members(each func(name []byte) error) error {
	if ok, err := d.begin('{'); !ok {
		return err
	}
	for d.more('}') {
		name, err := d.json.ReadValue()
		if err != nil {
			return err
		}
		if err := each(name); err != nil {
			return err
		}
	}
	_, err := d.json.ReadToken() // the end, or why there is none
	return err
}

// begin reads the beginning of an object or a list. It is false for null, and for an error.
func (d *decoder) begin(kind jsontext.Kind) (bool, error) {
	t, err := d.json.ReadToken()
	switch {
	case err != nil:
		return false, err
	case t.Kind() == 'n':
		return false, nil
	case t.Kind() != kind:
		return false, errNotOfItsType
	}
	return true, nil
}

// text reads a string; null is empty.
func (d *decoder) text(into *string) error {
	t, err := d.json.ReadToken()
	switch {
	case err != nil:
		return err
	case t.Kind() == 'n':
		*into = ""
	case t.Kind() != '"':
		return errNotOfItsType
	default:
		*into = t.String()
	}
	return nil
}

// texts reads a list of strings.
func (d *decoder) texts(into *[]string) error {
	*into = nil
	if ok, err := d.begin('['); !ok {
		return err
	}
	for d.more(']') {
		var s string
		if err := d.text(&s); err != nil {
			return err
		}
		*into = append(*into, s)
	}
	_, err := d.json.ReadToken()
	return err
}

// textsByName reads an object of strings.
func (d *decoder) textsByName(into *map[string]string) error {
	if *into == nil {
		*into = map[string]string{}
	}
	return d.members(func(name []byte) error {
		key := d.name(name)
		var s string
		err := d.text(&s)
		(*into)[key] = s
		return err
	})
}

// object reads an object: its metadata, and nothing else.
func (d *decoder) object(m *metadata) error {
	return d.members(func(name []byte) error {
		if string(name) != `"metadata"` {
			return d.json.SkipValue()
		}
		return d.members(func(name []byte) error {
			read, err := d.metadataField(m, name)
			if !read {
				err = d.json.SkipValue()
			}
			return err
		})
	})
}

// metadataField reads a field of the metadata that is kept. Of others it is false, and reads nothing.
func (d *decoder) metadataField(m *metadata, name []byte) (bool, error) {
	switch string(name) {
	case `"name"`:
		return true, d.text(&m.Name)
	case `"namespace"`:
		return true, d.text(&m.Namespace)
	case `"uid"`:
		return true, d.text(&m.UID)
	case `"resourceVersion"`:
		return true, d.text(&m.ResourceVersion)
	case `"deletionTimestamp"`:
		return true, d.text(&m.DeletionTimestamp)
	case `"finalizers"`:
		return true, d.texts(&m.Finalizers)
	case `"labels"`:
		return true, d.textsByName(&m.Labels)
	case `"annotations"`:
		return true, d.textsByName(&m.Annotations)
	case `"managedFields"`:
		return true, d.entries(&m.ManagedFields, m.complete)
	}
	return false, nil
}

// name returns the name of a field, which is in quotes.
func (d *decoder) name(quoted []byte) string {
	raw := quoted[1 : len(quoted)-1]
	if len(raw) > maxCachedName {
		return unquote(quoted)
	}
	h := uint32(len(raw))
	for _, c := range raw {
		if c == '\\' || c >= utf8.RuneSelf {
			return unquote(quoted)
		}
		h = (h ^ uint32(c)) * 16777619 // as FNV-1 does
	}
	at := &d.names[(h^h>>16)%uint32(len(d.names))]
	if *at != string(raw) {
		*at = string(raw)
	}
	return *at
}

// maxCachedName bounds the names of fields that a decoder remembers, in bytes.
const maxCachedName = 64

func unquote(quoted []byte) string {
	text, _ := jsontext.AppendUnquote(nil, quoted) // the decoder has checked it
	return string(text)
}

// value reads any value as unstructured objects hold it: whole numbers are int64.
func (d *decoder) value() (any, error) {
	switch d.json.PeekKind() {
	case '{':
		all := map[string]any{}
		return all, d.members(func(name []byte) error { return d.valueInto(all, name) })
	case '[':
		return d.list()
	case '0':
		raw, err := d.json.ReadValue()
		if err != nil {
			return nil, err
		}
		return numberOf(string(raw))
	default: // a token
	}
	t, err := d.json.ReadToken()
	switch {
	case err != nil:
		return nil, err
	case t.Kind() == '"':
		return t.String(), nil
	case t.Kind() == 't', t.Kind() == 'f':
		return t.Bool(), nil
	}
	return nil, nil
}

func (d *decoder) valueInto(all map[string]any, name []byte) (err error) {
	key := d.name(name)
	all[key], err = d.value()
	return err
}

func (d *decoder) list() (any, error) {
	all := []any{}
	if _, err := d.json.ReadToken(); err != nil {
		return nil, err
	}
	for d.more(']') {
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	_, err := d.json.ReadToken()
	return all, err
}

// more reports whether something comes before the end of an object or a list. After an error nothing does.
func (d *decoder) more(end jsontext.Kind) bool {
	k := d.json.PeekKind()
	return k != end && k != jsontext.KindInvalid
}

func numberOf(text string) (any, error) {
	if !strings.Contains(text, ".") {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n, nil
		}
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, errNotOfItsType
	}
	return n, nil
}

// content reads a full object but for its managed fields, and what is kept of its metadata.
func (d *decoder) content(m *metadata) (map[string]any, error) {
	all := map[string]any{}
	err := d.members(func(name []byte) error {
		if string(name) != `"metadata"` {
			return d.valueInto(all, name)
		}
		of := map[string]any{}
		all["metadata"] = of
		err := d.members(func(name []byte) error { return d.metadataInto(of, m, name) })
		m.into(of)
		return err
	})
	return all, err
}

// metadataInto reads a field of the metadata of a full object.
func (d *decoder) metadataInto(of map[string]any, m *metadata, name []byte) error {
	if string(name) == `"managedFields"` {
		raw, err := d.json.ReadValue()
		if err != nil {
			return err
		}
		m.managedFields = raw.Clone()
		managed := newDecoder(bytes.NewReader(m.managedFields))
		defer managed.release()
		return managed.entries(&m.ManagedFields, m.complete)
	}
	read, err := d.metadataField(m, name)
	if !read {
		err = d.valueInto(of, name)
	}
	return err
}

// into adds the fields that are kept, but for the managed ones, to the metadata of a full object.
func (m *metadata) into(all map[string]any) {
	for _, f := range [...]struct{ name, value string }{
		{"name", m.Name}, {"namespace", m.Namespace}, {"uid", m.UID}, {"resourceVersion", m.ResourceVersion}, {"deletionTimestamp", m.DeletionTimestamp},
	} {
		if f.value != "" {
			all[f.name] = f.value
		}
	}
	if len(m.Finalizers) > 0 {
		list := make([]any, len(m.Finalizers))
		for i, s := range m.Finalizers {
			list[i] = s
		}
		all["finalizers"] = list
	}
	for name, of := range map[string]map[string]string{"labels": m.Labels, "annotations": m.Annotations} {
		if len(of) > 0 {
			texts := make(map[string]any, len(of))
			for k, v := range of {
				texts[k] = v
			}
			all[name] = texts
		}
	}
}

// entries reads managed fields; their times and types only where they are to be complete, as what is written back is.
func (d *decoder) entries(into *[]metav1.ManagedFieldsEntry, complete bool) error {
	*into = nil
	if ok, err := d.begin('['); !ok {
		return err
	}
	for d.more(']') {
		*into = append(*into, metav1.ManagedFieldsEntry{})
		if err := d.entry(&(*into)[len(*into)-1], complete); err != nil {
			return err
		}
	}
	_, err := d.json.ReadToken()
	return err
}

func (d *decoder) entry(e *metav1.ManagedFieldsEntry, complete bool) error {
	return d.members(func(name []byte) error {
		switch string(name) {
		case `"time"`, `"fieldsType"`:
			if !complete {
				return d.json.SkipValue()
			}
			if string(name) == `"fieldsType"` {
				return d.text(&e.FieldsType)
			}
			raw, err := d.json.ReadValue()
			if err == nil && raw.Kind() != 'n' {
				e.Time = &metav1.Time{}
				err = e.Time.UnmarshalJSON(raw)
			}
			return err
		case `"manager"`:
			return d.text(&e.Manager)
		case `"operation"`:
			return d.text((*string)(&e.Operation))
		case `"apiVersion"`:
			return d.text(&e.APIVersion)
		case `"subresource"`:
			return d.text(&e.Subresource)
		case `"fieldsV1"`:
			raw, err := d.json.ReadValue()
			if err == nil && raw.Kind() != 'n' {
				e.FieldsV1 = &metav1.FieldsV1{}
				e.FieldsV1.SetRawBytes(raw)
			}
			return err
		}
		return d.json.SkipValue()
	})
}
