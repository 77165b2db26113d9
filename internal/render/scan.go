package render

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/skerry-dev/skerry/internal/recovery"
)

// The limits of one YAML file. No hand-written or generated manifest comes near them; kustomize, given
// what exceeds them, overflows its stack or eats all memory, and nothing recovers from either.
const (
	maxFileBytes  = 16 << 20
	maxDepth      = 256
	maxAliasNodes = 100_000
	maxAliasBytes = 8 << 20
)

// scan reads YAML the way kustomize will split and parse it, but expands nothing, and refuses what
// would blow up when expanded. It returns what the file weighs once expanded. The error has a line
// but no path.
//
// Nearly all files have no alias, and are too flat to be too deep: scanPlain sees that without
// parsing. With exact, or where it is not sure, the file is parsed.
func scan(data []byte, exact bool) (weight, *Error) {
	if len(data) > maxFileBytes {
		return weight{}, errorf(TooLarge, "file has %d bytes, more than %d", len(data), maxFileBytes)
	}
	w := weight{bytes: int64(len(data)), nodes: countMarks(data)}
	if err := w.check(); err != nil {
		return w, err // before a parser makes a node of each
	}
	if objects, ok := scanPlain(data); ok && !exact {
		w.objects = objects
		return w, nil
	}
	err := eachDocument(data, func(doc *yaml.Node, line int) *Error {
		m := measurer{sizes: map[*yaml.Node]size{}, open: map[*yaml.Node]bool{}, line: line}
		if _, err := m.measure(doc, 0); err != nil {
			return err
		}
		w.bytes += m.added.bytes
		w.nodes += m.added.nodes
		w.objects += countObjects(doc)
		return nil
	})
	return w, err
}

// countMarks counts the characters of which each node of a document takes at least one.
func countMarks(data []byte) int64 {
	n := 0
	for _, mark := range []string{"\n", ":", ",", "[", "{"} {
		n += bytes.Count(data, []byte(mark))
	}
	return int64(n)
}

// scanPlain reports whether a look at the bytes alone shows that a file has no alias and cannot nest
// deeper than maxDepth, and how many objects it holds at most.
func scanPlain(data []byte) (objects int, ok bool) {
	has := func(s string) bool { return bytes.Contains(data, []byte(s)) }
	switch {
	case has("&") && has("*"): // an alias needs both its anchor and itself
		return 0, false
	case has("\x00") || has("\ufeff"): // UTF-16, or a byte order mark that hides an indent
		return 0, false
	case has("\u0085") || has("\u2028") || has("\u2029"): // line breaks to YAML
		return 0, false
	case has(`\u`) || has(`\x`) || has(`\U`): // can spell "kind" in another way
		return 0, false
	}
	widest := 0
	for line := range bytes.Lines(data) {
		line = bytes.TrimRight(line, "\r\n")
		if bytes.IndexByte(line, '\r') >= 0 {
			return 0, false
		}
		// Every block collection begins at a column of its own within the indent and the
		// indicators, but for a list in a mapping, which may share its column.
		if indent := len(line) - len(bytes.TrimLeft(line, " \t-?:")); indent > widest {
			widest = indent
		}
	}
	flow := bytes.Count(data, []byte("[")) + bytes.Count(data, []byte("{"))
	if 2*(widest+1)+2*(flow+1) > maxDepth {
		return 0, false
	}
	return max(1, bytes.Count(data, []byte("kind"))), true
}

// separator is where kustomize cuts a file into documents. Scanning the same pieces, to their end,
// leaves nothing that kustomize sees and the scan does not.
var separator = regexp.MustCompile(`\n---.*\n`)

// eachDocument calls f with the root of each document of a file, and the number of lines before it.
func eachDocument(data []byte, f func(doc *yaml.Node, line int) *Error) *Error {
	rest := strings.ReplaceAll(string(data), "\r\n", "\n")
	line := 0
	for {
		cut := separator.FindStringIndex(rest)
		if cut == nil {
			return eachInPiece(rest, line, f)
		}
		piece, mark := rest[:cut[0]]+"\n", strings.TrimSpace(rest[cut[0]+len("\n---"):cut[1]])
		if err := eachInPiece(piece, line, f); err != nil {
			return err
		}
		line += strings.Count(piece, "\n") + 1
		if mark != "" && mark[0] != '#' {
			return &Error{Reason: InvalidYAML, Line: line, Message: "text after the document separator ---"}
		}
		rest = rest[cut[1]:]
	}
}

func eachInPiece(piece string, line int, f func(doc *yaml.Node, line int) *Error) *Error {
	decoder := yaml.NewDecoder(strings.NewReader(piece))
	for {
		var doc yaml.Node
		err := decode(decoder, &doc)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return yamlError(err, piece, line)
		}
		if err := f(&doc, line); err != nil {
			return err
		}
	}
}

