package edge

import (
	"strings"
	"testing"
)

func TestSane(t *testing.T) {
	for text, want := range map[string]bool{
		"web":                         true,
		"system:größe":                true,
		"倉庫":                          true,
		"two\nlines":                  false,
		"\x1b[31mred":                 false,
		"back\u202ewards":             false,
		strings.Repeat("a", 253):      true,
		strings.Repeat("a", 254):      false,
		"zero\u200bwidth":             false,
		"name with a space, in a tag": true,
	} {
		if got := sane(text, 253); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
