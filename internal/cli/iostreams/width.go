package iostreams

import (
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// Width returns how many columns of a terminal a line takes: two for each character of the wide scripts of East Asia
// and for each emoji, none for a mark that is drawn over the character before it.
func Width(s string) int {
	columns := 0
	for _, r := range s {
		columns += widthOf(r)
	}
	return columns
}

func widthOf(r rune) int {
	switch {
	case r < unicode.MaxLatin1: // without the tables: nearly all text is that
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	}
	if kind := width.LookupRune(r).Kind(); kind == width.EastAsianWide || kind == width.EastAsianFullwidth {
		return 2
	}
	return 1
}

// Cut returns a line that takes no more than so many columns; what was longer ends in "…".
func Cut(s string, columns int) string {
	switch {
	case Width(s) <= columns:
		return s
	case columns < 1:
		return ""
	}
	return strings.TrimRight(head(s, columns-1), " ") + "…"
}

// CutMiddle is Cut for names: those of a fleet differ in their ends as often as in their beginnings, so "…"
// stands in the middle.
func CutMiddle(s string, columns int) string {
	switch {
	case Width(s) <= columns:
		return s
	case columns < 1:
		return ""
	}
	first := head(s, columns/2)
	return first + "…" + tail(s, columns-1-Width(first))
}

func head(s string, columns int) string {
	for i, r := range s {
		if columns -= widthOf(r); columns < 0 {
			return s[:i]
		}
	}
	return s
}

func tail(s string, columns int) string {
	runes := []rune(s)
	at := len(runes)
	for at > 0 {
		if columns -= widthOf(runes[at-1]); columns < 0 {
			break
		}
		at--
	}
	return string(runes[at:])
}
