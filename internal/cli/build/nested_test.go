package build

import (
	"fmt"
	"strings"
	"testing"

	"github.com/skerry-dev/skerry/internal/cli/factory"
)

// TestARecursiveBuildIsBounded in depth and in number, and says where it stopped and what to do.
func TestARecursiveBuildIsBounded(t *testing.T) {
	path := []string{"a/root"}
	for i := range maxDepth {
		path = append(path, fmt.Sprintf("a/k%d", i))
	}
	for name, tt := range map[string]struct {
		rendered int
		path     []string
		want     string
	}{
		"as deep as may be": {1, path[:maxDepth], ""},
		"as many as may be": {maxNested - 1, path[:2], ""},
		"too deep":          {1, path, "a/root renders … a/k17, which renders a/k18, which renders a/k19"},
		"too many":          {maxNested, path[:2], "a/k0 is one"},
	} {
		err := bounded(tt.rendered, tt.path)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		if advised, ok := err.(*factory.NextError); err != nil && (!ok || advised.Next == "") { //nolint:errorlint // the next step is to be outermost
			t.Errorf("%s: no next step", name)
		}
	}
}
