package drift

import (
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"github.com/skerry-dev/skerry/internal/object"
)

// Split divides a set of managed fields into those that count and those that are ignored.
func (i *Ignored) Split(set *fieldpath.Set) (counted, ignored *fieldpath.Set) {
	var in, out []fieldpath.Path
	set.Iterate(func(p fieldpath.Path) {
		if i.Covers(p) {
			in = append(in, p.Copy())
		} else {
			out = append(out, p.Copy())
		}
	})
	return fieldpath.NewSet(out...), fieldpath.NewSet(in...)
}

// Without returns an object without the fields that others own: yielded, a set in the form of managed
// fields. It is the object itself where Git names none of them.
//
// Deployment web names replicas: 2 and an image, and kube-controller-manager owns spec.replicas: what is
// applied is the Deployment with its image and without replicas, so that the number stays.
func Without(o object.Object, yielded string) object.Object {
	if yielded == "" {
		return o
	}
	set := &fieldpath.Set{}
	if set.FromJSON(strings.NewReader(yielded)) != nil {
		return o
	}
	body, err := decode(o.Body)
	if err != nil {
		return o
	}
	changed := false
	leaves := set.Leaves()
	set.Iterate(func(p fieldpath.Path) {
		if leaves.Has(p) {
			_, dropped := drop(body, p, nil)
			changed = changed || dropped
		}
	})
	if !changed {
		return o
	}
	return o.WithBody(body)
}

// drop takes the field at a path out of a decoded value, and what is empty then. The key of an entry of a
// list stays: without it the entry would be another one.
func drop(at any, p fieldpath.Path, key []string) (empty, dropped bool) {
	switch v := at.(type) {
	case map[string]any:
		if p[0].FieldName == nil {
			return false, false
		}
		field := *p[0].FieldName
		below, has := v[field]
		if !has || len(p) == 1 && slices.Contains(key, field) {
			return false, false
		}
		if len(p) == 1 {
			delete(v, field)
			return len(v) == 0, true
		}
		if empty, dropped = drop(below, p[1:], nil); empty {
			delete(v, field)
		}
		return len(v) == 0, dropped
	case []any:
		for _, item := range v {
			e := p[0]
			switch {
			case e.Key != nil && hasKey(item, *e.Key) && len(p) > 1:
				var names []string
				for _, f := range *e.Key {
					names = append(names, f.Name)
				}
				_, dropped = drop(item, p[1:], names)
				return false, dropped
			default: // an entry is there once, whatever manager owns it
			}
		}
	}
	return false, false
}

// leaves visits each field that a manifest names, as the API server tracks it beside a set of managed
// fields: a list or map of which the set has no entry is one field.
func leaves(body map[string]any, owned *fieldpath.Set, visit func(p fieldpath.Path, owned bool)) {
	for _, field := range slices.Sorted(maps.Keys(body)) {
		if field != "apiVersion" && field != "kind" && field != "metadata" && field != "status" {
			leaf(body[field], fieldpath.MakePathOrDie(field), owned, visit)
		}
	}
	meta, _ := body["metadata"].(map[string]any)
	for _, field := range slices.Sorted(maps.Keys(meta)) {
		if field != "name" && field != "namespace" {
			leaf(meta[field], fieldpath.MakePathOrDie("metadata", field), owned, visit)
		}
	}
}

func leaf(v any, p fieldpath.Path, owned *fieldpath.Set, visit func(fieldpath.Path, bool)) {
	below := owned.WithPrefix(p[0])
	for _, e := range p[1:] {
		below = below.WithPrefix(e)
	}
	switch v := v.(type) {
	case nil:
		return
	case map[string]any:
		if len(v) == 0 || below.Empty() && owned.Has(p) {
			break
		}
		for _, field := range slices.Sorted(maps.Keys(v)) {
			if key := p[len(p)-1].Key; key != nil && slices.ContainsFunc(*key, func(f value.Field) bool { return f.Name == field }) {
				continue // it goes with its entry
			}
			leaf(v[field], append(p.Copy(), fieldpath.PathElement{FieldName: &field}), owned, visit)
		}
		return
	case []any:
		entries := keyed(below)
		if len(v) == 0 || len(entries) == 0 {
			break
		}
		for _, item := range v {
			e, known := find(item, entries)
			switch {
			case !known:
				visit(append(p.Copy(), fieldpath.PathElement{}), false)
			case e.Key != nil:
				leaf(item, append(p.Copy(), e), owned, visit)
			}
		}
		return
	}
	visit(p, owned.Has(p) || !below.Empty())
}

// keyed returns the entries of a list that a set has.
func keyed(set *fieldpath.Set) []fieldpath.PathElement {
	var out []fieldpath.PathElement
	seen := map[string]bool{}
	set.Iterate(func(p fieldpath.Path) {
		if len(p) > 0 && p[0].FieldName == nil && !seen[p[0].String()] {
			seen[p[0].String()] = true
			out = append(out, p[0])
		}
	})
	return out
}

func find(item any, entries []fieldpath.PathElement) (fieldpath.PathElement, bool) {
	for _, e := range entries {
		if e.Key != nil && hasKey(item, *e.Key) || e.Value != nil && equal(item, *e.Value) {
			return e, true
		}
	}
	return fieldpath.PathElement{}, false
}

// Lost returns the fields that a manifest names and its manager no longer owns, those that are ignored
// left out. Of an entry of a list that is gone it names the list.
func Lost(o object.Object, owned *fieldpath.Set, ignored *Ignored) []fieldpath.Path {
	body, err := decode(o.Body)
	if err != nil {
		return nil
	}
	var lost []fieldpath.Path
	leaves(body, owned, func(p fieldpath.Path, has bool) {
		if n := len(p); n > 0 && p[n-1] == (fieldpath.PathElement{}) {
			p = p[:n-1]
		}
		if !has && !ignored.Covers(p) && !slices.ContainsFunc(lost, p.Equals) {
			lost = append(lost, p)
		}
	})
	return lost
}
