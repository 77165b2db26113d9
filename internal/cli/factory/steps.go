package factory

import (
	"fmt"
	"time"

	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// Steps shows a command's way as one line a step, on standard error.
type Steps struct {
	io  *iostreams.IOStreams
	now func() time.Time
}

// Steps returns the steps of one run.
func (f *Factory) Steps() *Steps { return &Steps{io: f.IO, now: f.Now} }

// Step is one step under way.
type Step struct {
	io     *iostreams.IOStreams
	busy   *iostreams.Busy
	title  string
	last   string
	detail string
}

// Donef ends the step with what came of the step, for its line.
func (s *Step) Donef(format string, args ...any) { s.detail = fmt.Sprintf(format, args...) }

// Notef prints a note on the way; a repetition is not printed again.
func (s *Step) Notef(format string, args ...any) {
	note := iostreams.Line(fmt.Sprintf(format, args...))
	if note == s.last {
		return
	}
	s.last = note
	s.busy.Set(s.title + ": " + note)
	s.io.Progressf("  … %s", s.io.WrapProgress(note, "    "))
}

// Do runs one step and writes its line: "✔ title: detail (1.2s)", or "✗ title" and the error comes
// back for the caller that reports it.
func (s *Steps) Do(title string, run func(*Step) error) error {
	start := s.now()
	step := &Step{io: s.io, title: title, busy: s.io.Busy(title)}
	err := run(step)
	step.busy.Stop()
	took := s.now().Sub(start).Round(time.Millisecond * 10)
	if err != nil {
		s.io.Progressf("%s %s (%s)", s.io.Red("✗"), title, took)
		return err
	}
	line := title
	if step.detail != "" {
		line += ": " + iostreams.Line(step.detail)
	}
	s.io.Progressf("%s %s", s.io.Green("✔"), s.io.WrapProgress(fmt.Sprintf("%s (%s)", line, took), "  "))
	return nil
}
