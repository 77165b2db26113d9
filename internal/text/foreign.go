package text

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text from an edge, a Git server or a commit reaches conditions, events, logs and terminals. The functions
// of this file are the one place that makes it fit for them: what could steer a terminal, reverse the
// direction of writing or break a line never passes.

// MessageLimit bounds in bytes what of a message from an edge goes into a status.
const MessageLimit = 200

// Line returns a text as one line: runs of spaces, line breaks and control characters become one space;
// characters that are not printed (among them those that turn the direction of writing) and bytes that are not
// UTF-8 are dropped. A text longer than limit bytes is cut between two characters and ends in "…"; a limit of 0
// is none.
func Line(s string, limit int) string {
	s = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r), unicode.IsControl(r):
			return ' '
		case r == utf8.RuneError, !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s)), " ")
	return Truncate(s, limit)
}

// Lines returns a text without what could steer a terminal, its line breaks excepted; tabs become spaces.
func Lines(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r == '\t':
			return ' '
		case r == utf8.RuneError, unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, s)
}

// Visible returns a text in which each character that is not printed is replaced by U+FFFD, so that its place
// is seen.
func Visible(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// IsPrintable reports whether a text is no longer than limit bytes and is UTF-8 whose
// characters are all printed.
func IsPrintable(s string, limit int) bool {
	return len(s) <= limit && !strings.ContainsFunc(s, func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) })
}

// Truncate cuts a text that is longer than limit bytes between two characters, and ends it in "…"; a limit of
// 0 is none.
func Truncate(s string, limit int) string {
	if limit == 0 || len(s) <= limit {
		return s
	}
	s = s[:max(0, limit-len("…"))]
	for s != "" {
		if r, size := utf8.DecodeLastRuneInString(s); r != utf8.RuneError || size > 1 {
			break
		}
		s = s[:len(s)-1]
	}
	return s + "…"
}
