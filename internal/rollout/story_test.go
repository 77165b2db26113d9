package rollout

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/testkit/golden"
)

// TestStories tells each file of testdata/rollout. A file has the sections spec, clusters (a name and
// labels in each line), script (an event in each line) and log.
func TestStories(t *testing.T) {
	golden.Run(t, "testdata/rollout/*.txtar", func(t *testing.T, ar *txtar.Archive) map[string]string {
		got := tell(t, ar, func([]Member) {})
		for seed := range uint64(10) {
			r := rand.New(rand.NewPCG(seed, 0))
			shuffled := tell(t, ar, func(m []Member) {
				r.Shuffle(len(m), func(i, j int) { m[i], m[j] = m[j], m[i] })
			})
			if diff := gocmp.Diff(got, shuffled); diff != "" {
				t.Fatalf("clusters in another order, seed %d:\n%s", seed, diff)
			}
		}
		return map[string]string{"log": got}
	})
}

// story is a world that writes down what happens.
type story struct {
	*world
	log   strings.Builder
	held  string // as it was told last
	phase string
}

func tell(t *testing.T, ar *txtar.Archive, order func([]Member)) string {
	t.Helper()
	s := &story{world: newWorld(t, nil, time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC))}
	s.order = order
	for _, f := range ar.Files {
		text := strings.TrimSpace(string(f.Data))
		switch f.Name {
		case "spec":
			s.read(text)
		case "clusters":
			for line := range strings.Lines(text) {
				s.join(strings.Fields(line))
			}
		case "script":
			for line := range strings.Lines(text) {
				s.play(strings.TrimSpace(line))
			}
		case "log":
		default:
			t.Fatalf("unknown section %q", f.Name)
		}
	}
	s.stages()
	return s.log.String()
}

func (s *story) read(text string) {
	s.t.Helper()
	s.spec = nil
	if text == "" {
		return
	}
	s.spec = &v1alpha1.Rollout{}
	if err := yaml.UnmarshalStrict([]byte(text), s.spec); err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) join(words []string) {
	e := &edge{name: words[0], labels: map[string]string{}}
	for _, word := range words[1:] {
		k, v, _ := strings.Cut(word, "=")
		e.labels[k] = v
	}
	s.edges[e.name] = e
}

// play lets an event happen, and then everything that comes of it.
func (s *story) play(line string) {
	s.t.Helper()
	if line == "" {
		return
	}
	was := s.change
	s.happen(line)
	if s.change != was {
		s.phase = "" // of another change
	}
	fmt.Fprintf(&s.log, "%s > %s\n", s.now.Format("15:04:05"), line)
	if s.change == "" {
		return
	}
	for _, p := range s.settle() {
		s.moves(p)
	}
	p := s.ask()
	s.holds(p)
	phase := fmt.Sprintf("%s %s", p.Status.Phase, p.Status.Stage)
	if p.Status.Message != "" {
		phase = fmt.Sprintf("%s: %s", strings.TrimSpace(phase), p.Status.Message)
	}
	if phase != s.phase {
		fmt.Fprintf(&s.log, "  = %s\n", phase)
	}
	s.phase = phase
}

// happen changes the world as an event says: "commit B [only CLUSTER...]", "at TIME", "spec YAML",
// "pause", "resume", "promote STAGE", "undo", "forget" (the annotations), "CLUSTER... WORD [MESSAGE]".
func (s *story) happen(line string) {
	s.t.Helper()
	words := strings.Fields(line)
	switch words[0] {
	case "commit":
		s.change = words[1]
		if !slices.Contains(s.commits, s.change) {
			s.commits = append(s.commits, s.change)
			if len(words) > 2 {
				s.alters[s.change] = words[3:]
			}
		}
	case "at":
		s.clock(strings.Join(words[1:], " "))
	case "spec":
		s.read(strings.TrimPrefix(line, "spec "))
	case "pause":
		s.paused = true
	case "resume":
		s.paused = false
	case "promote":
		s.promote = s.change + "/" + words[1]
	case "undo":
		s.undo = s.change
	case "forget":
		s.promote, s.undo = "", ""
	default:
		at := slices.IndexFunc(words, func(w string) bool { return verbs[strings.TrimSuffix(w, ":")] != nil })
		if at < 1 {
			s.t.Fatalf("nobody knows what %q is", line)
		}
		for _, name := range s.match(words[:at]) {
			verbs[strings.TrimSuffix(words[at], ":")](s, name, words[at+1:])
		}
	}
}

