package expression

import (
	"errors"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	fields := map[string]any{
		"status": map[string]any{"phase": "Up", "replicas": int64(3), "list": []any{int64(1), int64(2)}},
		"data":   map[string]any{"text": "Zm9v"},
	}
	for expression, want := range map[string]string{
		"status.phase == 'Up'":                           "true",
		"status.replicas > 2.5":                          "true", // numbers of different types compare
		"status.?missing.orValue('x') == 'x'":            "true",
		"status.phase.lowerAscii() == 'up'":              "true",
		"sets.contains(status.list, [2])":                "true",
		"string(base64.decode(data.text)) == 'foo'":      "true",
		"status.list.exists(x, x == 3)":                  "false",
		"timestamp('2026-01-01T00:00:00Z').getHours()>0": "false",
		"status.missing == 'x'":                          "no such key",
		"status.phase":                                   ErrNotBool.Error(),
		"status.":                                        "Syntax error",
		strings.Repeat("(", 4000):                        "recursion",
	} {
		got := ""
		p, err := Parse(expression, ObjectLimit)
		if err == nil {
			var holds bool
			var steps uint64
			if holds, steps, err = p.Holds(fields); err == nil {
				got = map[bool]string{true: "true", false: "false"}[holds]
				if steps == 0 || steps > 100 {
					t.Errorf("%s takes %d steps", expression, steps)
				}
			}
		}
		if err != nil {
			got = err.Error()
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%s: %q, want %q", expression, got, want)
		}
	}
}

func TestCompileChecksVariablesAndResult(t *testing.T) {
	for expression, want := range map[string]string{
		"dep.metadata.name == self.metadata.name": "",
		"other.metadata.name == 'x'":              "undeclared reference",
		"dep.metadata.name":                       "and not in bool",
		"1 + 1 == 2":                              "",
		"":                                        "Syntax error",
	} {
		_, err := Compile(expression, DependencyLimit, "self", "dep")
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", expression, err, want)
		}
	}
}

func TestEvaluationEndsAtItsLimit(t *testing.T) {
	var list []any
	for i := range 1000 {
		list = append(list, int64(i))
	}
	p, err := Parse("l.all(a, l.all(b, l.all(c, a + b + c >= 0)))", 50_000)
	if err != nil {
		t.Fatal(err)
	}
	if _, steps, err := p.Holds(map[string]any{"l": list}); !errors.Is(err, ErrTooManySteps) || steps != 50_000 {
		t.Errorf("%d steps, %v", steps, err)
	}
	if holds, steps, err := p.Holds(map[string]any{"l": list[:3]}); !holds || err != nil || steps == 0 || steps > 1000 {
		t.Errorf("a short list: %v, %d steps, %v", holds, steps, err)
	}
}

func TestBudget(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	b := NewBudget(ClusterLimits)
	n := 0
	for ; b.Allows(start, 1); n++ {
		b.Charge(start, 1, ObjectLimit)
	}
	if n != 5 {
		t.Errorf("%d of the dearest evaluations at once, want 5", n)
	}
	if got := b.Refilled(1); got != 100*time.Second {
		t.Errorf("full again after %v", got)
	}
	if b.Allows(start, 1) {
		t.Error("more at the same time")
	}
	if b.Allows(start.Add(-time.Hour), 1) { // a clock that was set back
		t.Error("a clock that goes backwards gives something back")
	}
	if !b.Allows(start.Add(time.Second), 1) {
		t.Error("nothing is given back after a second")
	}
	if got := b.Refilled(1); got != 99*time.Second {
		t.Errorf("full again after %v", got)
	}

	// In a minute an expression at its limit is evaluated five times at once, and every 20 seconds.
	b, n = NewBudget(ClusterLimits), 0
	for at := start; at.Before(start.Add(time.Minute)); at = at.Add(10 * time.Millisecond) {
		if b.Allows(at, 1) {
			b.Charge(at, 1, ObjectLimit)
			n++
		}
	}
	if n < 8 || n > 9 {
		t.Errorf("%d evaluations in a minute", n)
	}
}

func TestKustomizationsOfOneClusterShareItsBudget(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	const sharers = 4
	budgets, n := make([]*Budget, sharers), 0
	for i := range budgets {
		budgets[i] = NewBudget(ClusterLimits)
	}
	for at := start; at.Before(start.Add(time.Minute)); at = at.Add(100 * time.Millisecond) {
		for i := range budgets {
			for budgets[i].Allows(at, sharers) {
				budgets[i].Charge(at, sharers, ObjectLimit/10)
				n++
			}
		}
	}
	if most := int(ClusterLimits.Burst+60*ClusterLimits.Rate) / (ObjectLimit / 10); n > most+sharers || n < most-sharers {
		t.Errorf("%d evaluations of all in a minute, want about %d", n, most)
	}
	frugal := NewBudget(ClusterLimits)
	if frugal.Charge(start, sharers, 1000); !frugal.Allows(start, sharers) {
		t.Error("one that takes little is held back")
	}
}

