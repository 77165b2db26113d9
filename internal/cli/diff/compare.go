package diff

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// masked stands for a value that must not be shown; the values before and after have different ones where both are shown.
const (
	masked       = "***"
	maskedBefore = "*** (before)"
	maskedAfter  = "*** (after)"
)

// Field is one field that differs.
type Field struct {
	// Path is "spec.template.spec.containers[name=web].image".
	Path string `json:"path"`
	// Before and After are the values; absent where the field is added or removed.
	Before any `json:"before,omitempty"`
	After  any `json:"after,omitempty"`
}

// Compare returns the fields that differ between an object as it stands and as it would stand, sorted by
// path. What the API server writes by itself does not count. The data of Secrets, and every string that
// holds one of the secret values, are masked; nil for secrets masks nothing.
//
// Entries of lists are matched by what distinguishes them: a name, a port, a mount path. A list without such
// a key is one value.
func Compare(before, after map[string]any, secrets []string) []Field {
	c := comparison{secrets: secrets, secret: secrets != nil && isSecret(before, after)}
	c.walk("", significant(before), significant(after))
	slices.SortStableFunc(c.fields, func(a, b Field) int { return strings.Compare(a.Path, b.Path) })
	return c.fields
}

func isSecret(objects ...map[string]any) bool {
	return slices.ContainsFunc(objects, func(o map[string]any) bool { return o["kind"] == "Secret" && o["apiVersion"] == "v1" })
}

// servers are fields of metadata that the API server writes by itself.
var servers = []string{"managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink"}

// significant returns an object without its status and what the API server writes by itself.
func significant(o map[string]any) map[string]any {
	out := maps.Clone(o)
	delete(out, "status")
	if meta, ok := out["metadata"].(map[string]any); ok {
		meta = maps.Clone(meta)
		for _, field := range servers {
			delete(meta, field)
		}
		for _, field := range []string{"labels", "annotations"} {
			if m, ok := meta[field].(map[string]any); ok && len(m) == 0 {
				delete(meta, field)
			}
		}
		out["metadata"] = meta
	}
	return out
}

type comparison struct {
	secrets []string
	secret  bool // the object is a Secret
	fields  []Field
}

func (c *comparison) walk(path string, before, after any) {
	if reflect.DeepEqual(before, after) {
		return
	}
	x, isMap := before.(map[string]any)
	y, areMaps := after.(map[string]any)
	if isMap && areMaps {
		for _, key := range slices.Sorted(maps.Keys(union(x, y))) {
			c.entry(join(path, key), x, y, key)
		}
		return
	}
	if key := listKey(before, after); key != "" {
		x, y := byKey(before, key), byKey(after, key)
		for _, name := range slices.Sorted(maps.Keys(union(x, y))) {
			c.entry(fmt.Sprintf("%s[%s=%s]", path, key, name), x, y, name)
		}
		c.order(path, key, before, after)
		return
	}
	c.add(path, before, after)
}

// order compares the order of the entries that two lists have in common: that of init containers decides.
func (c *comparison) order(path, key string, before, after any) {
	was, is := names(before, key), names(after, key)
	in := func(list []any) func(any) bool {
		return func(name any) bool { return !slices.Contains(list, name) }
	}
	was, is = slices.DeleteFunc(was, in(is)), slices.DeleteFunc(is, in(was))
	if !slices.Equal(was, is) {
		c.add(path+" (order)", was, is)
	}
}

// names are the values of the key, in the order of the list.
func names(list any, key string) []any {
	entries, _ := list.([]any)
	var out []any
	for _, e := range entries {
		m, _ := e.(map[string]any)
		out = append(out, m[key])
	}
	return out
}

// entry compares what two maps have under a key.
func (c *comparison) entry(path string, x, y map[string]any, key string) {
	before, was := x[key]
	after, is := y[key]
	if was && is {
		c.walk(path, before, after)
		return
	}
	c.add(path, before, after)
}

func union(x, y map[string]any) map[string]any {
	all := maps.Clone(x)
	if all == nil {
		all = map[string]any{}
	}
	maps.Copy(all, y)
	return all
}

