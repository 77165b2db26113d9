package rollout

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

func rolloutSpec(t *testing.T, text string) *v1alpha1.Rollout {
	t.Helper()
	if text == "" {
		return nil
	}
	spec := &v1alpha1.Rollout{}
	if err := yaml.UnmarshalStrict([]byte(text), spec); err != nil {
		t.Fatal(err)
	}
	return spec
}

func edges(n int) []Member {
	var all []Member
	for i := n; i > 0; i-- { // not in their order
		all = append(all, Member{Name: fmt.Sprintf("edge-%02d", i), Labels: map[string]string{"half": fmt.Sprint(i % 2)}})
	}
	return all
}

func TestStages(t *testing.T) {
	tests := map[string]struct {
		spec string
		of   int
		want []string
	}{
		"the default":                     {of: 25, want: []string{"canary 1 of 1, 1 at a time, 0 may fail", "tenth 2 of 2 (10% of 25 = 2), 2 at a time, 1 may fail together (halts at 2:)", "rest 22, 22 at a time, 1 may fail together (halts at 2:)"}},
		"the default of a small fleet":    {of: 3, want: []string{"canary 1 of 1, 1 at a time, 0 may fail", "tenth 1 of 1 (10% of 3 = 1), 1 at a time, 0 may fail together (halts at 1: 5% of 3 = 1)", "rest 1, 1 at a time, 0 may fail together (halts at 1: 5% of 3 = 1)"}},
		"the default of nobody":           {of: 0},
		"one is no rollout":               {of: 1},
		"one that is to roll back is one": {spec: "onFailure: Rollback", of: 1, want: []string{"canary 1 of 1, 1 at a time, 0 may fail", "tenth 0 of 1 (10% of 1 = 1), 0 at a time, 0 may fail together (halts at 1: 5% of 1 = 1)"}},
		"all at once":                     {spec: "strategy: AllAtOnce", of: 9},
		"written for nobody":              {spec: "stages: [{name: a, size: 10%, maxConcurrent: 10%, maxFailures: 10%}]", of: 0, want: []string{"a 0 of 0 (10% of 0 = 0), 0 at a time (10% of 0 = 0), 0 may fail (10% of 0 = 0)"}},
		"never none":                      {spec: "stages: [{name: a, size: 1%, maxConcurrent: 1%}, {name: b, maxConcurrent: 1%, maxFailures: 1%}]", of: 7, want: []string{"a 1 of 1 (1% of 7 = 1), 1 at a time (1% of 1 = 1), 0 may fail", "b 6, 1 at a time (1% of 6 = 1), 1 may fail (1% of 6 = 1)"}},
		"never all":                       {spec: "stages: [{name: a, size: 99%, maxConcurrent: 99%, maxFailures: 99%}]", of: 7, want: []string{"a 6 of 6 (99% of 7 = 6), 5 at a time (99% of 6 = 5), 5 may fail (99% of 6 = 5)", "rest 1, 1 at a time, 0 may fail (99% of 1 = 0)"}},
		"all where all is said":           {spec: "stages: [{name: a, size: 100%, maxConcurrent: 100%, maxFailures: 100%}]", of: 7, want: []string{"a 7 of 7 (100% of 7 = 7), 7 at a time (100% of 7 = 7), 7 may fail (100% of 7 = 7)"}},
		"none where none is said":         {spec: "stages: [{name: a, maxFailures: 0%}]", of: 7, want: []string{"a 7, 7 at a time, 0 may fail (0% of 7 = 0)"}},
		"more than there are":             {spec: "stages: [{name: a, size: 9, maxConcurrent: 9, maxFailures: 9}]", of: 2, want: []string{"a 2 of 9, 9 at a time, 9 may fail"}},
		"by selector, the first takes it": {spec: "stages: [{name: odd, selector: {matchLabels: {half: '1'}}, size: 2}, {name: any, size: 3}, {name: odd-too, selector: {matchLabels: {half: '1'}}}]", of: 9, want: []string{"odd 2 of 2, 2 at a time, 0 may fail", "any 3 of 3, 3 at a time, 0 may fail", "odd-too 2, 2 at a time, 0 may fail", "rest 2, 2 at a time, 0 may fail"}},
		"a selector that picks nobody":    {spec: "stages: [{name: lab, selector: {matchLabels: {x: y}}, maxFailures: 2}]", of: 3, want: []string{"lab 0, 0 at a time, 2 may fail", "rest 3, 3 at a time, 2 may fail"}},
		"an empty selector picks all":     {spec: "stages: [{name: lab, selector: {}}, {name: b}]", of: 3, want: []string{"lab 3, 3 at a time, 0 may fail", "b 0, 0 at a time, 0 may fail"}},
		"rest is taken":                   {spec: "stages: [{name: rest, size: 1}, {name: rest-2, size: 1}]", of: 3, want: []string{"rest 1 of 1, 1 at a time, 0 may fail", "rest-2 1 of 1, 1 at a time, 0 may fail", "rest-3 1, 1 at a time, 0 may fail"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			stages, err := Stages(rolloutSpec(t, tt.spec), edges(tt.of))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range stages {
				got = append(got, stageLine(s))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func stageLine(s Stage) string {
	text := fmt.Sprintf("%s %d", s.Name, len(s.Clusters))
	if s.Size != nil {
		text += " of " + amountText(*s.Size, "")
	}
	text += ", " + amountText(s.MaxConcurrent, " at a time") + ", "
	if s.Overall {
		return text + amountText(s.MaxFailures, " may fail together")
	}
	return text + amountText(s.MaxFailures, " may fail")
}

func amountText(a Amount, what string) string {
	if a.Rounding == "" {
		return fmt.Sprintf("%d%s", a.Clusters, what)
	}
	return fmt.Sprintf("%d%s (%s)", a.Clusters, what, a.Rounding)
}

// TestPortion goes through every percentage of every fleet up to 250.
func TestPortion(t *testing.T) {
	for n := range 251 {
		for p := 1; p <= 100; p++ {
			v := intstr.FromString(fmt.Sprintf("%d%%", p))
			got, may := portion(v, n).Clusters, tolerance(&v, n).Clusters
			switch {
			case n > 0 && got < 1, p < 100 && n > 1 && got >= n, p == 100 && got != n, got > n:
				t.Fatalf("%d%% of %d is %d", p, n, got)
			case p < 100 && n > 0 && may >= n, n > 1 && may < 1, p == 100 && may != n:
				t.Fatalf("%d%% of %d may fail: %d", p, n, may)
			}
		}
	}
}

func TestCheckRollout(t *testing.T) {
	tests := map[string]struct{ spec, err string }{
		"nothing":                   {},
		"empty":                     {spec: "{}"},
		"two stages of one name":    {spec: "stages: [{name: a}, {name: a}]", err: `there are two stages "a"`},
		"a name that means all":     {spec: "stages: [{name: '*'}]", err: `stage "*": a name is made of`},
		"no name":                   {spec: "stages: [{}]", err: `stage "": a name is made of`},
		"a selector that is none":   {spec: "stages: [{name: a, selector: {matchExpressions: [{key: x, operator: Near}]}}]", err: `stage "a": cannot read selector: "Near" is not a valid`},
		"a size of nobody":          {spec: "stages: [{name: a, size: 0}]", err: `stage "a": size: 0 is less than 1`},
		"a size of none of them":    {spec: "stages: [{name: a, size: 0%}]", err: `stage "a": size: "0%" is neither`},
		"more than all":             {spec: "stages: [{name: a, maxConcurrent: 101%}]", err: `stage "a": maxConcurrent: "101%" is neither`},
		"a number in words":         {spec: "stages: [{name: a, maxFailures: some}]", err: `stage "a": maxFailures: "some" is neither`},
		"less than nobody":          {spec: "stages: [{name: a, maxFailures: -1}]", err: `stage "a": maxFailures: -1 is less than 0`},
		"a soak that was":           {spec: "stages: [{name: a, soak: -1m}]", err: `stage "a": soak is less`},
		"an approval of its own":    {spec: "stages: [{name: a, approval: Maybe}]", err: `stage "a": there is no approval "Maybe"`},
		"a strategy of its own":     {spec: "strategy: Slow", err: `there is no strategy "Slow"`},
		"a failure of its own":      {spec: "onFailure: Cry", err: `there is no onFailure "Cry"`},
		"all at once, in stages":    {spec: "{strategy: AllAtOnce, stages: [{name: a}]}", err: "AllAtOnce has no stages"},
		"no time at all":            {spec: "progressDeadline: 0s", err: "progressDeadline must be"},
		"a schedule of four fields": {spec: "windows: [{schedule: '0 2 * *', duration: 1h}]", err: `window 1: schedule "0 2 * *" does not have`},
		"a schedule with a zone":    {spec: "windows: [{schedule: 'TZ=UTC 2 * * *', duration: 1h}]", err: `window 1: schedule "TZ=UTC 2 * * *" does not have`},
		"a schedule in words":       {spec: "windows: [{schedule: '@daily', duration: 1h}]", err: `window 1: schedule "@daily" does not have`},
		"a zone that panics":        {spec: "windows: [{schedule: 'TZ=0', duration: 1h}]", err: `window 1: schedule "TZ=0" does not have`},
		"an hour that is none":      {spec: "windows: [{schedule: '0 25 * * *', duration: 1h}]", err: `window 1: cannot read schedule "0 25 * * *"`},
		"a day that never comes":    {spec: "windows: [{schedule: '0 0 31 2 *', duration: 1h}]", err: `window 1: schedule "0 0 31 2 *" never opens`},
		"a day that comes at times": {spec: "windows: [{schedule: '0 0 29 2 *', duration: 1h}]"},
		"no such zone":              {spec: "windows: [{schedule: '0 2 * * *', duration: 1h}, {schedule: '0 2 * * *', duration: 1h, timeZone: Europe/Atlantis}]", err: `window 2: there is no time zone "Europe/Atlantis"`},
		"the zone of the machine":   {spec: "windows: [{schedule: '0 2 * * *', duration: 1h, timeZone: Local}]", err: `window 1: there is no time zone "Local"`},
		"a window that is shut":     {spec: "windows: [{schedule: '0 2 * * *', duration: 0s}]", err: "window 1: duration must be"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			spec := rolloutSpec(t, tt.spec)
			err := CheckRollout(spec)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.err)) {
				t.Fatalf("error %v, want %q", err, tt.err)
			}
			now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			p, nextErr := Next(now, Rollout{Spec: spec, Clusters: edges(3)})
			if fmt.Sprint(nextErr) != fmt.Sprint(err) || err != nil && !cmp.Equal(p, Plan{}) {
				t.Errorf("Next says %v, and %+v", nextErr, p)
			}
			if _, stagesErr := Stages(spec, edges(3)); fmt.Sprint(stagesErr) != fmt.Sprint(err) {
				t.Errorf("Stages says %v", stagesErr)
			}
		})
	}
}

// TestNextLeavesItsInputAlone: the controller keeps what it observed.
func TestNextLeavesItsInputAlone(t *testing.T) {
	at := metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	r := Rollout{
		Change: v1alpha1.RolloutChange{ID: "b"}, Undo: "b", Clusters: edges(3),
		Status: &v1alpha1.RolloutStatus{
			RolloutChange: v1alpha1.RolloutChange{ID: "b"}, StartedAt: &at, Phase: v1alpha1.RolloutCompleted,
			Verified: &v1alpha1.RolloutChange{ID: "b"}, Halted: []v1alpha1.RolloutChange{{ID: "1"}, {ID: "2"}, {ID: "3"}, {ID: "4"}, {ID: "5"}},
			Stages: []v1alpha1.RolloutStageStatus{{Name: "canary", Done: true, HealthySince: &at}},
		},
	}
	before := r.Status.DeepCopy()
	p, err := Next(at.Add(time.Hour), r)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, r.Status); diff != "" {
		t.Errorf("the status it was given (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(edges(3), r.Clusters); diff != "" {
		t.Errorf("the clusters it was given (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff([]v1alpha1.RolloutChange{{ID: "b"}, {ID: "1"}, {ID: "2"}, {ID: "3"}, {ID: "4"}}, p.Status.Halted); diff != "" {
		t.Errorf("halted (-want +got):\n%s", diff)
	}
}

func BenchmarkNext(b *testing.B) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, n := range []int{50, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := Rollout{Change: v1alpha1.RolloutChange{ID: "b"}, Clusters: edges(n)}
			for b.Loop() {
				if _, err := Next(now, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
