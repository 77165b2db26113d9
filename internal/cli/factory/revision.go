package factory

import (
	"regexp"
	"strings"
)

// ShortRevision cuts the commit of a revision: "main@sha1:1234567". What it includes stays.
func ShortRevision(revision string) string {
	const mark, digits = "sha1:", 7
	if short := commit.ReplaceAllString(revision, mark+"$1"); short != revision {
		return short
	}
	at := strings.LastIndex(revision, mark)
	if at < 0 || len(revision) < at+len(mark)+digits {
		return revision
	}
	return revision[:at+len(mark)+digits]
}

var commit = regexp.MustCompile(`\bsha1:([0-9a-f]{7})[0-9a-f]{33}\b`)

// ShortRevisions cuts the commits of revisions in a message.
func ShortRevisions(message string) string { return commit.ReplaceAllString(message, "sha1:$1") }
