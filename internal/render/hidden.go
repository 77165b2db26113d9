package render

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// inList matches the fields that may be part of a path: an item of a list, or a field right below one, by which
// the API server merges the list ("spec.ports[0].name", "metadata.finalizers[0]").
// By a "value" it merges none, and what an environment holds is often a common word.
var inList = regexp.MustCompile(`\[\d+\](\.[^.\[]+)?$`)

func mayBeInPath(path string) bool {
	return inList.MatchString(path) && !strings.HasSuffix(path, "].value")
}

// hide adds the texts of the object that come from a Secret and may be part of a path: keys of maps, and what
// names an item of a list. Paths are shown, as those of drift are; with shown in its place, each can be.
func (p *part) hide(vars map[string]string, secret map[string]bool, hidden map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(p.keys)) {
		if e := p.keys[key]; e.holdsAny(secret) {
			if text, err := e.evaluate(vars); err == nil {
				hideText(hidden, text, e.outline())
			}
		}
	}
	for _, f := range p.fields {
		if !f.holdsAny(secret) {
			continue
		}
		if v, err := f.resolve(vars); err == nil {
			hideKeys(hidden, v, f.outline(), mayBeInPath(f.path))
		}
	}
}

// hideKeys hides the keys in a value that a variable stands for, and the value itself where it may be part of a
// path.
func hideKeys(hidden map[string]string, v any, shown string, itself bool) {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			hideText(hidden, key, shown)
			hideKeys(hidden, v[key], shown, itself)
		}
	case []any:
		for _, item := range v {
			if m, ok := item.(map[string]any); ok {
				for _, key := range slices.Sorted(maps.Keys(m)) {
					hideKeys(hidden, m[key], shown, key != "value")
				}
			}
			hideKeys(hidden, item, shown, true)
		}
	case string:
		if itself {
			hideText(hidden, v, shown)
		}
	case json.Number:
		if itself {
			hideText(hidden, v.String(), shown)
		}
	}
}

// hideText hides a text as it is, and as it stands in a path between quotes. What is longer than any path is in
// none.
func hideText(hidden map[string]string, text, shown string) {
	if text == "" || len(text) > maxHidden || strings.Contains(text, "\n") {
		return
	}
	hidden[text] = shown
	if quoted, err := json.Marshal(text); err == nil {
		if inner := string(quoted[1 : len(quoted)-1]); inner != text {
			hidden[inner] = shown
		}
	}
}

// maxHidden is the length in bytes of the longest text that is looked for in messages.
const maxHidden = 512
