package events_test

import (
	"testing"

	"github.com/skerry-dev/skerry/internal/testkit/clistory"
)

func TestStories(t *testing.T) { clistory.Run(t, "testdata/*.txtar") }
