package report

import (
	"regexp"

	"github.com/skerry-dev/skerry/internal/text"
)

// maxLine bounds a message, in bytes. Etcd holds many of them, a terminal shows them.
const maxLine = 1000

// localAddress is our own end of a connection in an error of package net; its port is another one
// at each try.
var localAddress = regexp.MustCompile(`(\[[0-9a-fA-F:.%a-z]+\]|[0-9.]+):[0-9]+->`)

// Line makes a message fit for a condition or an event: one line of printable characters, bounded, and without
// what differs at each try.
func Line(message string) string {
	return text.Line(localAddress.ReplaceAllString(message, ""), maxLine)
}
