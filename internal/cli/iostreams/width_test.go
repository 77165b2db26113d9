package iostreams

import (
	"strings"
	"testing"
)

func TestWidthIsThatOfATerminal(t *testing.T) {
	for in, want := range map[string]int{
		"": 0, "shop-1": 6, "häfen": 5, "ha\u0308fen": 5, "港": 2, "東京-1": 6, "🚀": 2, "ｆｕｌｌ": 8, "█▒·": 3, "✔ ok…": 5, "ﾊﾝｶｸ": 4,
	} {
		if got := Width(in); got != want {
			t.Errorf("Width(%q) = %d, want %d", in, got, want)
		}
	}
}

func TestWhatIsCutFits(t *testing.T) {
	for _, in := range []string{"a-name-that-is-rather-long", strings.Repeat("港", 12), "a🚀b🚀c🚀d🚀e🚀f🚀", "one two three four", "he\u0301\u0301\u0301llo wo\u0301rld"} {
		for columns := range 30 {
			for name, got := range map[string]string{"Cut": Cut(in, columns), "CutMiddle": CutMiddle(in, columns)} {
				if Width(got) > columns {
					t.Errorf("%s(%q, %d) = %q, which takes %d", name, in, columns, got, Width(got))
				}
				if columns >= Width(in) && got != in {
					t.Errorf("%s(%q, %d) = %q, and it fits", name, in, columns, got)
				}
			}
		}
	}
	for columns, want := range map[int][2]string{
		12: {"shop-of-the…", "shop-o…th-17"}, 2: {"s…", "s…"}, 1: {"…", "…"}, 0: {"", ""},
	} {
		if got := Cut("shop-of-the-north-17", columns); got != want[0] {
			t.Errorf("Cut to %d: %q, want %q", columns, got, want[0])
		}
		if got := CutMiddle("shop-of-the-north-17", columns); got != want[1] {
			t.Errorf("CutMiddle to %d: %q, want %q", columns, got, want[1])
		}
	}
}

func TestProseIsWrappedAtATerminalOnly(t *testing.T) {
	s, _, _, _ := Test()
	const prose = "the cluster does not answer: dial tcp 10.0.0.7:6443: i/o timeout"
	if got := s.Wrap(prose, "  "); got != prose {
		t.Errorf("in a pipe: %q", got)
	}
	columns := 30
	s.Columns = func() int { return columns }
	if got, want := s.Wrap(prose, "  "), "the cluster does not answer:\n  dial tcp 10.0.0.7:6443: i/o\n  timeout"; got != want {
		t.Errorf("at 30 columns: %q, want %q", got, want)
	}
	if got, want := s.Wrap("see https://git.example.com/team/fleet/commits", ""), "see\nhttps://git.example.com/team/fleet/commits"; got != want {
		t.Errorf("an address: %q, want %q", got, want)
	}
	if got, want := s.Wrap("\x1b[31mred\x1b[0m 東京東京東京東京 東京東京東京 end", ""), "\x1b[31mred\x1b[0m 東京東京東京東京\n東京東京東京 end"; got != want {
		t.Errorf("wide characters and colours: %q, want %q", got, want)
	}
	if got, want := s.Wrap("  an indented line that is too long\nnext", ""), "  an indented line that is too\nlong\nnext"; got != want {
		t.Errorf("lines: %q, want %q", got, want)
	}
	columns = 15
	if got := s.Wrap(prose, ""); got != prose {
		t.Errorf("at 15 columns: %q", got)
	}
}
