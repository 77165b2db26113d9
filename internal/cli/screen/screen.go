// Package screen draws a text in place: again and again on a terminal, elsewhere as lines.
package screen

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// Sequences that every terminal of the last decades knows.
const (
	wrapOff = "\x1b[?7l" // a line that is too long is cut off and does not become two
	wrapOn  = "\x1b[?7h"
	upBy    = "\x1b[%dF" // to the beginning of the line so many above
	erase   = "\x1b[J"   // from here to the end of the screen
)

// Screen shows texts: in place on a terminal, elsewhere as a line for each that differs from the last. It leaves
// nothing behind that would have to be undone when it is interrupted.
type Screen struct {
	io    *iostreams.IOStreams
	now   func() time.Time
	last  string
	lines int // drawn in place
}

// New returns a screen on standard output.
func New(s *iostreams.IOStreams, now func() time.Time) *Screen { return &Screen{io: s, now: now} }

// InPlace reports whether texts are drawn in place; otherwise lines are written.
func (s *Screen) InPlace() bool { return s.io.Rows != nil }

// Show shows the text in place, or else the line with the time before it; what was shown last is not shown again.
func (s *Screen) Show(text, line string) error {
	out := ""
	if s.InPlace() {
		text = fit(text, s.io.Rows())
		out = s.redraw(text)
	} else {
		text = line
		out = s.now().UTC().Format("15:04:05") + " " + text + "\n"
	}
	if text == s.last {
		return nil
	}
	s.last, s.lines = text, strings.Count(text, "\n")
	if _, err := io.WriteString(s.io.Out, out); err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	return nil
}

// redraw is one write, so that an interruption finds the terminal as it was or as it is to be.
func (s *Screen) redraw(text string) string {
	var b strings.Builder
	if s.lines > 0 {
		fmt.Fprintf(&b, upBy+erase, s.lines)
	}
	b.WriteString(wrapOff + text + wrapOn)
	return b.String()
}

// fit cuts a text to a screen: lines that have scrolled away could not be drawn over.
func fit(text string, rows int) string {
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	if rows < 3 || len(lines) < rows {
		return text
	}
	return strings.Join(lines[:rows-2], "") + fmt.Sprintf("… %d lines more: the window is too low\n", len(lines)-rows+2)
}
