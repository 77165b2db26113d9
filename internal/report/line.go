package report

import (
	"regexp"
	"strings"
	"unicode"
)

// maxLine bounds a message, in runes. Etcd holds many of them, a terminal shows them.
const maxLine = 1000

// localAddress is our own end of a connection in an error of package net; its port is another one
// at each try.
var localAddress = regexp.MustCompile(`(\[[0-9a-fA-F:.%a-z]+\]|[0-9.]+):[0-9]+->`)

// Line makes a text fit for a condition or an event: one line without control characters, which
// could steer the terminal of whoever reads it, bounded, and without what differs at each try.
func Line(text string) string {
	text = localAddress.ReplaceAllString(strings.ToValidUTF8(text, "\uFFFD"), "")
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	}), " ")
	if runes := []rune(text); len(runes) > maxLine {
		text = string(runes[:maxLine-1]) + "…"
	}
	return text
}
