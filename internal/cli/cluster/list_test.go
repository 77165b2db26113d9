package cluster_test

import (
	"testing"

	"github.com/skerry-dev/skerry/internal/testkit/clistory"
)

func TestListStories(t *testing.T) { clistory.Run(t, "testdata/list-*.txtar") }
