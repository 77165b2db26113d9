package status_test

import (
	"testing"

	"github.com/skerry-dev/skerry/internal/testkit/clistory"
)

func TestStoriesAtATerminal(t *testing.T) { clistory.Run(t, "testdata/terminal/*.txtar") }
