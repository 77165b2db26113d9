package machine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/skerry-dev/skerry/internal/testkit/golden"
)

// TestStories runs each file of testdata. A file has the sections script (an event in each line) and log:
// the states that change, indented, and what is to be done.
func TestStories(t *testing.T) {
	golden.Run(t, "testdata/*.txtar", func(t *testing.T, ar *txtar.Archive) map[string]string {
		script := golden.Text(ar, "script")
		got := tell(t, script, func([]string) {})
		for seed := range uint64(10) {
			r := rand.New(rand.NewPCG(seed, 0))
			shuffled := tell(t, script, func(words []string) {
				r.Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
			})
			if diff := gocmp.Diff(got, shuffled); diff != "" {
				t.Fatalf("entries in another order, seed %d:\n%s", seed, diff)
			}
		}
		return map[string]string{"log": got}
	})
}

// story is a world that reads what happens. Bundles and slots are there at once, unless they are held.
type story struct {
	*world
	begin             time.Time
	shuffle           func([]string)
	holdBundles       map[string]bool // by entry; "all"
	holdSlots         bool
	lastGood, missing map[string]bool
}

func tell(t *testing.T, script string, shuffle func([]string)) string {
	t.Helper()
	s := &story{world: newWorld(t), shuffle: shuffle, holdBundles: map[string]bool{}, lastGood: map[string]bool{}, missing: map[string]bool{}}
	s.begin = s.now
	s.answer = func(a Action) []Event {
		switch a := a.(type) {
		case Prepare:
			if !s.holdBundles[a.Name] && !s.holdBundles["all"] {
				return []Event{s.prepare(a)}
			}
		case RequestSlot:
			if !s.holdSlots {
				return []Event{s.grant(a.Priority)}
			}
		}
		return nil
	}
	for line := range strings.Lines(script) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		fmt.Fprintf(&s.log, "%s > %s\n", s.now.Sub(s.begin), line)
		for event := range strings.SplitSeq(line, "; ") {
			words := strings.Fields(event)
			happen := happenings[words[0]]
			if happen == nil {
				t.Fatalf("unknown event %q", event)
			}
			happen(s, words[1:])
		}
		s.settle()
	}
	return quiet(s.log.String())
}

// quiet leaves out what every pass does.
func quiet(log string) string {
	var out strings.Builder
	for line := range strings.Lines(log) {
		word := strings.Fields(line)[0]
		switch {
		case word == "releaseslots", word == "requestslot" && !strings.Contains(log, "> hold slots"):
		case strings.HasSuffix(line, "idle -> running\n"), strings.HasSuffix(line, "running -> idle\n"):
		case (strings.HasSuffix(line, "idle -> preparing\n") || strings.HasSuffix(line, "preparing -> idle\n") || word == "prepare") && !strings.Contains(log, "> hold bundles"):
		default:
			out.WriteString(line)
		}
	}
	return out.String()
}

func (s *story) prepare(a Prepare) Event {
	reason := ""
	if s.missing[a.Name] {
		reason = "BundleNotFound"
	}
	return s.prepared(a, reason, s.lastGood[a.Name])
}

func (s *story) has(words []string, flag string) bool { return slices.Contains(words, flag) }

// after returns the word that follows another one.
func after(words []string, word string) string {
	if i := slices.Index(words, word); i >= 0 && i+1 < len(words) {
		return words[i+1]
	}
	return ""
}

