package migrate

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// errNotPlain means that a place in a file is written in a way that no edit of its text is sure to hit.
var errNotPlain = errors.New("it is written in a way that cannot be changed here: write it plainly, on lines of its own")

// edit replaces the bytes from start to end of a file.
type edit struct {
	start, end int
	text       string
}

// text is a file that is edited in place. What is not edited stays as it is, byte for byte: comments, blank
// lines, the order of fields and the way in which strings are quoted, which an encoder would all write anew.
type text struct {
	data  []byte
	lines []int // offsets of the beginnings of lines
}

func newText(data []byte) *text {
	t := &text{data: data, lines: []int{0}}
	for i, b := range data {
		if b == '\n' {
			t.lines = append(t.lines, i+1)
		}
	}
	return t
}

// line returns a line by its number, from 1, without its end.
func (t *text) line(n int) string {
	if n < 1 || n > len(t.lines) {
		return ""
	}
	end := len(t.data)
	if n < len(t.lines) {
		end = t.lines[n]
	}
	return strings.TrimRight(string(t.data[t.lines[n-1]:end]), "\r\n")
}

// start returns where a line begins; that of the line after the last is the end of the file.
func (t *text) start(n int) int {
	if n > len(t.lines) {
		return len(t.data)
	}
	return t.lines[n-1]
}

// offset returns where a node begins. Columns count characters.
func (t *text) offset(n *yaml.Node) int {
	at := t.start(n.Line)
	for range n.Column - 1 {
		if at >= len(t.data) {
			break
		}
		_, size := utf8.DecodeRune(t.data[at:])
		at += size
	}
	return at
}

// end returns where a scalar or a node in flow style ends.
func (t *text) end(n *yaml.Node) (int, error) {
	at := t.offset(n)
	switch {
	case n.Kind == yaml.ScalarNode && bytes.HasPrefix(t.data[at:], []byte(n.Value)) && n.Value != "" && n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0:
		return at + len(n.Value), nil
	case at < len(t.data) && strings.IndexByte(`"'{[`, t.data[at]) >= 0:
		return t.closing(at)
	}
	return 0, errNotPlain
}

// closing returns the offset behind the quote or bracket that closes the one at an offset.
func (t *text) closing(at int) (int, error) {
	var open []byte
	for i := at; i < len(t.data); i++ {
		b := t.data[i]
		inside := byte(0)
		if len(open) > 0 {
			inside = open[len(open)-1]
		}
		switch {
		case inside == '"' && b == '\\', inside == '\'' && b == '\'' && i+1 < len(t.data) && t.data[i+1] == '\'':
			i++
			continue
		case inside == '"' || inside == '\'':
			if b != inside {
				continue
			}
			open = open[:len(open)-1]
		case b == '"' || b == '\'' || b == '{' || b == '[':
			open = append(open, b)
		case b == '}' || b == ']':
			open = open[:len(open)-1]
		}
		if len(open) == 0 {
			return i + 1, nil
		}
	}
	return 0, errNotPlain
}

// set replaces a scalar, which keeps its quotes.
func (t *text) set(n *yaml.Node, value string) (edit, error) {
	if n.Kind != yaml.ScalarNode {
		return edit{}, errNotPlain
	}
	at := t.offset(n)
	end, err := t.end(n)
	if err != nil {
		return edit{}, err
	}
	if quote := t.data[at]; quote == '"' || quote == '\'' {
		value = string(quote) + value + string(quote)
	}
	return edit{at, end, value}, nil
}

// add puts a field behind the last one of a mapping. value is one scalar or a node in flow style.
func (t *text) add(m *yaml.Node, key, value string) (edit, error) {
	if m.Kind != yaml.MappingNode {
		return edit{}, errNotPlain
	}
	field := key + ": " + value
	if m.Style&yaml.FlowStyle != 0 {
		end, err := t.end(m)
		if err != nil {
			return edit{}, err
		}
		if len(m.Content) > 0 {
			field = ", " + field
		}
		at := end - 1
		for at > 0 && t.data[at-1] == ' ' {
			at--
		}
		return edit{at, at, field}, nil
	}
	if len(m.Content) == 0 {
		return edit{}, errNotPlain
	}
	key0, last := m.Content[0], m.Content[len(m.Content)-1]
	at := t.start(t.blockEnd(m.Content[len(m.Content)-2].Line, key0.Column, last.Kind == yaml.SequenceNode))
	field = strings.Repeat(" ", key0.Column-1) + field + "\n"
	if at == len(t.data) && at > 0 && t.data[at-1] != '\n' {
		field = "\n" + strings.TrimSuffix(field, "\n")
	}
	return edit{at, at, field}, nil
}

