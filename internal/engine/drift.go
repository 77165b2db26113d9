package engine

import (
	"time"

	"github.com/skerry-dev/skerry/internal/object"
)

const (
	// loopAfter corrections of one object within loopWindow are a loop: somebody else keeps changing
	// it back.
	loopAfter  = 5
	loopWindow = time.Minute
	// loopMax bounds the wait between two corrections of an object in a loop.
	loopMax = 5 * time.Minute
)

// loop counts the corrections of one object.
type loop struct {
	since time.Time
	count int
	until time.Time // no correction before
	by    string    // who changed it, as far as is known
}

func (l *loop) looping() bool { return l.count > loopAfter }

// count notes what was corrected. Five times a minute are corrected at once; from then on, each
// correction doubles the wait for the next. A window without a correction ends it.
func (en *entry) count(corrected []correction, now time.Time) {
	for id, l := range en.loops {
		if now.After(l.until) && now.Sub(l.since) > loopWindow {
			delete(en.loops, id)
			en.dirty = true
		}
	}
	for _, c := range corrected {
		l := en.loops[c.id]
		if l == nil {
			l = &loop{}
			en.loops[c.id] = l
		}
		l.since = now
		l.count++
		if c.by != "" {
			l.by = c.by
		}
		if l.looping() {
			l.until = now.Add(min(time.Second<<min(l.count-loopAfter, 16), loopMax))
		}
	}
}

// held returns the objects that are left alone for now.
func (en *entry) held(now time.Time) map[object.ID]bool {
	out := map[object.ID]bool{}
	for id, l := range en.loops {
		if now.Before(l.until) {
			out[id] = true
		}
	}
	return out
}

// nextRelease returns when the next held object may be corrected again; zero when none is held.
func (en *entry) nextRelease(now time.Time) time.Time {
	var next time.Time
	for _, l := range en.loops {
		if l.looping() && !now.Before(l.until) && (next.IsZero() || l.since.Add(loopWindow).Before(next)) {
			next = l.since.Add(loopWindow + time.Millisecond) // look whether it is over
		}
		if now.Before(l.until) && (next.IsZero() || l.until.Before(next)) {
			next = l.until
		}
	}
	return next
}
