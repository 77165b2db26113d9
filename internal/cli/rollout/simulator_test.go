package rollout

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/rollout"
)

func fleetOf(n int) []rollout.Member {
	var all []rollout.Member
	for i := range n {
		all = append(all, rollout.Member{Name: fmt.Sprintf("edge-%05d", i), Position: rollout.Other, Applied: true})
	}
	return all
}

// inBatches is a rollout of many steps.
func inBatches(size string) *v1alpha1.Rollout {
	one, batch := intstr.FromInt32(1), intstr.FromString(size)
	return &v1alpha1.Rollout{Stages: []v1alpha1.RolloutStage{
		{Name: "canary", Size: &one, Soak: &metav1.Duration{Duration: time.Hour}},
		{Name: "all", MaxConcurrent: &batch},
	}}
}

// TestRunHoldsTheBudget: what is recorded never has more clusters on their way than may be, and each
// cluster is sent the change once.
func TestRunHoldsTheBudget(t *testing.T) {
	members := fleetOf(1000)
	outcome, err := Run(t.Context(), Scenario{Spec: inBatches("2%"), Members: members, Start: noon, HealthAfter: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	flying, sent := map[string]bool{}, map[string]int{}
	for _, e := range outcome.Events {
		for _, name := range e.Clusters {
			if e.Kind == EventStarted {
				flying[name] = true
				sent[name]++
			}
			if e.Kind == EventReady {
				delete(flying, name)
			}
		}
		if len(flying) > 19 { // 2% of 999
			t.Fatalf("%d on their way at %s", len(flying), e.At)
		}
	}
	if len(sent) != len(members) || outcome.Last.Status.Phase != v1alpha1.RolloutCompleted {
		t.Errorf("%d clusters, %s: %s", len(sent), outcome.Last.Status.Phase, outcome.Last.Status.Message)
	}
	for name, n := range sent {
		if n != 1 {
			t.Errorf("%s was sent the change %d times", name, n)
		}
	}
	if members[0].Position != rollout.Other {
		t.Error("what was handed in has changed")
	}
}

func TestRunTwiceIsTheSame(t *testing.T) {
	fails, _, err := choose([]string{"3%"}, fleetOf(200))
	if err != nil {
		t.Fatal(err)
	}
	scenario := Scenario{Spec: inBatches("10%"), Members: fleetOf(200), Start: noon, HealthAfter: time.Minute, FailedAfter: time.Hour, Fails: fails}
	one, err := Run(t.Context(), scenario)
	if err != nil {
		t.Fatal(err)
	}
	two, err := Run(t.Context(), scenario)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(one, two); diff != "" {
		t.Errorf("(-one +two):\n%s", diff)
	}
}

func TestRunWhereHealthTakesNoTime(t *testing.T) {
	outcome, err := Run(t.Context(), Scenario{Members: fleetOf(40), Start: noon})
	if err != nil || outcome.Last.Status.Phase != v1alpha1.RolloutCompleted || !outcome.Ended.Equal(noon) {
		t.Errorf("%s at %s, %v", outcome.Last.Status.Phase, outcome.Ended, err)
	}
}

func TestRunIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, Scenario{Members: fleetOf(3), Start: noon}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

// TestAGreaterPercentagePicksThoseOfASmallerOne, and never one that is absent.
func TestAGreaterPercentagePicksThoseOfASmallerOne(t *testing.T) {
	members := fleetOf(50)
	for i := range 10 {
		members[i].Health = rollout.Unreachable
	}
	var before map[string]bool
	for _, tt := range []struct {
		percent string
		want    int
	}{{"1%", 1}, {"10%", 4}, {"50%", 20}, {"99%", 39}, {"100%", 40}} {
		fails, said, err := choose([]string{tt.percent}, members)
		if err != nil || len(fails) != tt.want {
			t.Fatalf("%s: %v %v %v", tt.percent, fails, said, err)
		}
		for name := range before {
			if !fails[name] {
				t.Errorf("%s leaves out %s", tt.percent, name)
			}
		}
		for _, m := range members[:10] {
			if fails[m.Name] {
				t.Errorf("%s picks %s, which is absent", tt.percent, m.Name)
			}
		}
		before = fails
	}
}

func TestBars(t *testing.T) {
	io, _, _, _ := iostreams.Test()
	tests := map[string]struct {
		stage Stage
		want  string
	}{
		"none":                        {Stage{}, ""},
		"all ready":                   {Stage{Clusters: 7, Updated: 7, Ready: 7}, "████████████████████████"},
		"one of a thousand waits":     {Stage{Clusters: 1000, Updated: 999, Ready: 999}, "███████████████████████░"},
		"one of a thousand failed":    {Stage{Clusters: 1000, Updated: 1000, Ready: 999, Failed: 1}, "███████████████████████✗"},
		"a bit of everything":         {Stage{Clusters: 8, Updated: 4, Ready: 2, Failed: 1, Absent: 1}, "██████✗✗✗▒▒▒···░░░░░░░░░"},
		"a bit of each of a thousand": {Stage{Clusters: 1000, Updated: 3, Ready: 1, Failed: 1, Absent: 1}, "█✗▒·░░░░░░░░░░░░░░░░░░░░"},
		"more absent than is left":    {Stage{Clusters: 2, Updated: 2, Ready: 1, Absent: 1}, "████████▒▒▒▒▒▒▒▒········"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := stageBar(tt.stage, io, barWidth); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func BenchmarkRun(b *testing.B) {
	members := fleetOf(10_000)
	for b.Loop() {
		if _, err := Run(b.Context(), Scenario{Spec: inBatches("1%"), Members: members, Start: noon, HealthAfter: time.Minute}); err != nil {
			b.Fatal(err)
		}
	}
}
