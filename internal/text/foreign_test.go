package text

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestNothingInALineSteersATerminal(t *testing.T) {
	for in, want := range map[string]string{
		"two\nlines\r\n and\ttabs":              "two lines and tabs",
		"\x1b[31mred\x1b[0m":                    "[31mred [0m",
		"\u009b31mC1":                           "31mC1",
		"left\u202eright\u2066\u200f":           "leftright",
		"zero\u200bwidth\ufeff":                 "zerowidth",
		"bad \xff\xfe bytes":                    "bad bytes",
		"para\u2029graph, line\u2028break":      "para graph, line break",
		"non\u00a0breaking":                     "non breaking",
		"bell\a, null\x00, delete\x7f":          "bell , null , delete",
		"日本語, Ünïcode, 🚀":                       "日本語, Ünïcode, 🚀",
		"private \ue000, unassigned \U000e0fff": "private , unassigned",
	} {
		if got := Line(in, 0); got != want {
			t.Errorf("Line(%q) = %q; want %q", in, got, want)
		}
		if got := Line(want, 0); got != want {
			t.Errorf("Line(%q) is not its own result: %q", want, got)
		}
		if got := Visible(in); utf8.RuneCountInString(got) != utf8.RuneCountInString(in) || strings.ContainsAny(got, "\x1b\n\u202e\x00") {
			t.Errorf("Visible(%q) = %q", in, got)
		}
		if got := Lines(in); strings.ContainsAny(got, "\x1b\u009b\r\u202e\u2066\a\x00\x7f") || strings.Contains(got, "\xff") {
			t.Errorf("Lines(%q) = %q", in, got)
		}
	}
	if got := Lines("two\nlines\tand a tab"); got != "two\nlines and a tab" {
		t.Errorf("Lines = %q", got)
	}
}

func TestALineIsCutBetweenCharacters(t *testing.T) {
	for _, in := range []string{strings.Repeat("x", 100), strings.Repeat("é", 100), strings.Repeat("日", 100), strings.Repeat("🚀", 100), "x" + strings.Repeat("🚀", 100)} {
		for limit := 3; limit < 24; limit++ {
			got := Line(in, limit)
			if len(got) > limit || len(got) < limit-3 || !utf8.ValidString(got) || !strings.HasSuffix(got, "…") {
				t.Errorf("Line(%.8q…, %d) = %q", in, limit, got)
			}
		}
	}
	if got := Line("short", 5); got != "short" {
		t.Errorf("what fits is cut: %q", got)
	}
}

func TestOnlyPrintableNamesAreNames(t *testing.T) {
	for in, want := range map[string]bool{"edge-1": true, "名前": true, "a b": true, "": true, "a\nb": false, "\x1b[1m": false, "a\u202eb": false, "a\u200bb": false, "a\xffb": false, "too long": false} {
		if got := IsPrintable(in, 7); got != want {
			t.Errorf("IsPrintable(%q) = %v", in, got)
		}
	}
}
