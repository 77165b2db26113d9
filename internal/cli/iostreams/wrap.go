package iostreams

import (
	"regexp"
	"strings"
)

// minWrap is the width of a terminal below which nothing is wrapped.
const minWrap = 20

// Wrap breaks a text that a person reads between its words, so that no line is wider than the terminal that Out is;
// the lines that follow begin with indent. A word that is longer than a line stays whole, so that an address or a
// path can be copied. In a pipe a text stays one line.
func (s *IOStreams) Wrap(text, indent string) string {
	return strings.ReplaceAll(s.WrapBeside(text, Width(indent)), "\n", "\n"+indent)
}

// WrapProgress is Wrap for the terminal that Err is.
func (s *IOStreams) WrapProgress(text, indent string) string {
	if s.busy == nil {
		return text
	}
	return (&IOStreams{Columns: s.busy.columns}).Wrap(text, indent)
}

// WrapBeside is Wrap for what stands to the right of so many columns, which are another's to write.
func (s *IOStreams) WrapBeside(text string, columns int) string {
	width := s.Width() - columns
	if width < minWrap {
		return text
	}
	return WrapWords(text, width)
}

// colours are the sequences that paint writes, which take no room.
var colours = regexp.MustCompile(`\x1b\[[0-9]*m`)

// WrapWords breaks each line of a text between its words, so that it takes no more than so many columns of a terminal.
// It counts columns where libraries for that count characters. What a line begins with stays.
func WrapWords(text string, columns int) string {
	var b strings.Builder
	for i, line := range strings.Split(text, "\n") {
		if i > 0 {
			b.WriteByte('\n')
		}
		words := strings.TrimLeft(line, " ")
		used := len(line) - len(words)
		b.WriteString(line[:used])
		for j, word := range strings.Split(words, " ") {
			width := Width(colours.ReplaceAllString(word, ""))
			switch {
			case j == 0:
			case used+1+width > columns:
				b.WriteByte('\n')
				used = 0
			default:
				b.WriteByte(' ')
				used++
			}
			b.WriteString(word)
			used += width
		}
	}
	return b.String()
}
