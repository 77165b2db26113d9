// Package drift decides which fields of an object belong to another manager than Git, and what of an
// object differs from Git. It is pure: rules, manifests and managed fields in, decisions out.
package drift

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/fluxcd/pkg/apis/kustomize"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
)

// MaxRules bounds the rules of one Kustomization, as JSON in bytes: the hub keeps them once for each of
// its clusters.
const MaxRules = 4 << 10

// Rules are ignore rules, ready to be matched. nil has none.
type Rules struct{ rules []rule }

type rule struct {
	paths                             [][]string
	group, version, kind, name, space *regexp.Regexp // nil: any
	labels, annotations               labels.Selector
}

// Compile reads ignore rules. The error names the rule and its field.
func Compile(from []v1alpha1.IgnoreRule) (*Rules, error) {
	if len(from) == 0 {
		return nil, nil
	}
	if raw, err := json.Marshal(from); err != nil || len(raw) > MaxRules {
		return nil, fmt.Errorf("the ignore rules take %d bytes, and at most %d are possible: use fewer rules, or shorter ones", len(raw), MaxRules)
	}
	out := &Rules{}
	for i := range from {
		r, err := compile(&from[i])
		if err != nil {
			return nil, fmt.Errorf("ignore rule %d: %w", i+1, err)
		}
		out.rules = append(out.rules, r)
	}
	return out, nil
}

func compile(from *v1alpha1.IgnoreRule) (rule, error) {
	var r rule
	for _, p := range from.Paths {
		steps, err := pointer(p)
		if err != nil {
			return r, err
		}
		r.paths = append(r.paths, steps)
	}
	if len(r.paths) == 0 {
		return r, fmt.Errorf("paths is empty")
	}
	target := from.Target
	if target == nil {
		target = &kustomize.Selector{}
	}
	for _, e := range []struct {
		field, text string
		to          **regexp.Regexp
	}{
		{"group", target.Group, &r.group}, {"version", target.Version, &r.version}, {"kind", target.Kind, &r.kind},
		{"name", target.Name, &r.name}, {"namespace", target.Namespace, &r.space},
	} {
		if e.text == "" {
			continue
		}
		whole, err := regexp.Compile("^(?:" + e.text + ")$")
		if err != nil {
			return r, fmt.Errorf("target.%s is no regular expression: %w", e.field, err)
		}
		*e.to = whole
	}
	for _, e := range []struct {
		field, text string
		to          *labels.Selector
	}{{"labelSelector", target.LabelSelector, &r.labels}, {"annotationSelector", target.AnnotationSelector, &r.annotations}} {
		if e.text == "" {
			continue
		}
		selector, err := labels.Parse(e.text)
		if err != nil {
			return r, fmt.Errorf("target.%s is no selector: %w", e.field, err)
		}
		*e.to = selector
	}
	return r, nil
}

// pointer reads a JSON pointer. The whole object is no field of it: an annotation leaves that alone.
func pointer(text string) ([]string, error) {
	if !strings.HasPrefix(text, "/") {
		return nil, fmt.Errorf("path %q does not begin with a slash; to leave a whole object alone, annotate it with skerry.dev/ssa: Ignore", text)
	}
	steps := strings.Split(text[1:], "/")
	for i, s := range steps {
		if s == "" {
			return nil, fmt.Errorf("path %q has an empty part", text)
		}
		steps[i] = strings.ReplaceAll(strings.ReplaceAll(s, "~1", "/"), "~0", "~")
	}
	switch steps[0] {
	case "apiVersion", "kind":
		return nil, fmt.Errorf("path %q is part of the object's identity", text)
	case "metadata":
		if len(steps) > 1 && (steps[1] == "name" || steps[1] == "namespace") {
			return nil, fmt.Errorf("path %q is part of the object's identity", text)
		}
	}
	return steps, nil
}

// matches returns whether a rule is for an object. The labels are decoded only where a rule selects by them.
func (r *rule) matches(o *object.Object, meta func() metadata) bool {
	for _, m := range []struct {
		pattern *regexp.Regexp
		text    string
	}{{r.kind, o.Kind}, {r.name, o.Name}, {r.space, o.Namespace}, {r.group, o.Group}, {r.version, o.Version}} {
		if m.pattern != nil && !m.pattern.MatchString(m.text) {
			return false
		}
	}
	return (r.labels == nil || r.labels.Matches(labels.Set(meta().Labels))) &&
		(r.annotations == nil || r.annotations.Matches(labels.Set(meta().Annotations)))
}

type metadata struct{ Labels, Annotations map[string]string }

func metadataOf(body []byte) metadata {
	var m struct{ Metadata metadata }
	_ = json.Unmarshal(body, &m) // an object of a bundle has been decoded before
	return m.Metadata
}

