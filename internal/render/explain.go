package render

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/konfig"

	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/tree"
)

// explain turns kustomize's error into one that names the file and line, is one short line, is the
// same each time, and holds nothing of a Secret. kustomize's own quote whole objects, patches and
// generator arguments, and print addresses in memory.
func explain(c *closure, err error) *Error {
	if found := c.inspect(); found != nil {
		return found
	}
	message := oneLine(err.Error())
	if m := registeredTwice.FindStringSubmatch(message); m != nil {
		return c.twice(&object.DuplicateError{ID: parseKustomizeID(m[1])})
	}
	if strings.Contains(message, "namespace transformation produces ID conflict") {
		return c.collision()
	}
	out := errorf(BuildFailed, "%s", c.redact(tidy(message)))
	out.Path = c.fileOf(message)
	return out
}

// maxMessage is how many bytes of kustomize's message are shown. Its last words say what is wrong, and
// its first ones where: a longer message loses its middle.
const (
	maxMessage = 900
	maxStart   = 200
)

var registeredTwice = regexp.MustCompile(`already registered id: ([^\s']+)`)

// rewrites cut what quotes content or changes from run to run, and then the wrapping that says the
// same as the path of the error.
var rewrites = []struct {
	from *regexp.Regexp
	to   string
}{
	{regexp.MustCompile("trouble configuring builtin (\\w+) with config: `.*`: "), "$1: "},
	{regexp.MustCompile(`: node contents:.*$`), ""},
	{regexp.MustCompile(` in object .*$`), ""},
	{regexp.MustCompile(`(produces ID conflict): .*$`), "$1"},
	{regexp.MustCompile(`merging from generator .*: id resid\.ResId\{.*Kind:"([^"]*)".*Name:"([^"]*)".*\} `), "generated $1/$2 "},
	{regexp.MustCompile(`literal sources \[.*\]: .*$`), "a literal is not key=value"},
	{regexp.MustCompile(`line \[.*\] has invalid utf8 bytes.*$`), "a line is not UTF-8"},
	{regexp.MustCompile(`:? ?(?:from )?\[patch: ".*"\]`), ""},
	{regexp.MustCompile(`(patch and path can't be set at the same time|must specify one of patch and path).*$`), "$1"},
	{regexp.MustCompile(`received error .* for the following resource:.*$`), "a resource cannot be decoded"},
	{regexp.MustCompile(`&?\{[^{}]*0x[0-9a-f]+[^{}]*\}`), "{}"},
	{regexp.MustCompile(`accumulation err='accumulating resources from '[^']*': read [^:]*: file does not exist': `), ""},
	{regexp.MustCompile(`': must build at directory: .*$`), ""},
	{regexp.MustCompile(`accumulation err='`), ""},
	{regexp.MustCompile(`(recursed accumulation|recursed merging) (?:of|from) path '[^']*': `), ""},
	{regexp.MustCompile(`accumulating (resources|components)(?: from '[^']*')?: `), ""},
	{regexp.MustCompile(`accumulateDirectory: "(.*)"$`), "$1"},
	{regexp.MustCompile(`'/'`), "'.'"},
	{regexp.MustCompile(`'/`), "'"},
}

func tidy(message string) string {
	for _, r := range rewrites {
		message = r.from.ReplaceAllString(message, r.to)
	}
	if len(message) > maxMessage {
		start, end := message[:maxStart], message[len(message)-(maxMessage-maxStart):]
		message = strings.ToValidUTF8(start, "") + " … " + strings.ToValidUTF8(end, "")
	}
	return strings.TrimSpace(message)
}

var (
	pathInMessage = regexp.MustCompile(`path '(/[^']*)'`)
	fileInMessage = regexp.MustCompile(`resources from '([^']*)'`)
)

// fileOf returns the innermost file that kustomize's message speaks of, or "".
func (c *closure) fileOf(message string) string {
	dir := c.root
	if m := pathInMessage.FindAllStringSubmatch(message, -1); m != nil {
		dir = m[len(m)-1][1]
	}
	for _, m := range fileInMessage.FindAllStringSubmatch(message, -1) {
		p := m[1]
		if !path.IsAbs(p) {
			p = path.Join(dir, p)
		}
		if c.files[p] != nil {
			return p[1:]
		}
	}
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		if p := path.Join(dir, name); c.files[p] != nil && p != c.made {
			return p[1:]
		}
	}
	return ""
}

// inspect parses every file of the closure and returns the first fault that would fail any build.
func (c *closure) inspect() *Error {
	for _, p := range slices.Sorted(maps.Keys(c.roles)) {
		err := eachDocument(c.files[p], func(doc *yaml.Node, before int) *Error {
			root := resolveNode(doc)
			if c.roles[p] != roleResources || root == nil || root.Tag == "!!null" {
				return nil
			}
			if err := incomplete(root, before, 0); err != nil {
				return err
			}
			return sameKey(root, before)
		})
		if err != nil {
			return err.in(p[1:])
		}
	}
	return nil
}

