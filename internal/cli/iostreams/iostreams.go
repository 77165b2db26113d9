// Package iostreams is the terminal as the command line sees it: what came in, what goes to standard
// output (results) and to standard error (progress and problems), and whether a person is looking.
//
// It promises that text from a cluster or a Git server cannot move the cursor, change colours or set
// the title of a terminal: a caller that prints such text passes it through Clean or Line.
package iostreams

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/skerry-dev/skerry/internal/text"
)

// IOStreams are the three streams of one run. Nothing else in the command line touches os.Stdin,
// os.Stdout or os.Stderr.
type IOStreams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer

	// Colour means that Out and Err understand ANSI colours.
	Colour bool
	// Rows returns the height of the terminal that Out is; nil when Out is none, or its cursor cannot
	// be moved.
	Rows func() int
	// Columns returns the width of the terminal that Out is; nil when Out is none.
	Columns func() int
	// busy is the last line of the terminal that Err is; nil when Err is none.
	busy *busyLine
	// readPassword reads a line without echo; nil when In is not a terminal.
	readPassword func() ([]byte, error)
}

// System returns the streams of the process. Colours are on when both standard output and standard
// error are terminals and the environment (NO_COLOR, TERM) does not object.
func System(getenv func(string) string) *IOStreams {
	s := &IOStreams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	tty := func(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
	s.Colour = tty(os.Stdout) && tty(os.Stderr) && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
	if tty(os.Stdout) && getenv("TERM") != "dumb" {
		s.Rows = rows
	}
	if tty(os.Stdout) {
		s.Columns = func() int { return columns(os.Stdout) }
	}
	if tty(os.Stderr) && getenv("TERM") != "dumb" {
		s.busy = &busyLine{out: os.Stderr, columns: func() int { return columns(os.Stderr) }, ticker: everyFrame}
		s.Err = s.busy
	}
	if tty(os.Stdin) && tty(os.Stderr) {
		s.readPassword = func() ([]byte, error) { return term.ReadPassword(int(os.Stdin.Fd())) }
	}
	return s
}

// rows is the height of the terminal, or the usual one where it is not known.
func rows() int {
	_, height, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil || height <= 0 {
		return 24
	}
	return height
}

// columns is the width of the terminal, or the usual one where it is not known.
func columns(f *os.File) int {
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		return 80
	}
	return width
}

// Width returns the width of the terminal that Out is, 0 when Out is none: what is read by a program is never
// cut off.
func (s *IOStreams) Width() int {
	if s.Columns == nil {
		return 0
	}
	return s.Columns()
}

// Test returns streams over buffers: without colours, and without a terminal to ask at.
func Test() (s *IOStreams, in, out, err *bytes.Buffer) {
	in, out, err = &bytes.Buffer{}, &bytes.Buffer{}, &bytes.Buffer{}
	return &IOStreams{In: in, Out: out, Err: err}, in, out, err
}

// TestTerminal is Test at a terminal of so many rows, where questions are asked.
func TestTerminal(height int) (s *IOStreams, in, out, err *bytes.Buffer) {
	s, in, out, err = Test()
	s.Rows = func() int { return height }
	s.readPassword = func() ([]byte, error) { return in.ReadBytes('\n') }
	return s, in, out, err
}

// CanPrompt reports whether a person can be asked.
func (s *IOStreams) CanPrompt() bool { return s.readPassword != nil }

// Password asks for a value that is not echoed. Call it only when CanPrompt.
func (s *IOStreams) Password(question string) ([]byte, error) {
	defer s.busy.hold()()
	fmt.Fprintf(s.Err, "%s: ", question)
	answer, err := s.readPassword()
	fmt.Fprintln(s.Err)
	if err != nil {
		return nil, fmt.Errorf("cannot read the answer: %w", err)
	}
	return answer, nil
}

// Confirm asks a question that is answered with yes or no, which is the default. Call it only when
// CanPrompt. It does not wait for the answer once ctx ends.
func (s *IOStreams) Confirm(ctx context.Context, question string) (bool, error) {
	defer s.busy.hold()()
	fmt.Fprintf(s.Err, "%s [y/N] ", Line(question))
	type reply struct {
		line string
		err  error
	}
	replies := make(chan reply, 1)
	go func() { // a read from a terminal cannot be cancelled, but it can be left
		line, err := bufio.NewReader(s.In).ReadString('\n')
		replies <- reply{line, err}
	}()
	var answer reply
	select {
	case <-ctx.Done():
		fmt.Fprintln(s.Err)
		return false, ctx.Err()
	case answer = <-replies:
	}
	switch {
	case errors.Is(answer.err, io.EOF):
		fmt.Fprintln(s.Err)
	case answer.err != nil:
		return false, fmt.Errorf("cannot read the answer: %w", answer.err)
	}
	word := strings.ToLower(strings.TrimSpace(answer.line))
	return word == "y" || word == "yes", nil
}

// Progressf writes one line to standard error.
func (s *IOStreams) Progressf(format string, args ...any) {
	fmt.Fprintf(s.Err, format+"\n", args...)
}

// EraseLine erases the line of the terminal that Err is; elsewhere it does nothing.
func (s *IOStreams) EraseLine() {
	if s.busy != nil {
		_, _ = io.WriteString(s.Err, eraseLine)
	}
}

// Green colours text where colours are on. No information is in the colour alone.
func (s *IOStreams) Green(text string) string { return s.paint("32", text) }

// Red colours text where colours are on.
func (s *IOStreams) Red(text string) string { return s.paint("31", text) }

// Yellow colours text where colours are on.
func (s *IOStreams) Yellow(text string) string { return s.paint("33", text) }

// Bold makes text bold where colours are on.
func (s *IOStreams) Bold(text string) string { return s.paint("1", text) }

func (s *IOStreams) paint(code, text string) string {
	if !s.Colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Clean drops what could steer a terminal, line breaks excepted.
func Clean(s string) string { return text.Lines(s) }

// Line is Clean, on one line.
func Line(s string) string { return text.Line(Clean(s), 0) }
