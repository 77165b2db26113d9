package render

import (
	"context"
	"regexp"
	"strings"

	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/tree"
)

// Outline is what a directory names, as far as that is known without variables and keys: each field is the
// text that Git has, with a "*" for what would be filled in. An object that the render would give matches one
// of the outlines; not every object that matches one would be given.
type Outline struct{ Group, Kind, Name string }

// Outlines returns what a directory names, without a value for any variable and without opening a file that
// is encrypted. So it is known which objects a Kustomization may want whose Secret is missing. The options
// are those of the render that failed. The result is shared: it must not be changed.
func (c *Cache) Outlines(ctx context.Context, t *tree.Tree, o Options) ([]Outline, error) {
	dir, failed := o.directory()
	if failed != nil {
		return nil, failed
	}
	o.Decryption = &Decryption{Skip: true}
	r, _, err := c.render(ctx, t, o, dir)
	if err != nil {
		return nil, err
	}
	return r.outlines(), nil
}

func outlinesOf(objects []object.Object, templates []template) []Outline {
	all := make([]Outline, 0, len(objects)+len(templates))
	for i := range objects {
		id := objects[i].ID
		all = append(all, Outline{id.Group, id.Kind, id.Name}.opened())
	}
	for _, t := range templates {
		all = append(all, t.outline())
	}
	return all
}

// outline is that of an object with variables. A key with a variable in it may become any field of metadata.
func (t template) outline() Outline {
	m, err := decodeJSON(t.raw)
	if err != nil {
		return Outline{"*", "*", "*"}
	}
	meta, _ := m["metadata"].(map[string]any)
	group, _, grouped := strings.Cut(unfilled(m["apiVersion"]), "/")
	switch {
	case grouped:
	case strings.Contains(group, "*"):
		group = "*"
	default:
		group = ""
	}
	return Outline{group, unfilled(m["kind"]), unfilled(meta["name"])}.opened()
}

// unfilled puts a "*" in the place of all that lies between the first and the last variable of a text. A
// field that is not there may be one whose key is a variable.
func unfilled(v any) string {
	text, ok := v.(string)
	if !ok {
		return "*"
	}
	before, rest, found := strings.Cut(text, "${")
	if !found {
		return text
	}
	// "$${a}" is the text "${a}": the dollars before a variable are cut down too.
	return strings.TrimRight(before, "$") + "*" + rest[strings.LastIndex(rest, "}")+1:]
}

// generatedHash is what kustomize appends to the name of a generated object: it is another one when the
// content of an encrypted file is.
var generatedHash = regexp.MustCompile(`-[2456789bcdfghkmt]{10}$`)

// opened puts a "*" in the place of what an encrypted file decides.
func (l Outline) opened() Outline {
	switch {
	case strings.Contains(l.Name, encryptedMark):
		l.Name = "*"
	case l.Group == "" && (l.Kind == "ConfigMap" || l.Kind == "Secret"):
		l.Name = generatedHash.ReplaceAllString(l.Name, "-*")
	}
	return l
}

// Matches reports whether an object may be the one that was outlined. Namespaces do not count: one may be
// given by a variable as well.
func (l Outline) Matches(id object.ID) bool {
	return matches(l.Group, id.Group) && matches(l.Kind, id.Kind) && matches(l.Name, id.Name)
}

// matches compares a text with a pattern that has one "*" at most for any text.
func matches(pattern, text string) bool {
	before, after, open := strings.Cut(pattern, "*")
	if !open {
		return pattern == text
	}
	last := strings.LastIndex(after, "*")
	if last >= 0 { // what lies between is any text too
		after = after[last+1:]
	}
	return len(text) >= len(before)+len(after) && strings.HasPrefix(text, before) && strings.HasSuffix(text, after)
}