// incomplete returns the error of a document, or of an item of a list, that lacks something.
func incomplete(root *yaml.Node, before, depth int) *Error {
	if message := missing(root); message != "" {
		return &Error{Reason: InvalidObject, Line: before + root.Line, Message: message}
	}
	items := resolveNode(lookup(root, "items"))
	if items == nil || !strings.HasSuffix(scalar(root, "kind"), "List") || depth > maxDepth {
		return nil
	}
	for _, item := range items.Content {
		if item = resolveNode(item); scalar(item, "apiVersion") == "" || scalar(item, "kind") == "" {
			continue // a list of something else: any kind may end in "List"
		}
		if err := incomplete(item, before, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// missing describes what a document lacks to be an object.
func missing(root *yaml.Node) string {
	kind, name := identity(root)
	switch {
	case root.Kind != yaml.MappingNode:
		return "is not a Kubernetes object"
	case scalar(root, "apiVersion") == "":
		return "apiVersion is missing"
	case kind == "":
		return "kind is missing"
	case name == "" && scalar(resolveNode(lookup(root, "metadata")), "generateName") != "":
		return kind + ": metadata.generateName is not supported: an object whose name the cluster makes up would be created anew by each commit; give it a metadata.name"
	case name == "" && !strings.HasSuffix(kind, "List"):
		return kind + ": metadata.name is missing"
	}
	return ""
}

// identity returns what a document says it is.
func identity(root *yaml.Node) (kind, name string) {
	return oneLine(scalar(root, "kind")), oneLine(scalar(resolveNode(lookup(root, "metadata")), "name"))
}

// scalar returns a string of a mapping, or "".
func scalar(n *yaml.Node, key string) string {
	v := resolveNode(lookup(n, key))
	if v == nil || v.Kind != yaml.ScalarNode {
		return ""
	}
	return v.Value
}

// sameKey finds a key that a mapping has twice.
func sameKey(n *yaml.Node, before int) *Error {
	seen := map[string]int{}
	for i, child := range n.Content {
		if err := sameKey(child, before); err != nil {
			return err
		}
		if n.Kind != yaml.MappingNode || i%2 == 1 || child.Value == "<<" {
			continue
		}
		if line, twice := seen[child.Value]; twice {
			message := fmt.Sprintf("key %q is already set in line %d", oneLine(child.Value), before+line)
			return &Error{Reason: InvalidYAML, Line: before + child.Line, Message: message}
		}
		seen[child.Value] = child.Line
	}
	return nil
}

// position is where a manifest stands.
type position struct {
	path string
	line int
}

// eachManifest calls f for each document that should be an object, files in order.
func (c *closure) eachManifest(f func(at position, root *yaml.Node)) {
	for _, p := range slices.Sorted(maps.Keys(c.roles)) {
		if c.roles[p] != roleResources {
			continue
		}
		_ = eachDocument(c.files[p], func(doc *yaml.Node, before int) *Error {
			if root := resolveNode(doc); root != nil {
				f(position{p[1:], before + root.Line}, root)
			}
			return nil
		})
	}
}

// find returns where objects of a kind and name are declared, in order. Names may have got a prefix
// or suffix since; where a name is as it was declared, only those count.
func (c *closure) find(kind, name string) []position {
	var exact, similar []position
	c.eachManifest(func(at position, root *yaml.Node) {
		k, n := identity(root)
		switch {
		case k != kind || n == "":
		case n == name:
			exact = append(exact, at)
		case strings.Contains(name, n):
			similar = append(similar, at)
		}
	})
	if len(exact) > 0 {
		return exact
	}
	return similar
}

// locate adds the file and line of an object to its error, where it is clear which it is.
func (c *closure) locate(err *Error, kind, name string) *Error {
	if found := c.inspect(); found != nil {
		return found
	}
	if positions := c.find(kind, name); len(positions) == 1 {
		err.Path, err.Line = positions[0].path, positions[0].line
	}
	return err
}

// locate adds file and line where the object at fault is known. It reads the tree again, which only a
// failure pays for.
func (e *Error) locate(t *tree.Tree, o Options, dir string) {
	if e.kind == "" || e.Path != "" {
		return
	}
	c, err := collect(t, o, dir)
	if err != nil {
		return
	}
	if positions := c.find(e.kind, e.name); len(positions) == 1 {
		e.Path, e.Line = positions[0].path, positions[0].line
	}
}

// kustomizeID is kustomize's "Kind.version.group/name.namespace".
var kustomizeID = regexp.MustCompile(`^([^.]+)\.[^.]+\.(.+)/(.+)\.([^.]*)$`)

func parseKustomizeID(s string) object.ID {
	m := kustomizeID.FindStringSubmatch(s)
	if m == nil {
		return object.ID{Name: s}
	}
	id := object.ID{Kind: m[1], Group: m[2], Name: m[3], Namespace: m[4]}
	if id.Group == "[noGrp]" {
		id.Group = ""
	}
	if id.Namespace == "[noNs]" {
		id.Namespace = ""
	}
	return id
}

// twice returns the error of an object that is there twice.
func (c *closure) twice(e *object.DuplicateError) *Error {
	id := e.ID
	err := errorf(DuplicateObject, "%s", e)
	positions := c.find(id.Kind, id.Name)
	if len(positions) > 0 {
		last := positions[len(positions)-1]
		err.Path, err.Line = last.path, last.line
	}
	if len(positions) > 1 {
		err.Message = fmt.Sprintf("%s is also in %s line %d", id, positions[0].path, positions[0].line)
		if e.Namespaces {
			err.Message += ": the kind has no namespaces, so metadata.namespace does not make two objects of it"
		}
	}
	return err
}

// collision returns the error of two objects that setting one namespace makes the same. kustomize's
// message is the two objects as a whole, so they are looked for instead.
func (c *closure) collision() *Error {
	seen := map[[2]string]position{}
	var found *Error
	c.eachManifest(func(at position, root *yaml.Node) {
		kind, name := identity(root)
		first, twice := seen[[2]string{kind, name}]
		if !twice {
			seen[[2]string{kind, name}] = at
		} else if found == nil {
			found = &Error{Reason: DuplicateObject, Path: at.path, Line: at.line}
			found.Message = fmt.Sprintf("the namespace that is set makes %s/%s the same as in %s line %d", kind, name, first.path, first.line)
		}
	})
	if found == nil {
		found = errorf(DuplicateObject, "the namespace that is set makes two objects the same")
	}
	return found
}
