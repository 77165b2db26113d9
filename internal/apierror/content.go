package apierror

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/skerry-dev/skerry/internal/object"
)

const (
	// masked stands for a value in a message.
	masked = "***"
	// minMasked is the length in bytes from which a value is taken out of a message; shorter ones
	// stand in any text.
	minMasked = 3
)

// content is what was sent of an object, to name its fields and to keep its values out of messages.
type content struct {
	secret bool
	body   map[string]any // nil where nothing was sent
	// values are the scalars of the body and the words in them, the longest first.
	values []string
}

// sent decodes what was sent of an object. What names the object is no secret: it stands before every
// message.
func sent(o object.Object) content {
	c := content{secret: o.Group == "" && o.Kind == "Secret"}
	if json.Unmarshal(o.Body, &c.body) != nil {
		return c
	}
	names := map[string]bool{o.Kind: true, o.Name: true, o.Namespace: true, o.APIVersion(): true}
	values := map[string]bool{}
	c.walk(func(path, value string) {
		for _, v := range append(strings.FieldsFunc(value, separates), value) {
			if len(v) >= minMasked && !names[v] {
				values[v] = true
			}
		}
	})
	c.values = slices.Collect(maps.Keys(values))
	slices.SortFunc(c.values, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	return c
}

func separates(r rune) bool { return strings.ContainsRune(" \t\n,;:=/@'\"`[]{}()", r) }

// walk visits every scalar below the body with its path, in an order that does not change.
func (c content) walk(visit func(path, value string)) {
	var into func(path string, v any)
	into = func(path string, v any) {
		switch v := v.(type) {
		case nil:
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(v)) {
				into(path+"."+key, v[key])
			}
		case []any:
			for i, item := range v {
				into(fmt.Sprintf("%s[%d]", path, i), item)
			}
		case float64:
			visit(path, strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%f", v), "0"), "."))
		default:
			visit(path, fmt.Sprint(v))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.body)) {
		if key != "apiVersion" && key != "kind" {
			into("."+key, c.body[key])
		}
	}
}

// find returns the path of the first scalar that the test picks, "" for none.
func (c content) find(is func(path, value string) bool) string {
	found := ""
	c.walk(func(path, value string) {
		if found == "" && is(path, value) {
			found = path
		}
	})
	return found
}

// scrub takes the values that were sent, and what is quoted as one, out of the words of a cluster.
func (c content) scrub(words string) string {
	words, _, _ = strings.Cut(words, "\n")
	for _, v := range c.values {
		if strings.Contains(words, v) && !rules[v] {
			words = strings.ReplaceAll(words, v, masked)
		}
	}
	return words
}

// rules are words that are values of many objects and stand in the rules of the API server: without
// them a message explains nothing, and they reveal nothing.
var rules = map[string]bool{"true": true, "false": true, "must": true, "not": true, "name": true, "value": true, "port": true, "data": true, "spec": true, "label": true, "than": true, "equal": true, "valid": true, "and": true, "for": true}

// listKey matches the key of a list entry in a path: [name="web"], [port=81,protocol="TCP"].
var listKey = regexp.MustCompile(`([A-Za-z]+)="((?:[^"\\]|\\.)*)"`)

// Path makes a path fit for a message: shown are the names of fields, the names of list entries, and
// their protocol. Another string that is the key of an entry is a value, as is a key of a map that
// could not be a name.
func Path(path string) string {
	path = strings.TrimPrefix(path, ".")
	path = listKey.ReplaceAllStringFunc(path, func(m string) string {
		key, value, _ := strings.Cut(m, "=")
		if (key == "name" || key == "protocol" || key == "type") && plain.MatchString(strings.Trim(value, `"`)) {
			return m
		}
		return key + "=" + masked
	})
	return mapKey.ReplaceAllStringFunc(path, func(m string) string {
		if plain.MatchString(strings.Trim(m, "[]")) {
			return m
		}
		if listKey.MatchString(m) || strings.Contains(m, masked) || number.MatchString(m) {
			return m
		}
		return "[" + masked + "]"
	})
}

var (
	mapKey = regexp.MustCompile(`\[[^\]]*\]`)
	plain  = regexp.MustCompile(`^[A-Za-z0-9._/-]*$`)
	number = regexp.MustCompile(`^\[[a-zA-Z]+=[0-9]+`)
)
