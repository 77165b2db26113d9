package machine

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// world is an engine without a cluster: it executes what the machine decides by noting it, and answers as
// the test wants. It holds what must be true after every step.
type world struct {
	t   *testing.T
	m   *Machine
	now time.Time
	log strings.Builder

	fenced, stopped bool
	heard           time.Time
	finalized       bool
	running         map[string]Start // passes under way, by entry
	session         uint64
	preparing       []Prepare
	asked           []Priority
	granted         int
	depth           int // of steps that follow at once

	// answer is called with each action after the world has noted it, and returns events that follow at
	// once.
	answer func(Action) []Event
}

func newWorld(t *testing.T) *world {
	return &world{
		t: t, now: time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC), running: map[string]Start{},
		m:      New(Options{Random: func() float64 { return 0.5 }, ClaimGrace: 10 * time.Second}),
		answer: func(Action) []Event { return nil },
	}
}

// step takes an event, and what follows from it at once.
func (w *world) step(ev Event) (answered bool) {
	w.t.Helper()
	switch ev := ev.(type) {
	case Fence:
		w.fenced = ev.Lost
	case Stop:
		w.stopped = true
	case Configure:
		w.finalized = false
	}
	before := w.states()
	w.depth++
	actions := w.m.Step(ev, w.now)
	w.changes(before)
	for _, a := range actions {
		w.note(a)
		for _, next := range w.answer(a) {
			answered = true
			w.step(next)
		}
	}
	if w.depth--; w.depth == 0 { // else some of what was decided is not done yet
		w.invariants()
	}
	return answered
}

// settle ticks until nothing more follows at once.
func (w *world) settle() {
	w.t.Helper()
	for i := 0; w.step(Tick{LastAnswer: w.heard}); i++ {
		if i > 1000 {
			w.t.Fatal("ticks without end")
		}
	}
}

