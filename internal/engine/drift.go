package engine

import (
	"slices"
	"strings"
	"time"

	"github.com/skerry-dev/skerry/internal/engine/machine"
	"github.com/skerry-dev/skerry/internal/object"
)

const (
	// fastAfter corrections of one object within fastWindow follow each other at the speed of programs:
	// one more is a loop.
	fastAfter  = 5
	fastWindow = 3 * time.Second
	// lastingAfter corrections without a pause of loopWindow are a loop, at whatever speed.
	lastingAfter = 12
	loopWindow   = time.Minute
	// loopMax bounds the wait between two corrections of an object in a loop.
	loopMax = 5 * time.Minute
)

// loop counts the corrections of one object, and distinguishes another writer that always changes it back from a
// person who tries something out. Each correction is made at once, until there is a loop: then the wait
// for the next doubles, from two seconds to five minutes. A minute without a correction ends it.
//
//	an operator writes back within 50 ms        the 6th correction, after 0.3 s, is a loop
//	an operator writes back every 5 s           the 13th, after a minute
//	a person edits 6 times in a minute          6 corrections, no loop
//	a person runs kubectl 6 times in 2 s        no loop: kubectl is no controller
//	a script runs kubectl once a second         the 13th, after 12 s, is a loop
//	a person comes back every few minutes       no loop
type loop struct {
	last   time.Time   // of the corrections
	fast   []time.Time // of the last fastAfter corrections that no interactive manager has caused
	count  int
	active bool
	step   int       // corrections since it became active
	until  time.Time // no correction before
	by     string    // the manager that changed it, as far as is known
}

func (l *loop) looping() bool { return l.active }

// note counts one correction.
func (l *loop) note(c correction, now time.Time) {
	l.last = now
	l.count++
	if c.by != "" {
		l.by = c.by
	}
	if !c.interactive {
		isFast := len(l.fast) == fastAfter && now.Sub(l.fast[0]) <= fastWindow
		l.active = l.active || isFast
		l.fast = append(l.fast, now)
		l.fast = l.fast[max(0, len(l.fast)-fastAfter):]
	}
	l.active = l.active || l.count > lastingAfter
	if l.active {
		l.step++
		l.until = now.Add(machine.Backoff(l.step+1, loopMax))
	}
}

// over reports whether the object has been left alone for long enough.
func (l *loop) over(now time.Time) bool { return now.After(l.until) && now.Sub(l.last) > loopWindow }

// people are the beginnings of the field managers with which people write, in lower case: kubectl and oc
// with their verbs, and the names of consoles and browsers.
var people = []string{"kubectl", "oc", "k9s", "lens", "openlens", "freelens", "node-fetch", "mozilla", "dashboard", "kubernetes-dashboard", "headlamp", "octant"}

// interactive reports whether all managers are a person's.
func interactive(managers []string) bool {
	return len(managers) > 0 && !slices.ContainsFunc(managers, func(m string) bool {
		first, _, _ := strings.Cut(strings.ToLower(m), "-")
		return !slices.Contains(people, first) && !slices.Contains(people, strings.ToLower(m))
	})
}

// count notes what was corrected.
func (en *entry) count(corrected []correction, now time.Time) {
	for id, l := range en.loops {
		if l.over(now) {
			delete(en.loops, id)
			en.Changed = true
		}
	}
	for _, c := range corrected {
		l := en.loops[c.id]
		if l == nil {
			l = &loop{}
			en.loops[c.id] = l
		}
		l.note(c, now)
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
		if l.looping() && !now.Before(l.until) && (next.IsZero() || l.last.Add(loopWindow).Before(next)) {
			next = l.last.Add(loopWindow + time.Millisecond) // look whether it is over
		}
		if now.Before(l.until) && (next.IsZero() || l.until.Before(next)) {
			next = l.until
		}
	}
	return next
}
