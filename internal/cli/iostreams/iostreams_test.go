package iostreams

import (
	"context"
	"errors"
	"io"
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

func TestConfirm(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, " YES \n": true, "n\n": false, "\n": false, "": false, "yup\n": false, "y": true} {
		s, in, _, log := TestTerminal(24)
		in.WriteString(answer)
		got, err := s.Confirm(t.Context(), "Really\x1b[2J?")
		if err != nil || got != want {
			t.Errorf("%q: %v, %v", answer, got, err)
		}
		if text := log.String(); text[:len("Really[2J? [y/N] ")] != "Really[2J? [y/N] " {
			t.Errorf("asked %q", text)
		}
	}
}

// TestConfirmIsLeft: nobody has to press a key for Ctrl-C to work.
func TestConfirmIsLeft(t *testing.T) {
	s, _, _, _ := TestTerminal(24)
	silent, quiet := io.Pipe()
	defer quiet.Close()
	s.In = silent
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if yes, err := s.Confirm(ctx, "Really?"); yes || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", yes, err)
	}
}

func TestLine(t *testing.T) {
	for in, want := range map[string]string{
		"": "", " ": "", "a b": "a b", " a": "a", "a ": "a", "a  b": "a b", "a\nb": "a b", "a\tb": "a b", "\x1b[31mä": "[31mä", "a\x7f": "a",
	} {
		if got := Line(in); got != want {
			t.Errorf("Line(%q) = %q, want %q", in, got, want)
		}
	}
}
