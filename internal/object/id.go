// Package object is the identity and the canonical form of one Kubernetes object, as everything
// after the render uses it: plan, inventory, engine, agent.
//
// It promises that the same object is the same bytes, and that equal bytes mean an equal Digest. It
// links nothing but the standard library, so that an edge agent can have it for free.
package object

import (
	"cmp"
	"strings"
)

// ID names an object on a cluster: group and kind without the version, which may change while the
// object stays the same. Namespace is empty for cluster-scoped objects, and for namespaced ones
// whose manifest names none.
type ID struct{ Group, Kind, Namespace, Name string }

// String returns "Kind.group/namespace/name", or "Kind.group/name" where Namespace is empty. The
// core group is left out: "ConfigMap/apps/web".
func (id ID) String() string {
	kind := id.Kind
	if id.Group != "" {
		kind += "." + id.Group
	}
	if id.Namespace == "" {
		return kind + "/" + id.Name
	}
	return kind + "/" + id.Namespace + "/" + id.Name
}

// Compare orders IDs by group, kind, namespace and name. The order of applying is Order.
func (id ID) Compare(other ID) int {
	return cmp.Or(
		strings.Compare(id.Group, other.Group),
		strings.Compare(id.Kind, other.Kind),
		strings.Compare(id.Namespace, other.Namespace),
		strings.Compare(id.Name, other.Name),
	)
}

// validate holds IDs to what can stand in an API path and on a terminal. The API server decides what
// a good name is; this only keeps out what would address something else.
func (id ID) validate() error {
	problem := "cannot stand in a path"
	switch {
	case !isIdentifier(id.Kind):
		return &FieldError{Field: "kind", Value: id.Kind, Problem: "is not a word"}
	case id.Group != "" && !isSegment(id.Group):
		return &FieldError{Field: "group", Value: id.Group, Problem: problem}
	case id.Namespace != "" && !isSegment(id.Namespace):
		return &FieldError{Field: "namespace", Value: id.Namespace, Problem: problem}
	case !isSegment(id.Name):
		return &FieldError{Field: "name", Value: id.Name, Problem: problem}
	}
	return nil
}

// isIdentifier reports whether s is ASCII letters and digits, beginning with a letter.
func isIdentifier(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || '9' < c) {
			return false
		}
	}
	return s != ""
}

// isSegment reports whether s is printable ASCII that stays one segment of a URL path.
func isSegment(s string) bool {
	if s == "" || s == "." || s == ".." {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '/' || c == '%' {
			return false
		}
	}
	return true
}
