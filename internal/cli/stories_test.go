package cli_test

import (
	"strings"
	"testing"

	"github.com/skerry-dev/skerry/internal/testkit/clistory"
)

// stories are files with whole command lines, in the folders of their verbs. One test binary plays all of them: each that links
// the command tree takes seconds to link.
var stories = []string{
	"cluster/testdata/list-*.txtar",
	"debug/testdata/*.txtar",
	"drift/testdata/*.txtar",
	"events/testdata/*.txtar",
	"export/testdata/*.txtar",
	"stats/testdata/*.txtar",
	"status/testdata/terminal/*.txtar",
	"trace/testdata/*.txtar",
	"tree/testdata/*.txtar",
	"why/testdata/*.txtar",
}

func TestStories(t *testing.T) {
	for _, pattern := range stories {
		verb, _, _ := strings.Cut(pattern, "/")
		t.Run(verb, func(t *testing.T) { clistory.Run(t, pattern) })
	}
}
