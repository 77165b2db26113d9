package iostreams

import (
	"io"
	"sync"
	"time"
)

const (
	// busyDelay is how long work has to take to be shown: what flickers by is nothing to read.
	busyDelay = 300 * time.Millisecond
	// busyPeriod is the time between two frames.
	busyPeriod = 100 * time.Millisecond
	// eraseLine goes to the beginning of the line and erases it.
	eraseLine = "\r\x1b[K"
)

// busyFrames turn while work goes on.
var busyFrames = []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")

// busyLine is the last line of a terminal, which shows what is being worked on. Whatever is written to the terminal
// goes above it. It leaves nothing behind that would have to be undone when the process is killed.
type busyLine struct {
	columns func() int
	// ticker returns when frames are due, and how to end that.
	ticker func() (<-chan time.Time, func())

	mu     sync.Mutex // guards what follows
	out    io.Writer
	text   string // "" when nothing is shown
	frame  int
	drawn  bool
	held   int // prompts under way
	midway bool
}

// Write writes above the line.
func (b *busyLine) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.erase()
	n, err := b.out.Write(p)
	if n > 0 {
		b.midway = p[n-1] != '\n'
	}
	return n, err
}

func (b *busyLine) erase() {
	if b.drawn {
		_, _ = io.WriteString(b.out, eraseLine)
		b.drawn = false
	}
}

func (b *busyLine) draw() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.text == "" || b.held > 0 || b.midway {
		return
	}
	line := Cut(string(busyFrames[b.frame%len(busyFrames)])+" "+b.text, b.columns()-1)
	b.frame++
	_, _ = io.WriteString(b.out, eraseLine+line)
	b.drawn = true
}

func (b *busyLine) set(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.text = text; text == "" {
		b.erase()
	}
}

// hold keeps the line away until the returned function is called.
func (b *busyLine) hold() func() {
	if b == nil {
		return func() {}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held++
	b.erase()
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.held--
		b.midway = false // the answer ended the line
	}
}

// Busy is work that is shown while it goes on, on a terminal; its methods do nothing elsewhere.
type Busy struct {
	line *busyLine
	stop chan struct{}
	done chan struct{}
}

// Busy shows that something is being worked on, until Stop, in the last line of the terminal that Err is. There is
// one at a time: one within another is not shown.
func (s *IOStreams) Busy(text string) *Busy {
	if s.busy == nil || s.busy.isShown() {
		return &Busy{}
	}
	b := &Busy{line: s.busy, stop: make(chan struct{}), done: make(chan struct{})}
	b.line.set(Line(text))
	frames, end := b.line.ticker()
	go func() { // ends with Stop
		defer close(b.done)
		defer end()
		for {
			select {
			case <-b.stop:
				return
			case <-frames:
				b.line.draw()
			}
		}
	}()
	return b
}

func (b *busyLine) isShown() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text != ""
}

// Set replaces the text.
func (b *Busy) Set(text string) {
	if b.line != nil {
		b.line.set(Line(text))
	}
}

// Stop ends it, and its line is gone.
func (b *Busy) Stop() {
	if b.line == nil {
		return
	}
	close(b.stop)
	<-b.done
	b.line.set("")
	b.line = nil
}

// everyFrame is the ticker of a process.
func everyFrame() (<-chan time.Time, func()) {
	frames := make(chan time.Time)
	stop := make(chan struct{})
	go func() { // ends with stop
		next := time.NewTimer(busyDelay)
		defer next.Stop()
		for {
			select {
			case <-stop:
				return
			case at := <-next.C:
				select {
				case frames <- at:
				case <-stop:
					return
				}
				next.Reset(busyPeriod)
			}
		}
	}()
	return frames, func() { close(stop) }
}