// One Kustomization with an expensive expression on 1,000 clusters takes no more than half of what all may take
// at once when another one begins, and what is given back is divided among those that wait for it.
func TestKustomizationsShareWhatTheHubMayTake(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	s := NewShares(HubLimits)
	take := func(owner string, now time.Time, steps uint64) (n int) {
		for n < 1000 && s.Allows(owner, now) {
			s.Charge(owner, now, steps)
			n++
		}
		return n
	}
	if n := take("dear", start, ObjectLimit); n != 20 {
		t.Errorf("%d of the dearest evaluations at once", n)
	}
	if n := take("cheap", start, 300); n != 1000 {
		t.Errorf("another one is held back after %d evaluations", n)
	}
	if n := take("dear", start.Add(time.Second), ObjectLimit); n != 0 {
		t.Errorf("%d more, though two share what is given back", n)
	}
	if wait := s.Refilled("dear"); wait < 130*time.Second || wait > 135*time.Second {
		t.Errorf("full again after %v", wait)
	}
	if n := take("dear", start.Add(5*time.Minute), ObjectLimit); n != 20 || len(s.of) != 1 {
		t.Errorf("%d once everything is given back, and %d are remembered", n, len(s.of))
	}
}

// What is given back while nothing is evaluated goes to those who still miss something then, and not to those who
// missed something at the last evaluation.
func TestWhoHasEverythingBackLeavesTheRestToTheOthers(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	s := NewShares(HubLimits)
	s.Charge("A", start, 300_000)
	s.Charge("B", start, 3_000_000)
	if !s.Allows("A", start.Add(10*time.Second)) || s.Refilled("A") != 0 || s.Refilled("B") != time.Second {
		t.Errorf("after 10 s A needs %v more, and B %v", s.Refilled("A"), s.Refilled("B"))
	}
	if s.Allows("A", start); s.Refilled("B") != time.Second {
		t.Error("a clock that goes backwards changes what was given back")
	}
	if s.Allows("B", start.Add(time.Minute)); len(s.of) != 0 || len(s.order) != 0 || s.given != 0 {
		t.Errorf("%d owners are remembered when everything is given back, given %f", len(s.of), s.given)
	}
}

// Ten owners spend and get back in any order: what all of them got back is what the time allowed.
func TestSharesGiveBackWhatTheTimeAllows(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 0))
		s, now, charged := NewShares(HubLimits), time.Unix(1_700_000_000, 0), 0.0
		begun := now
		for range 200 {
			steps := 300_000 + r.Uint64N(3*ObjectLimit) // at least what is given back in a second
			s.Charge(string(rune('a'+r.IntN(10))), now, steps)
			charged += float64(steps)
			now = now.Add(time.Duration(r.Int64N(int64(time.Second)))) // less than everything is given back in
		}
		s.refill(now)
		missing := 0.0
		for _, o := range s.of {
			missing += o.until - s.given
		}
		if want := charged - now.Sub(begun).Seconds()*HubLimits.Rate; math.Abs(missing-want) > 1 {
			t.Errorf("seed %d: %f steps are missing, want %f", seed, missing, want)
		}
	}
}

// An evaluation costs about the same with 10 owners that have spent something as with 10,000.
func BenchmarkShares(b *testing.B) {
	for _, owners := range []int{10, 10_000} {
		b.Run(strconv.Itoa(owners), func(b *testing.B) {
			s, now := NewShares(HubLimits), time.Unix(1_700_000_000, 0)
			names := make([]string, owners)
			for i := range names {
				names[i] = strconv.Itoa(i)
				s.Charge(names[i], now, 1_000_000_000)
			}
			for i := 0; b.Loop(); i++ {
				now = now.Add(time.Microsecond)
				s.Allows(names[i%owners], now)
				s.Charge(names[i%owners], now, 300)
			}
		})
	}
}

func BenchmarkStep(b *testing.B) {
	var list []any
	for i := range 1000 {
		list = append(list, int64(i))
	}
	p, err := Parse("l.all(a, l.all(b, l.all(c, a + b + c >= 0)))", ObjectLimit)
	if err != nil {
		b.Fatal(err)
	}
	var all uint64
	for b.Loop() {
		_, steps, _ := p.Holds(map[string]any{"l": list})
		all += steps
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(all), "ns/step")
}
