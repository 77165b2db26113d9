package screen

import "testing"

// TestFitLeavesTheCursorItsWay: what scrolls away could not be drawn over.
func TestFitLeavesTheCursorItsWay(t *testing.T) {
	for text, want := range map[string]string{
		"1\n2\n3\n":             "1\n2\n3\n",
		"1\n2\n3\n4\n":          "1\n2\n3\n4\n",
		"1\n2\n3\n4\n5\n":       "1\n2\n3\n… 2 lines more: the window is too low\n",
		"1\n2\n3\n4\n5\n6\n7\n": "1\n2\n3\n… 4 lines more: the window is too low\n",
	} {
		if got := fit(text, 5); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