// blockEnd returns the number of the first line behind what begins at a line and column: a field, or an item.
// Blank lines and comments at its end are not part of it.
func (t *text) blockEnd(line, column int, sequence bool) int {
	end := line + 1
	for n := line + 1; n <= len(t.lines); n++ {
		content := strings.TrimLeft(t.line(n), " ")
		indent := len(t.line(n)) - len(content)
		switch {
		case content == "", content[0] == '#' && indent < column:
			continue
		case indent >= column, sequence && indent == column-1 && (content == "-" || strings.HasPrefix(content, "- ")):
			end = n + 1
			continue
		}
		break
	}
	return min(end, len(t.lines)+1)
}

// remove takes a field out of a mapping.
func (t *text) remove(m, key *yaml.Node) (edit, error) {
	at := slices.Index(m.Content, key)
	if m.Style&yaml.FlowStyle != 0 {
		return t.removeFromFlow(m, at, 2)
	}
	value := m.Content[at+1]
	if strings.TrimSpace(string(t.data[t.start(key.Line):t.offset(key)])) != "" {
		return edit{}, errNotPlain // it stands behind the dash of an item
	}
	end := t.blockEnd(key.Line, key.Column, value.Kind == yaml.SequenceNode)
	return edit{t.start(key.Line), t.start(end), ""}, nil
}

// removeItem takes an item out of a sequence.
func (t *text) removeItem(s, item *yaml.Node) (edit, error) {
	at := slices.Index(s.Content, item)
	if s.Style&yaml.FlowStyle != 0 {
		return t.removeFromFlow(s, at, 1)
	}
	begin := t.start(item.Line)
	dash := strings.LastIndexByte(string(t.data[begin:t.offset(item)]), '-')
	if dash < 0 || strings.TrimSpace(string(t.data[begin:begin+dash])) != "" {
		return edit{}, errNotPlain
	}
	return edit{begin, t.start(t.blockEnd(item.Line, dash+1, false)), ""}, nil
}

// removeFromFlow takes count nodes out of a collection in flow style, with the comma that parts them from others.
func (t *text) removeFromFlow(c *yaml.Node, at, count int) (edit, error) {
	start := t.offset(c.Content[at])
	end, err := t.end(c.Content[at+count-1])
	if err != nil {
		return edit{}, err
	}
	switch {
	case at+count < len(c.Content):
		end = t.offset(c.Content[at+count])
	case at > 0:
		if start, err = t.end(c.Content[at-1]); err != nil {
			return edit{}, err
		}
	}
	return edit{start, end, ""}, nil
}

// apply returns the file with the edits made, which must not overlap.
func (t *text) apply(edits []edit) []byte {
	edits = slices.Clone(edits)
	slices.SortStableFunc(edits, func(a, b edit) int { return a.start - b.start })
	var out bytes.Buffer
	at := 0
	for _, e := range edits {
		if e.start < at {
			continue // lies within what an edit before has taken out
		}
		out.Write(t.data[at:e.start])
		out.WriteString(t.ended(e.text))
		at = e.end
	}
	out.Write(t.data[at:])
	return out.Bytes()
}

// ended gives lines that are put in the ends that the file has.
func (t *text) ended(s string) string {
	if first := bytes.IndexByte(t.data, '\n'); first < 1 || t.data[first-1] != '\r' {
		return s
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n")
}

// child returns the key and the value of a field, which a path of names leads to; nil when there is none. It
// follows no alias.
func child(n *yaml.Node, path ...string) (key, value *yaml.Node) {
	for _, name := range path {
		key, value = nil, nil
		if n == nil || n.Kind != yaml.MappingNode {
			return nil, nil
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == name {
				key, value = n.Content[i], n.Content[i+1]
			}
		}
		n = value
	}
	return key, value
}

// scalar returns the value of a field; "" when there is none.
func scalar(n *yaml.Node, path ...string) string {
	if _, v := child(n, path...); v != nil && v.Kind == yaml.ScalarNode && v.Tag != "!!null" {
		return v.Value
	}
	return ""
}

// items returns the items of a list.
func items(n *yaml.Node, path ...string) []*yaml.Node {
	if _, v := child(n, path...); v != nil && v.Kind == yaml.SequenceNode {
		return v.Content
	}
	return nil
}
