package iostreams

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// terminal returns streams whose Err is a terminal, and a function that draws the next frame of what is busy.
func terminal(columns int) (*IOStreams, *bytes.Buffer, func()) {
	s, in, _, screen := Test()
	in.WriteString("y\n")
	s.busy = &busyLine{out: screen, columns: func() int { return columns }, ticker: func() (<-chan time.Time, func()) { return nil, func() {} }}
	s.Err = s.busy
	return s, screen, s.busy.draw
}

func TestBusyLineStaysBelowWhatIsWritten(t *testing.T) {
	s, screen, frame := terminal(80)
	busy := s.Busy("repository")
	frame()
	s.Progressf("  … fetching")
	frame()
	busy.Set("repository: fetching")
	frame()
	s.Busy("within it").Stop() // not shown
	busy.Stop()
	busy.Stop()
	s.Progressf("✔ repository")
	frame()
	want := "\r\x1b[K⠋ repository\r\x1b[K  … fetching\n\r\x1b[K⠙ repository\r\x1b[K⠹ repository: fetching\r\x1b[K✔ repository\n"
	if diff := cmp.Diff(want, screen.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBusyLineIsNoWiderThanTheTerminal(t *testing.T) {
	s, screen, frame := terminal(10)
	busy := s.Busy("a title that is too long")
	frame()
	busy.Stop()
	if diff := cmp.Diff("\r\x1b[K⠋ a titl…\r\x1b[K", screen.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBusyLineMakesWayForAQuestion(t *testing.T) {
	s, screen, frame := terminal(80)
	busy := s.Busy("uninstall")
	frame()
	release := s.busy.hold()
	frame()
	release()
	if yes, err := s.Confirm(t.Context(), "Uninstall?"); !yes || err != nil {
		t.Errorf("%v %v", yes, err)
	}
	frame()
	busy.Stop()
	if diff := cmp.Diff("\r\x1b[K⠋ uninstall\r\x1b[KUninstall? [y/N] \r\x1b[K⠙ uninstall\r\x1b[K", screen.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNothingIsBusyInAPipe(t *testing.T) {
	s, _, _, errOut := Test()
	busy := s.Busy("work")
	busy.Set("more")
	busy.Stop()
	if errOut.Len() > 0 {
		t.Errorf("%q", errOut)
	}
}

func TestFramesComeAndEnd(t *testing.T) {
	frames, end := everyFrame()
	<-frames
	<-frames
	end()
}
