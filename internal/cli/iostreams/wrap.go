package iostreams

import (
	"strings"

	"github.com/mitchellh/go-wordwrap"
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
	return wordwrap.WrapString(text, uint(width))
}