func (s *story) clock(text string) {
	s.t.Helper()
	for _, layout := range []string{"15:04", "15:04:05"} {
		if at, err := time.Parse(layout, text); err == nil {
			y, m, d := s.now.Date()
			s.now = time.Date(y, m, d, at.Hour(), at.Minute(), at.Second(), 0, time.UTC)
			return
		}
	}
	at, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		s.t.Fatal(err)
	}
	s.now = at
}

// match reads names, where "all" stands for those that are on their way.
func (s *story) match(words []string) []string {
	if words[0] != "all" {
		return words
	}
	return slices.DeleteFunc(s.names(), func(name string) bool {
		e := s.edges[name]
		return e.entry == nil || e.away || e.health != Progressing
	})
}

var verbs = map[string]func(s *story, name string, words []string){
	"healthy": func(s *story, name string, _ []string) { s.edges[name].heal() },
	"failing": func(s *story, name string, words []string) { s.sick(name, Failing, words) },
	"fails":   func(s *story, name string, words []string) { s.sick(name, Failed, words) },
	"busy":    func(s *story, name string, words []string) { s.sick(name, Progressing, words) },
	"vanish":  func(s *story, name string, _ []string) { s.edges[name].away = true },
	"return": func(s *story, name string, _ []string) {
		s.edges[name].away, s.edges[name].back = false, s.now
	},
	"suspended": func(s *story, name string, _ []string) { s.edges[name].suspended = true },
	"resumed":   func(s *story, name string, _ []string) { s.edges[name].suspended = false },
	"joins":     func(s *story, name string, words []string) { s.join(append([]string{name}, words...)) },
	"leaves":    func(s *story, name string, _ []string) { delete(s.edges, name) },
	"labelled": func(s *story, name string, words []string) {
		for _, word := range words {
			k, v, _ := strings.Cut(word, "=")
			s.edges[name].labels[k] = v
		}
	},
	"unrenderable": func(s *story, name string, _ []string) { s.broken[name] = true },
	"renderable":   func(s *story, name string, _ []string) { s.broken[name] = false },
}

func (s *story) sick(name string, h Health, words []string) {
	e := s.edges[name]
	e.health, e.message = h, strings.Join(words, " ")
}

func (s *story) moves(p Plan) {
	for _, m := range []struct {
		verb  string
		names []string
	}{{"start", p.Start}, {"catch up", p.CatchUp}, {"return", p.Return}} {
		if len(m.names) > 0 {
			fmt.Fprintf(&s.log, "  %s %s\n", m.verb, strings.Join(m.names, " "))
		}
	}
}

// holds tells who is held, when that is news.
func (s *story) holds(p Plan) {
	by := map[string][]string{}
	for _, h := range p.Hold {
		if h.Reason == "" {
			s.t.Errorf("%s is held for no reason", h.Cluster)
		}
		by[h.Reason] = append(by[h.Reason], h.Cluster)
	}
	var lines []string
	for reason, names := range by {
		lines = append(lines, fmt.Sprintf("  hold %s: %s\n", strings.Join(names, " "), reason))
	}
	slices.SortFunc(lines, cmp.Compare)
	text := strings.Join(lines, "")
	if text != s.held {
		s.log.WriteString(text)
	}
	s.held = text
	if !p.RecheckAt.IsZero() && !p.RecheckAt.After(s.now) {
		s.t.Errorf("asks to be asked at %s, and it is %s", p.RecheckAt, s.now)
	}
}

// stages tells how the stages stand in the end.
func (s *story) stages() {
	for _, r := range s.status.Stages {
		fmt.Fprintf(&s.log, "stage %s: %d clusters, %d updated, %d ready, %d failed, %d absent", r.Name, r.Clusters, r.Updated, r.Ready, r.Failed, r.Absent)
		if r.Approved {
			s.log.WriteString(", approved")
		}
		if r.Done {
			s.log.WriteString(", done")
		}
		s.log.WriteString("\n")
	}
	if v := s.status.Verified; v != nil {
		fmt.Fprintf(&s.log, "verified: %s\n", v.ID)
	}
	for _, h := range s.status.Halted {
		fmt.Fprintf(&s.log, "halted: %s\n", h.ID)
	}
}