// For returns the fields of an object that are ignored; nil when there are none. What a path with an index
// names is settled here: the entry that stands there in Git, wherever the cluster has it.
func (r *Rules) For(o *object.Object) *Ignored {
	if r == nil {
		return nil
	}
	var meta *metadata
	lazily := func() metadata {
		if meta == nil {
			meta = new(metadataOf(o.Body))
		}
		return *meta
	}
	var body map[string]any
	out := &Ignored{}
	for i := range r.rules {
		if !r.rules[i].matches(o, lazily) {
			continue
		}
		for _, steps := range r.rules[i].paths {
			if body == nil && slices.ContainsFunc(steps, isIndex) {
				body, _ = decode(o.Body)
			}
			out.add(steps, body)
		}
	}
	if len(out.paths) == 0 {
		return nil
	}
	return out
}

// Apply returns the objects, and of which of them which fields are ignored. The digest of such an object
// stands for its rules as well, so that another rule is a change of the object.
func (r *Rules) Apply(objects []object.Object) ([]object.Object, map[object.ID]*Ignored) {
	if r == nil {
		return objects, nil
	}
	out, ignored := slices.Clone(objects), map[object.ID]*Ignored{}
	for i := range out {
		if is := r.For(&out[i]); is != nil {
			out[i], ignored[out[i].ID] = out[i].WithKey(is.Key()), is
		}
	}
	return out, ignored
}

func isIndex(step string) bool {
	_, err := strconv.ParseUint(step, 10, 31)
	return err == nil
}

// decode decodes a canonical body so that it can be encoded again.
func decode(body []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var m map[string]any
	err := d.Decode(&m)
	return m, err
}

// Ignored are the fields of one object that belong to whichever manager has written them last.
type Ignored struct {
	paths [][]step
	key   strings.Builder
}

// step is one part of a path: a name, or the entry of a list.
type step struct {
	name string
	item any // of a list, as it stands in Git; nil for a name
}

// Key is equal for equal fields.
func (i *Ignored) Key() string {
	if i == nil {
		return ""
	}
	return i.key.String()
}

func (i *Ignored) add(steps []string, body map[string]any) {
	var path []step
	var at any = body
	for _, s := range steps {
		list, isList := at.([]any)
		if !isList {
			m, _ := at.(map[string]any)
			at = m[s]
			path = append(path, step{name: s})
			continue
		}
		n, err := strconv.ParseUint(s, 10, 31)
		if err != nil || int(n) >= len(list) || list[n] == nil {
			return // Git has no such entry
		}
		at = list[n]
		path = append(path, step{item: list[n]})
	}
	for _, s := range path {
		i.key.WriteString("/")
		if s.item == nil {
			i.key.WriteString(s.name)
			continue
		}
		raw, _ := json.Marshal(scalars(s.item)) // of what was decoded from JSON
		i.key.Write(raw)
	}
	i.key.WriteString("\n")
	i.paths = append(i.paths, path)
}

// scalars returns what of an entry can be its key in a list.
func scalars(item any) any {
	m, ok := item.(map[string]any)
	if !ok {
		return item
	}
	out := map[string]any{}
	for k, v := range m {
		switch v.(type) {
		case map[string]any, []any, nil:
		default:
			out[k] = v
		}
	}
	return out
}

var (
	ownerLabel = fieldpath.MakePathOrDie("metadata", "labels", v1alpha1.OwnerLabel)
	name       = fieldpath.MakePathOrDie("metadata", "name")
	namespace  = fieldpath.MakePathOrDie("metadata", "namespace")
)

// Covers returns whether a managed field is one of the ignored, or below one. The owner label and what
// identifies the object never are.
func (i *Ignored) Covers(p fieldpath.Path) bool {
	if i == nil || p.Equals(ownerLabel) || p.Equals(name) || p.Equals(namespace) {
		return false
	}
	return slices.ContainsFunc(i.paths, func(path []step) bool {
		if len(p) < len(path) {
			return false
		}
		for n, s := range path {
			if !s.is(p[n]) {
				return false
			}
		}
		return true
	})
}

func (s step) is(e fieldpath.PathElement) bool {
	switch {
	case s.item == nil:
		return e.FieldName != nil && *e.FieldName == s.name
	case e.Key != nil:
		return hasKey(s.item, *e.Key)
	case e.Value != nil:
		return equal(s.item, *e.Value)
	}
	return false
}

// hasKey returns whether an entry of a list has the key.
func hasKey(item any, key value.FieldList) bool {
	m, ok := item.(map[string]any)
	if !ok || len(key) == 0 {
		return false
	}
	for _, f := range key {
		if v, has := m[f.Name]; !has || !equal(v, f.Value) {
			return false
		}
	}
	return true
}

// equal compares a decoded value with one of a path.
func equal(v any, with value.Value) bool {
	if n, ok := v.(json.Number); ok {
		if whole, err := n.Int64(); err == nil {
			v = whole
		} else if f, err := n.Float64(); err == nil {
			v = f
		}
	}
	return value.Equals(value.NewValueInterface(v), with)
}
