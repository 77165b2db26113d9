// Package terminal runs programs at a terminal of their own, a pseudoterminal, as a person would.
package terminal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"

	"github.com/creack/pty"

	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// Interrupt is what Ctrl-C sends.
const Interrupt = "\x03"

// Session is a program at a terminal.
type Session struct {
	cmd  *exec.Cmd
	end  *os.File // of the person
	done chan struct{}

	mu    sync.Mutex
	text  bytes.Buffer  // guarded by mu
	grown chan struct{} // guarded by mu; closed when text has grown, or has come to its end
	ended bool          // guarded by mu
}

// Start starts a command at a terminal of so many columns and rows. Its streams are the terminal.
func Start(cmd *exec.Cmd, columns, rows int) (*Session, error) {
	end, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: uint16(columns), Rows: uint16(rows)})
	if err != nil {
		return nil, fmt.Errorf("cannot start at a terminal: %w", err)
	}
	s := &Session{cmd: cmd, end: end, done: make(chan struct{}), grown: make(chan struct{})}
	go s.read() // ends when the program and all that has its terminal have ended, or with Wait
	return s, nil
}

func (s *Session) read() {
	defer close(s.done)
	chunk := make([]byte, 4096)
	for {
		n, err := s.end.Read(chunk)
		s.mu.Lock()
		s.text.Write(chunk[:n])
		s.ended = err != nil // EIO is the end of a pseudoterminal
		close(s.grown)
		s.grown = make(chan struct{})
		ended := s.ended
		s.mu.Unlock()
		if ended {
			return
		}
	}
}

// Await waits until what the terminal got matches.
func (s *Session) Await(ctx context.Context, pattern *regexp.Regexp) error {
	for {
		s.mu.Lock()
		text, ended, grown := s.text.String(), s.ended, s.grown
		s.mu.Unlock()
		switch {
		case pattern.MatchString(text):
			return nil
		case ended:
			return fmt.Errorf("it ended without %s:\n%s", pattern, text)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no %s: %w:\n%s", pattern, ctx.Err(), text)
		case <-grown:
		}
	}
}

// Type types a text.
func (s *Session) Type(text string) error {
	_, err := s.end.WriteString(text)
	return err
}

// Wait waits for the end, kills the program when ctx ends before, and returns what the terminal got, with line breaks
// as programs write them, and the exit code.
func (s *Session) Wait(ctx context.Context) (text string, code int, err error) {
	stop := context.AfterFunc(ctx, func() { _ = s.cmd.Process.Kill() })
	err = s.cmd.Wait()
	stop()
	select {
	case <-s.done:
	case <-ctx.Done(): // a program that it left behind has the terminal still
	}
	_ = s.end.Close()
	<-s.done
	s.mu.Lock()
	text = strings.ReplaceAll(s.text.String(), "\r\n", "\n")
	s.mu.Unlock()
	if _, exited := errors.AsType[*exec.ExitError](err); exited {
		err = nil
	}
	return text, s.cmd.ProcessState.ExitCode(), errors.Join(err, ctx.Err())
}

var (
	// escape is each sequence that begins with ESC or CSI, known those that the command line may write: colours, erasing,
	// and what drawing in place takes.
	escape = regexp.MustCompile(`(?:\x1b\[|\x{9b})[0-9;?]*[ -/]*[@-~]|\x1b.?`)
	known  = regexp.MustCompile(`^\x1b\[(?:(?:0|1|3[0-9])m|K|J|[0-9]+F|\?7[hl])$`)
	colour = regexp.MustCompile(`^\x1b\[[0-9;]*m$`)
)

// Rules say what a text at a terminal may hold.
type Rules struct {
	Columns   int  // no line is wider; 0: whatever its width
	NoColours bool // as with NO_COLOR
	NoEscapes bool // as at a dumb terminal, or in a pipe
}

// Check returns what is against the rules: sequences that nothing of ours writes, lines that are wider than the
// terminal, and a terminal that is not left as it was.
func (r Rules) Check(text string) error {
	var errs []error
	for _, found := range escape.FindAllString(text, -1) {
		if r.NoEscapes || !known.MatchString(found) || r.NoColours && colour.MatchString(found) {
			errs = append(errs, fmt.Errorf("there is %q", found))
		}
	}
	if strings.LastIndex(text, "\x1b[?7l") > strings.LastIndex(text, "\x1b[?7h") {
		errs = append(errs, errors.New("it leaves the terminal without wrapping"))
	}
	if strings.LastIndex(text, "\x1b[1m") > strings.LastIndex(text, "\x1b[0m") {
		errs = append(errs, errors.New("it leaves the terminal with a colour"))
	}
	if r.Columns == 0 {
		return errors.Join(errs...)
	}
	drawn := strings.Contains(text, "\x1b[?7l") // then lines are cut off at the edge
	for _, line := range strings.FieldsFunc(escape.ReplaceAllString(text, ""), func(c rune) bool { return c == '\n' || c == '\r' }) {
		if width := iostreams.Width(line); width > r.Columns && !drawn && strings.ContainsRune(strings.TrimSpace(line), ' ') {
			errs = append(errs, fmt.Errorf("a line takes %d columns: %s", width, line))
		}
	}
	return errors.Join(errs...)
}
