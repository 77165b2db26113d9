package iostreams

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCleanAndLine(t *testing.T) {
	tests := map[string]struct{ in, clean, line string }{
		"plain":         {"it works", "it works", "it works"},
		"colour":        {"\x1b[31mred\x1b[0m", "[31mred[0m", "[31mred[0m"},
		"title":         {"\x1b]0;owned\x07", "]0;owned", "]0;owned"},
		"C1 control":    {"a\u009b31mb", "a31mb", "a31mb"},
		"carriage":      {"good\rbad", "goodbad", "goodbad"},
		"lines":         {"a\n  b\tc\n", "a\n  b c\n", "a b c"},
		"direction":     {"a\u202eb\u2066c", "abc", "abc"},
		"broken UTF-8":  {"a\xffb", "ab", "ab"},
		"other scripts": {"häfen 港", "häfen 港", "häfen 港"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.clean, Clean(tt.in)); diff != "" {
				t.Errorf("Clean (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.line, Line(tt.in)); diff != "" {
				t.Errorf("Line (-want +got):\n%s", diff)
			}
		})
	}
}

func TestColourIsOnlyForTerminals(t *testing.T) {
	s, _, _, _ := Test()
	if got := s.Green("ok"); got != "ok" {
		t.Errorf("without colours: %q", got)
	}
	s.Colour = true
	if got := s.Green("ok"); got != "\x1b[32mok\x1b[0m" {
		t.Errorf("with colours: %q", got)
	}
	if s.CanPrompt() {
		t.Error("a test can be prompted")
	}
}