// advance moves the clock, with a Tick at each time that the machine asks for.
func (w *world) advance(d time.Duration) {
	w.t.Helper()
	end := w.now.Add(d)
	for i := 0; ; i++ {
		next := w.m.Next(w.now, w.heard)
		if next.IsZero() || next.After(end) {
			break
		}
		if i > 10000 {
			w.t.Fatal("the machine asks for a Tick at once, time and again")
		}
		w.now = maxTime(next, w.now.Add(time.Millisecond))
		w.settle()
	}
	w.now = end
	w.settle()
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// note executes an action, and holds that it was permitted.
func (w *world) note(action Action) {
	w.t.Helper()
	line := strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", action), "machine."))
	sends := false // something to the cluster
	switch a := action.(type) {
	case Dial:
		sends = true
		if a.Contest.Suspect {
			line += " (suspects another hub)"
		}
	case StartSession:
		if w.session != 0 {
			w.t.Errorf("session %d starts while %d is open", a.Session, w.session)
		}
		w.session = a.Session
	case Disconnect:
		line += ": " + a.Why
		w.session = 0
	case Check, LookAtClaim, Purge:
		sends = true
	case Answer:
		line += " " + a.Result.String()
	case Prepare:
		line += " " + a.Name
		w.preparing = append(w.preparing, a)
	case RequestSlot:
		line += " " + a.Priority.String()
		w.asked = append(w.asked, a.Priority)
	case ReleaseSlots:
		w.granted = 0
		if a.Waiting {
			w.asked = nil
		}
	case Start:
		sends = true
		line = w.start(a)
	}
	if sends && (w.fenced || w.finalized || w.stopped && line[0] == 's') {
		w.t.Errorf("%s while fenced=%v finalized=%v stopped=%v", line, w.fenced, w.finalized, w.stopped)
	}
	fmt.Fprintf(&w.log, "  %s\n", line)
}

func (w *world) start(a Start) string {
	w.t.Helper()
	if _, twice := w.running[a.Name]; twice {
		w.t.Errorf("two passes over %s at once", a.Name)
	}
	if a.Session != w.session || a.Session == 0 {
		w.t.Errorf("a pass begins in session %d, and %d is open", a.Session, w.session)
	}
	if w.granted == 0 {
		w.t.Errorf("a pass over %s begins without a slot", a.Name)
	}
	w.granted--
	w.running[a.Name] = a
	line := fmt.Sprintf("start %s: %s", a.Name, a.Why)
	if a.Relist {
		line += ", relist"
	}
	if a.Verify {
		line += ", verify"
	}
	if a.LastGood {
		line += ", last good bundle"
	}
	return line
}

// done ends a pass.
func (w *world) done(name string, o Outcome) {
	w.t.Helper()
	if _, ok := w.running[name]; !ok {
		w.t.Fatalf("no pass over %s is under way", name)
	}
	delete(w.running, name)
	w.step(PassDone{Name: name, Outcome: o})
}

func (w *world) grant(l Priority) Event {
	i := slices.Index(w.asked, l)
	if i < 0 {
		w.t.Fatalf("no %s slot is asked for", l)
	}
	w.asked = slices.Delete(w.asked, i, i+1)
	w.granted++
	return SlotGranted{Priority: l}
}

// prepared ends a preparation. Of one that the machine has given up, it takes no notice.
func (w *world) prepared(a Prepare, reason string, lastGood bool) Event {
	w.preparing = slices.DeleteFunc(w.preparing, func(p Prepare) bool { return p == a })
	return Prepared{Name: a.Name, Attempt: a.Attempt, Reason: reason, LastGood: lastGood}
}

func (w *world) invariants() {
	w.t.Helper()
	if len(w.running) > PassesAtOnce || w.m.Running() != len(w.running) {
		w.t.Errorf("%d passes under way; the machine counts %d", len(w.running), w.m.Running())
	}
	preparing := 0
	for _, name := range w.m.Names() {
		en := w.m.Entry(name)
		_, running := w.running[name]
		if running != en.Running() {
			w.t.Errorf("%s is %s, and a pass is under way: %v", name, en.State(), running)
		}
		if en.State() == Preparing {
			preparing++
		}
	}
	if preparing > preparingAtOnce || preparing != w.m.preparing {
		w.t.Errorf("%d are prepared; the machine counts %d", preparing, w.m.preparing)
	}
	if (w.session != 0) != (w.m.conn.session != 0) {
		w.t.Errorf("session %d; the machine has %d", w.session, w.m.conn.session)
	}
	up := w.m.Connection() == Up || w.m.Connection() == Checking
	if up != (w.session != 0) && w.m.Connection() != Finalizing {
		w.t.Errorf("connection %s with session %d", w.m.Connection(), w.session)
	}
	w.finalized = w.m.Connection() == Finalized
}

// states returns the states of the connection and of the entries.
func (w *world) states() map[string]string {
	out := map[string]string{"connection": w.m.Connection().String()}
	for _, name := range w.m.Names() {
		en := w.m.Entry(name)
		out[name] = en.State().String()
		if en.Blocked != "" {
			out[name] += ", waits for " + en.Blocked
		}
	}
	return out
}

// changes logs how states have changed, without those that last no time.
func (w *world) changes(before map[string]string) {
	after := w.states()
	names := slices.Sorted(maps.Keys(after))
	for _, name := range names {
		if b, ok := before[name]; (ok || name == "connection") && b != after[name] {
			fmt.Fprintf(&w.log, "  %s: %s -> %s\n", name, b, after[name])
		}
	}
}

// spec returns an entry of an Assignment: NAME=DIGEST[<DEPENDENCY...][:FLAG...].
func spec(t *testing.T, text string) v1alpha1.AssignmentEntry {
	t.Helper()
	minutes := func(n int) metav1.Duration { return metav1.Duration{Duration: time.Duration(n) * time.Minute} }
	text, flags, _ := strings.Cut(text, ":")
	text, deps, _ := strings.Cut(text, "<")
	name, digest, _ := strings.Cut(text, "=")
	retry := minutes(1)
	s := v1alpha1.AssignmentEntry{Name: name, Digest: digest, Interval: minutes(10), RetryInterval: &retry}
	if deps != "" {
		s.DependsOn = strings.Split(deps, "<")
	}
	for flag := range strings.SplitSeq(flags, ":") {
		switch flag {
		case "":
		case "remove":
			s.Remove, s.Digest = true, ""
		case "suspend":
			s.Suspend = true
		case "hold":
			s.HoldPrune = true
		case "keep":
			s.KeepFor = []string{"other"}
		default:
			s.RequestedAt = flag
		}
	}
	return s
}
