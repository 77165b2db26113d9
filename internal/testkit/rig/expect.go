package rig

import (
	"fmt"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Expect reads a condition from words, all of which must hold:
//
//	present, absent
//	Ready=False                 the status of a condition; its name starts with a capital
//	Ready.reason=PathNotFound   a field of a condition
//	spec.replicas=2             a field; a dot in a key is written as \.
//	data.greeting~^hello        a field, a condition's status or field, by a regular expression
//	status.artifact!=           != and !~ for not having it: here, a field that is there
//
// A field that is not there has the value "".
func Expect(words ...string) (Condition, error) {
	all := make([]Condition, 0, len(words))
	for _, w := range words {
		c, err := expectation(w)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return Present, nil
	}
	return func(o *unstructured.Unstructured) (bool, string) {
		for _, c := range all {
			if ok, why := c(o); !ok {
				return false, why
			}
		}
		return true, ""
	}, nil
}

// MustExpect is Expect for words that are written in a program.
func MustExpect(words ...string) Condition {
	c, err := Expect(words...)
	if err != nil {
		panic(err)
	}
	return c
}

var expectationForm = regexp.MustCompile(`^((?:[^=~!\\]|\\.)+?)(!=|!~|=|~)((?s).*)$`)

func expectation(word string) (Condition, error) {
	switch word {
	case "present":
		return Present, nil
	case "absent":
		return Absent, nil
	}
	parts := expectationForm.FindStringSubmatch(word)
	if parts == nil {
		return nil, fmt.Errorf("%q is neither present, absent, field=value, field!=value nor field~regexp", word)
	}
	path, operator, want := splitPath(parts[1]), parts[2], parts[3]
	holds := func(got string) bool { return got == want }
	switch operator {
	case "!=":
		holds = func(got string) bool { return got != want }
	case "~", "!~":
		pattern, err := regexp.Compile(want)
		if err != nil {
			return nil, err
		}
		holds = func(got string) bool { return pattern.MatchString(got) == (operator == "~") }
	}
	return func(o *unstructured.Unstructured) (bool, string) {
		if o == nil {
			return false, "not there"
		}
		got := Value(o, path...)
		return holds(got), fmt.Sprintf("%s is %q%s", parts[1], got, conditionText(o, path))
	}, nil
}

// splitPath splits at dots that have no backslash before them.
func splitPath(path string) []string {
	const dot = "\x00"
	parts := strings.Split(strings.ReplaceAll(path, `\.`, dot), ".")
	for i := range parts {
		parts[i] = strings.ReplaceAll(parts[i], dot, ".")
	}
	return parts
}

// Value returns a field as text, "" when it is not there. A path that starts with a capital names a
// condition and optionally one of its fields; a number in a path is an index.
func Value(o *unstructured.Unstructured, path ...string) string {
	var current any = o.Object
	if isCondition(path) {
		c := findCondition(o, path[0])
		if c == nil {
			return ""
		}
		current, path = c, path[1:]
		if len(path) == 0 {
			path = []string{"status"}
		}
	}
	for _, key := range path {
		switch in := current.(type) {
		case map[string]any:
			current = in[key]
		case []any:
			var i int
			if n, _ := fmt.Sscanf(key, "%d", &i); n != 1 || i < 0 || i >= len(in) {
				return ""
			}
			current = in[i]
		default:
			return ""
		}
	}
	if current == nil {
		return ""
	}
	return fmt.Sprint(current)
}

func isCondition(path []string) bool { return path[0] != "" && path[0][0] >= 'A' && path[0][0] <= 'Z' }

func findCondition(o *unstructured.Unstructured, kind string) map[string]any {
	all, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range all {
		if c, ok := c.(map[string]any); ok && c["type"] == kind {
			return c
		}
	}
	return nil
}

// conditionText adds to a failed expectation of a condition what it says.
func conditionText(o *unstructured.Unstructured, path []string) string {
	if !isCondition(path) {
		return ""
	}
	c := findCondition(o, path[0])
	if c == nil {
		return " (there is no such condition)"
	}
	return fmt.Sprintf(" (%v, %v: %v)", c["status"], c["reason"], c["message"])
}
