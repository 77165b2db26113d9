package fleetsim

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// The values in a ConfigMap or a Secret decide nothing but whether they are the same as before. So of
// a write that no other edge has sent (an inventory, a setting with the name of the cluster in it) the
// outcome is worked out for its shape, in which marks stand for the values, and the values are put in
// afterwards. It takes a tenth of the time.

// opaque are the fields whose values decide nothing, in the order in which their marks are numbered.
var opaque = [...]string{"binaryData", "data"}

// values of the opaque fields, as JSON: field → key → value.
type values map[string]map[string]string

// shaped is the outcome for a shape: the content has marks for values, which pieces are.
type shaped struct {
	outcome

	pieces []piece
}

// piece is a text of JSON and the mark that follows it.
type piece struct {
	text       string
	live       bool // the value is the one before, not the one that is written
	field, key string
	last       bool // no mark follows
}

// A mark is a string that says which value goes there: of now or of before, the field, the key.
const markStart, markEnd = `"@@value/`, `@@"`

// byShape works out an outcome by the shape of a write; false when it has none.
func (t *transitions) byShape(live *content, w *write) (*outcome, bool) {
	if !w.kind.is("", "ConfigMap") && !w.kind.is("", "Secret") || w.verb == verbPatch || w.status {
		return nil, false
	}
	body, meta, now, ok := splitBody(string(w.body))
	if !ok || live == nil && meta != (preconditions{}) {
		return nil, false
	}
	was := values{}
	var rest map[string]string
	if live != nil {
		if rest, was, ok = takeValues("{" + strings.TrimPrefix(live.tail, ",")); !ok {
			return nil, false
		}
	}
	shapeOfBody := appendShape(nil, body, now, was, false)
	shapeOfLive := appendShape(nil, rest, was, nil, true)
	key := transitionKey{kind: w.kind, namespace: w.namespace, name: w.name, manager: w.manager, verb: w.verb, force: w.force}
	h := sha256.New()
	h.Write(shapeOfBody)
	h.Write([]byte{0})
	if live != nil {
		h.Write([]byte(live.meta))
		h.Write(shapeOfLive)
	}
	h.Sum(key.body[:0])
	s := t.findShape(key)
	if s == nil {
		s = workShape(live, w, shapeOfBody, shapeOfLive)
		t.keepShape(key, s)
	}
	return s.fill(meta, was, now), true
}

// preconditions are what a body says of the object that it is meant for.
type preconditions struct{ uid, version string }

// splitBody takes values and preconditions out of a body; false when that cannot be done.
func splitBody(body string) (map[string]string, preconditions, values, bool) {
	var p preconditions
	fields, found, ok := takeValues(body)
	if _, secret := fields["stringData"]; !ok || secret {
		return nil, p, nil, false
	}
	meta := []byte{'{'}
	names := map[string]bool{}
	ok = eachField(fields["metadata"], func(name, value string) bool {
		to := &p.uid
		switch {
		case names[name]:
			return false
		case name == "resourceVersion":
			to = &p.version
		case name != "uid":
			meta = append(append(strconv.AppendQuote(meta, name), ':'), value...)
			meta = append(meta, ',')
			to = nil
		}
		names[name] = true
		return to == nil || json.Unmarshal([]byte(value), to) == nil
	})
	fields["metadata"] = string(append(bytes.TrimSuffix(meta, []byte{','}), '}'))
	return fields, p, found, ok
}

// takeValues splits an object into its fields and the values of the opaque ones.
func takeValues(object string) (map[string]string, values, bool) {
	fields, found := map[string]string{}, values{}
	ok := eachField(object, func(name, value string) bool {
		if _, twice := fields[name]; twice || found[name] != nil {
			return false
		}
		if !slices.Contains(opaque[:], name) {
			fields[name] = value
			return true
		}
		found[name] = map[string]string{}
		return eachField(value, func(key, value string) bool {
			if _, twice := found[name][key]; twice || strings.Contains(key, "@@") || strings.Contains(key, "/") {
				return false
			}
			text, ok := plainString(value)
			found[name][key] = text
			return ok
		})
	})
	return fields, found, ok
}

// appendShape appends the fields as JSON, with marks for values. A value that is as it was before has
// the mark of that one.
func appendShape(b []byte, fields map[string]string, now, was values, live bool) []byte {
	b = append(b, '{')
	for _, name := range opaque {
		if now[name] == nil {
			continue
		}
		b = append(strconv.AppendQuote(b, name), ':', '{')
		for _, key := range slices.Sorted(maps.Keys(now[name])) {
			old, there := was[name][key]
			b = append(strconv.AppendQuote(b, key), ':')
			b = append(b, markStart...)
			b = strconv.AppendBool(b, live || there && old == now[name][key])
			b = append(append(append(append(b, '/'), name...), '/'), key...)
			b = append(b, markEnd...)
			b = append(b, ',')
		}
		b = append(bytes.TrimSuffix(b, []byte{','}), '}', ',')
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		b = append(append(append(strconv.AppendQuote(b, name), ':'), fields[name]...), ',')
	}
	return append(bytes.TrimSuffix(b, []byte{','}), '}')
}

func workShape(live *content, w *write, body, before []byte) *shaped {
	var marked *content
	if live != nil {
		copied := *live
		copied.tail = "," + string(before[1:])
		if len(before) == len("{}") {
			copied.tail = "}"
		}
		marked = &copied
	}
	on := *w
	on.body = body
	s := &shaped{outcome: *work(marked, &on)}
	if s.content == nil {
		return s
	}
	rest := s.content.tail
	for {
		text, after, found := strings.Cut(rest, markStart)
		if !found {
			s.pieces = append(s.pieces, piece{text: rest, last: true})
			return s
		}
		mark, after, _ := strings.Cut(after, markEnd)
		parts := strings.SplitN(mark, "/", 3)
		s.pieces = append(s.pieces, piece{text: text, live: parts[0] == "true", field: parts[1], key: parts[2]})
		rest = after
	}
}

// fill puts values in place of the marks.
func (s *shaped) fill(p preconditions, was, now values) *outcome {
	out := s.outcome
	out.uid, out.version = p.uid, p.version
	if out.content == nil {
		return &out
	}
	tail := takeBuffer()
	for _, piece := range s.pieces {
		tail = append(tail, piece.text...)
		if piece.last {
			break
		}
		value := now[piece.field][piece.key]
		if piece.live {
			value = was[piece.field][piece.key]
		}
		tail = append(tail, value...)
	}
	filled := *s.content
	filled.tail = string(tail)
	giveBuffer(tail)
	filled.seal()
	out.content = &filled
	return &out
}

func (t *transitions) findShape(key transitionKey) *shaped {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.shapes[key]
}

func (t *transitions) keepShape(key transitionKey, s *shaped) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.shapes) >= generationSize {
		clear(t.shapes)
	}
	t.shapes[key] = s
}