// join adds a key to a path; one that has dots or slashes is put into brackets.
func join(path, key string) string {
	if strings.ContainsAny(key, "./ ") {
		return path + "[" + key + "]"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// keys are the fields by which entries of lists are matched, in the order in which they are tried.
var keys = []string{"name", "key", "mountPath", "containerPort", "port", "ip", "type", "uid"}

// listKey returns the key by which the entries of two lists can be matched; "" when there is none.
func listKey(before, after any) string {
	x, isList := before.([]any)
	y, areLists := after.([]any)
	if !isList || !areLists {
		return ""
	}
	for _, key := range keys {
		if len(byKey(x, key)) == len(x) && len(byKey(y, key)) == len(y) {
			return key
		}
	}
	return ""
}

// byKey returns the entries that have the key, by its value; of two with one value, one.
func byKey(list any, key string) map[string]any {
	entries, _ := list.([]any)
	out := make(map[string]any, len(entries))
	for _, e := range entries {
		m, _ := e.(map[string]any)
		switch v := m[key].(type) {
		case nil, map[string]any, []any:
		default:
			out[fmt.Sprint(v)] = e
		}
	}
	return out
}

func (c *comparison) add(path string, before, after any) {
	if before == nil && after == nil {
		return // absent, or null: the same to the API server
	}
	f := Field{Path: path}
	if c.secret && isData(path) {
		f.Before, f.After = cover(before), cover(after)
		c.both(&f)
		c.fields = append(c.fields, f)
		return
	}
	var hid, hidNow bool
	f.Before, hid = c.hide(before)
	f.After, hidNow = c.hide(after)
	// What stood beside a value of a Secret may be an earlier value of it, which is not known here.
	if hidNow && before != nil && !hid {
		f.Before = maskedBefore
	}
	if hid && after != nil && !hidNow {
		f.After = maskedAfter
	}
	c.both(&f)
	c.fields = append(c.fields, f)
}

// isData returns whether a path of a Secret leads to its values, or to what tools have copied of them.
func isData(path string) bool {
	for _, field := range []string{"data", "stringData", "metadata.annotations"} {
		if path == field || strings.HasPrefix(path, field+".") || strings.HasPrefix(path, field+"[") {
			return true
		}
	}
	return false
}

// Whole returns a whole object as one field, masked as Compare masks it and without the owner label, which
// every object gets.
func Whole(o map[string]any, secrets []string) []Field {
	c := comparison{secrets: secrets}
	o = significant(o)
	if meta, ok := o["metadata"].(map[string]any); ok {
		if labels, ok := meta["labels"].(map[string]any); ok {
			labels = maps.Clone(labels)
			delete(labels, v1alpha1.OwnerLabel)
			if meta["labels"] = labels; len(labels) == 0 {
				delete(meta, "labels")
			}
		}
	}
	shown, _ := c.hide(o)
	whole, _ := shown.(map[string]any)
	if secrets != nil && isSecret(o) {
		coverFields(whole, "data", "stringData")
		// kubectl keeps the whole object, its data too, in an annotation.
		if meta, ok := whole["metadata"].(map[string]any); ok {
			coverFields(meta, "annotations")
		}
	}
	return []Field{{After: whole}}
}

// coverFields masks every value of some fields, of those that are there.
func coverFields(o map[string]any, fields ...string) {
	for _, field := range fields {
		if data := cover(o[field]); data != nil {
			o[field] = data
		}
	}
}

// both returns different texts for two masked values.
func (c *comparison) both(f *Field) {
	if f.Before != nil && reflect.DeepEqual(f.Before, f.After) {
		f.Before, f.After = maskedBefore, maskedAfter
	}
}

// cover masks every value of a piece of a Secret.
func cover(v any) any {
	switch v := v.(type) {
	case nil:
		return nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for key := range v {
			out[key] = masked
		}
		return out
	}
	return masked
}

// hide masks the secret values in every string of a value, and returns whether there were any.
func (c *comparison) hide(v any) (any, bool) {
	switch v := v.(type) {
	case string:
		shown := v
		for _, s := range c.secrets {
			shown = strings.ReplaceAll(shown, s, masked)
		}
		return shown, shown != v
	case []any:
		out, found := make([]any, len(v)), false
		for i := range v {
			var hid bool
			out[i], hid = c.hide(v[i])
			found = found || hid
		}
		return out, found
	case map[string]any:
		out, found := make(map[string]any, len(v)), false
		for key := range v {
			var hid bool
			out[key], hid = c.hide(v[key])
			found = found || hid
		}
		return out, found
	}
	return v, false
}