var happenings = map[string]func(s *story, words []string){
	"configure": func(s *story, words []string) { s.step(Configure{Suspended: s.has(words, "suspended")}) },
	// dialled ok [NAME=DIGEST...] | fails | contested NONCE [waiting]
	"dialled": func(s *story, words []string) {
		ev := Dialled{Connected: words[0] == "ok", Applied: map[string]string{}}
		for _, w := range words[1:] {
			name, digest, _ := strings.Cut(w, "=")
			ev.Applied[name] = digest
		}
		if words[0] == "contested" {
			ev.Contested, ev.Nonce, ev.Waiting = true, words[1], s.has(words, "waiting")
		}
		s.step(ev)
	},
	"checked": func(s *story, words []string) {
		s.step(Checked{Session: s.session, Answer: map[string]Identity{"same": SameCluster, "another": AnotherCluster, "earlier": EarlierState, "none": NoAnswer, "refused": Unidentified}[words[0]]})
	},
	"assign": func(s *story, words []string) {
		s.shuffle(words)
		var list []Assignment
		for _, w := range words {
			list = append(list, Assignment{Spec: spec(s.t, w)})
		}
		s.step(Assign{Entries: list})
	},
	// done NAME [reason REASON] [FLAG...]
	"done": func(s *story, words []string) {
		o := Outcome{Reason: after(words, "reason")}
		for flag, set := range map[string]*bool{
			"failed": &o.Failed, "final": &o.Final, "waiting": &o.Waiting, "soon": &o.RetrySoon, "stopped": &o.Stopped, "empty": &o.Empty,
			"retains": &o.Retains, "unread": &o.Unread, "contested": &o.Contested, "cleaned": &o.Cleaned,
		} {
			*set = s.has(words, flag)
		}
		if d := after(words, "release"); d != "" {
			wait, _ := time.ParseDuration(d)
			o.Release = s.now.Add(wait)
		}
		s.done(words[0], o)
	},
	"touched":  func(s *story, words []string) { s.step(Touched{Name: words[0]}) },
	"unserved": func(s *story, words []string) { s.step(KindUnserved{Name: words[0]}) },
	"ready":    func(s *story, words []string) { s.step(Health{Name: words[0], Ready: true}) },
	"unready":  func(s *story, words []string) { s.step(Health{Name: words[0]}) },
	"verify":   func(s *story, _ []string) { s.step(Verify{}) },
	"suspect":  func(s *story, _ []string) { s.step(Suspect{}) },
	"watch":    func(s *story, _ []string) { s.step(WatchEnded{}) },
	"new":      func(s *story, _ []string) { s.step(NewConnection{}) },
	"session": func(s *story, words []string) {
		s.step(SessionFailed{Session: s.session, Why: words[0], ForeignWrite: words[0] == "surprise"})
	},
	"displaced": func(s *story, _ []string) { s.step(Displaced{}) },
	"fence":     func(s *story, words []string) { s.step(Fence{Lost: words[0] == "lost"}) },
	"resume":    func(s *story, _ []string) { s.step(Resume{}) },
	"stop":      func(s *story, _ []string) { s.step(Stop{}) },
	"finalize":  func(s *story, _ []string) { s.step(FinalizeRequested{}) },
	"purged":    func(s *story, words []string) { s.step(PurgeDone{Succeeded: words[0] == "ok"}) },
	"claim": func(s *story, words []string) {
		if words[0] == "changed" {
			s.step(ClaimChanged{})
			return
		}
		s.step(ClaimAnswered{Session: s.session, Claim: map[string]Claim{"stands": ClaimStands, "gone": ClaimGone, "yielded": ClaimYielded, "taken": ClaimTaken}[words[0]]})
	},
	"heard": func(s *story, _ []string) { s.heard = s.now },
	"after": func(s *story, words []string) {
		d, err := time.ParseDuration(words[0])
		if err != nil {
			s.t.Fatal(err)
		}
		s.advance(d)
	},
	// hold bundles NAME | hold slots, and free in the same way
	"hold": func(s *story, words []string) {
		if words[0] == "slots" {
			s.holdSlots = true
		} else {
			s.holdBundles[words[1]] = true
		}
	},
	"free": func(s *story, words []string) {
		if words[0] == "slots" {
			s.holdSlots = false
			for len(s.asked) > 0 {
				s.step(s.grant(s.asked[0]))
			}
			return
		}
		delete(s.holdBundles, words[1])
		for _, a := range slices.Clone(s.preparing) {
			if a.Name == words[1] {
				s.step(s.prepare(a))
			}
		}
	},
	// grant LANE
	"grant": func(s *story, words []string) {
		l := Normal
		if words[0] == "urgent" {
			l = Urgent
		}
		s.step(s.grant(l))
	},
	// bundle NAME missing|there|last-good
	"bundle": func(s *story, words []string) {
		s.missing[words[0]] = words[1] == "missing"
		if words[1] == "last-good" {
			s.lastGood[words[0]] = true
		}
	},
}
