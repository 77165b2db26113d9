package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// width is the column at whose left durations end.
const width = 92

// screen writes the story to the terminal. Lines of several edges may come at the same time.
type screen struct {
	mu     sync.Mutex
	out    io.Writer
	colour bool
}

// newScreen colours its output on a terminal, unless NO_COLOR says otherwise.
func newScreen(f *os.File) *screen {
	info, err := f.Stat()
	tty := err == nil && info.Mode()&os.ModeCharDevice != 0
	return &screen{out: f, colour: tty && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
	cyan  = "36"
)

func (s *screen) paint(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *screen) print(lines ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range lines {
		_, _ = fmt.Fprintln(s.out, l)
	}
}

// title opens the story or a step of it.
func (s *screen) title(format string, args ...any) {
	s.print("", s.paint(bold, fmt.Sprintf(format, args...)))
}

// say tells something in passing.
func (s *screen) say(format string, args ...any) {
	s.print("  " + s.paint(dim, fmt.Sprintf(format, args...)))
}

// command shows what a person would type.
func (s *screen) command(format string, args ...any) {
	s.print("  " + s.paint(cyan, "$ "+fmt.Sprintf(format, args...)))
}

// saw tells what happened and how long after the command it did.
func (s *screen) saw(took time.Duration, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	gap := max(1, width-4-utf8.RuneCountInString(text)-8)
	s.print(fmt.Sprintf("  %s %s%s%s", s.paint(green, "✓"), text, strings.Repeat(" ", gap), s.paint(dim, fmt.Sprintf("%8s", short(took)))))
}

// quote shows a command's output.
func (s *screen) quote(text string) {
	for line := range strings.Lines(strings.TrimSpace(text)) {
		s.print("    " + s.paint(dim, strings.TrimRight(line, "\n")))
	}
}

// failed tells that the story did not go on as it should.
func (s *screen) failed(err error) {
	s.print("  " + s.paint(red, "✗ "+err.Error()))
}

// short prints a duration with as many digits as matter: "85 ms", "1.24 s", "12 s".
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	default:
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
}