// decode turns a panic of the YAML parser into an error.
func decode(decoder *yaml.Decoder, doc *yaml.Node) (err error) {
	defer func() {
		if recover() != nil {
			recovery.CountInput()
			err = errors.New("yaml: cannot be parsed")
		}
	}()
	return decoder.Decode(doc)
}

var (
	yamlLine      = regexp.MustCompile(`^line (\d+): `)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
	// parserError matches the messages whose line the parser counts from 0, all others from 1.
	parserError = regexp.MustCompile(`^did not find expected (key|'-' indicator|',' or|<document start>|node content)`)
)

// yamlError returns a parser's error with the line in the whole file. The parser's messages name
// tokens and anchors, and hold no values.
func yamlError(err error, piece string, before int) *Error {
	message := oneLine(strings.TrimPrefix(err.Error(), "yaml: "))
	line := 0
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		message = message[len(m[0]):]
		line, _ = strconv.Atoi(m[1])
	}
	if parserError.MatchString(message) {
		line++
	}
	if m := unknownAnchor.FindStringSubmatch(message); m != nil {
		line = 1 + strings.Count(piece[:max(0, strings.Index(piece, "*"+m[1]))], "\n")
	}
	line = min(max(line, 1), strings.Count(piece, "\n")+1)
	return &Error{Reason: InvalidYAML, Line: before + line, Message: message}
}

// oneLine joins the lines of a message.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// size is what a node is once every alias below it is replaced by what it stands for.
type size struct {
	nodes, bytes int64
	depth        int
}

// measurer finds the size of a document without expanding it: each anchored node is measured once.
type measurer struct {
	sizes map[*yaml.Node]size
	open  map[*yaml.Node]bool
	added size // by aliases alone
	line  int  // lines before the document
}

func (m *measurer) fail(n *yaml.Node, message string) *Error {
	return &Error{Reason: YAMLBomb, Line: m.line + n.Line, Message: message}
}

func (m *measurer) measure(n *yaml.Node, depth int) (size, *Error) {
	if depth > maxDepth {
		return size{}, m.fail(n, "nested deeper than "+strconv.Itoa(maxDepth)+" levels")
	}
	if n.Kind == yaml.AliasNode {
		return m.alias(n, depth)
	}
	if n.Anchor != "" {
		m.open[n] = true
		defer delete(m.open, n)
	}
	s := size{nodes: 1, bytes: int64(len(n.Value)) + 1}
	for _, child := range n.Content {
		c, err := m.measure(child, depth+1)
		if err != nil {
			return size{}, err
		}
		s.nodes += c.nodes
		s.bytes += c.bytes
		s.depth = max(s.depth, c.depth+1)
	}
	if n.Anchor != "" {
		m.sizes[n] = s
	}
	return s, nil
}

func (m *measurer) alias(n *yaml.Node, depth int) (size, *Error) {
	if n.Alias == nil || m.open[n.Alias] {
		return size{}, m.fail(n, "anchor &"+n.Value+" contains itself")
	}
	s := m.sizes[n.Alias]
	m.added.nodes += s.nodes
	m.added.bytes += s.bytes
	if m.added.nodes > maxAliasNodes || m.added.bytes > maxAliasBytes {
		return size{}, m.fail(n, "aliases expand to more than "+strconv.Itoa(maxAliasNodes)+" nodes or "+strconv.Itoa(maxAliasBytes)+" bytes")
	}
	if depth+s.depth > maxDepth {
		return size{}, m.fail(n, "nested deeper than "+strconv.Itoa(maxDepth)+" levels")
	}
	return s, nil
}

// countObjects returns how many objects kustomize makes of a document: one, or the items of a list.
// It must be called for measured documents only, which are bounded.
func countObjects(n *yaml.Node) int {
	n = resolveNode(n)
	if n == nil || n.Kind != yaml.MappingNode {
		return 1
	}
	items := resolveNode(lookup(n, "items"))
	if items == nil || items.Kind != yaml.SequenceNode {
		return 1
	}
	count := 0
	for _, item := range items.Content {
		count += countObjects(item)
	}
	return max(1, count)
}

// resolveNode returns what a document or an alias stands for.
func resolveNode(n *yaml.Node) *yaml.Node {
	for n != nil {
		switch {
		case n.Kind == yaml.DocumentNode && len(n.Content) == 1:
			n = n.Content[0]
		case n.Kind == yaml.AliasNode:
			n = n.Alias
		default:
			return n
		}
	}
	return nil
}

// lookup returns the value of a key of a mapping, or nil.
func lookup(n *yaml.Node, key string) *yaml.Node {
	for i := 0; n != nil && n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}
