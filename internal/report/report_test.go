package report

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

func TestLine(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                          "plain",
		"two\nlines\tand  more ":         "two lines and more",
		"\x1b[2Jgone\a\u202e":            "[2Jgone",
		"größer, 日本":                     "größer, 日本",
		"\xff\xfe":                       "",
		strings.Repeat("x", maxLine+1):   strings.Repeat("x", maxLine-len("…")) + "…",
		strings.Repeat("é", maxLine/2):   strings.Repeat("é", maxLine/2),
		"read tcp 10.0.0.1:4711->b:1: x": "read tcp b:1: x",
		"read tcp [::1]:4711->[::2]:443": "read tcp [::2]:443",
		"a->b and 1:2 stay":              "a->b and 1:2 stay",
	} {
		if got := Line(in); got != want {
			t.Errorf("Line(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestOfOtherErrorsNothingIsSaid(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("conflict"), false},
		{fmt.Errorf("a: %w", &Transient{Reason: "A", Err: errors.New("b")}), true},
		{errors.Join(errors.New("conflict"), &Stalled{Reason: "A", Err: errors.New("b")}), true},
		{&Waiting{Reason: "A", Err: errors.New("b")}, true},
	} {
		if got := IsReportable(tt.err); got != tt.want {
			t.Errorf("Spoken(%v) = %v", tt.err, got)
		}
	}
}

func TestStalledOutlastsWhatItWraps(t *testing.T) {
	err := &Stalled{Reason: "Outer", Err: &Transient{Reason: "Inner", Err: errors.New("x")}}
	if p := explain(err); p.reason != "Outer" || !p.stalled {
		t.Errorf("%+v", p)
	}
}

func TestPausesStayBetweenASecondAndTheInterval(t *testing.T) {
	for _, interval := range []time.Duration{time.Second, 20 * time.Second, time.Minute, 24 * time.Hour} {
		before := time.Duration(0)
		for failures := range 100 {
			f := SourceFacts{
				Object:   &v1alpha1.GitRepository{Spec: v1alpha1.GitRepositorySpec{Interval: metav1.Duration{Duration: interval}}},
				Err:      &Transient{Reason: "x", Err: errors.New("x")},
				Failures: failures + 1,
			}
			got := sourceRequeue(f)
			if got < before || got < time.Second || got > min(interval, time.Minute) {
				t.Errorf("interval %s, failure %d: %s after %s", interval, failures, got, before)
			}
			before = got
		}
		if want := min(interval, time.Minute); before != want {
			t.Errorf("interval %s: %s at last, want %s", interval, before, want)
		}
	}
}

// TestInvariants throws random facts at the roll-up and holds what must always hold.
func TestInvariants(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprintf("seed-%d", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			ks := &v1alpha1.Kustomization{}
			for range 20 {
				f := randomFacts(r, ks)
				got := Kustomization(f)
				checkCounts(t, got.Status)
				ready := condition(got.Status.Conditions, "Ready")
				if ready.Status == metav1.ConditionTrue {
					checkReady(t, f)
				}
				if ready.Reason == "" {
					t.Errorf("no reason: %+v", got.Status.Conditions)
				}
				if stalled := condition(got.Status.Conditions, "Stalled"); stalled.Status == metav1.ConditionTrue && condition(got.Status.Conditions, "Reconciling").Status == metav1.ConditionTrue {
					t.Error("stalled and reconciling")
				}
				if len(got.Status.Failures) > maxFailures || len(got.Status.History) > maxHistory {
					t.Error("a list is too long")
				}
				ks = ks.DeepCopy()
				ks.Status = got.Status
				f.Object = ks
				again := Kustomization(f)
				if diff := cmp.Diff(got.Status, again.Status); diff != "" || len(again.Events) > 0 {
					t.Fatalf("a repeat is news (-first +repeat):\n%s%v", diff, again.Events)
				}
			}
		})
	}
}

// checkReady holds rule 10: Ready at R means that all is well at R on every cluster.
func checkReady(t *testing.T, f KustomizationFacts) {
	t.Helper()
	if f.Err != nil || len(f.Targets) == 0 || f.Object.Spec.Suspend {
		t.Errorf("ready with %v and %d targets", f.Err, len(f.Targets))
	}
	for _, target := range f.Targets {
		r := target.Reported
		if target.Err != nil || r == nil || r.Ready != metav1.ConditionTrue || r.AppliedRevision != f.Revision || target.Wanted.Revision != f.Revision ||
			condition(target.Conditions, "Reachable").Status == metav1.ConditionFalse || condition(target.Conditions, "Ready").Status == metav1.ConditionFalse {
			t.Errorf("ready with %+v", target)
		}
	}
}

func randomFacts(r *rand.Rand, ks *v1alpha1.Kustomization) KustomizationFacts {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	revision := pick("r1", "r1", "r2")
	f := KustomizationFacts{Object: ks, Now: time.Unix(r.Int64N(1e9), 0), Revision: revision}
	if r.IntN(6) == 0 {
		f.Err = []error{
			&Stalled{Reason: "A", Err: errors.New("a")}, &Waiting{Reason: "B", Err: errors.New("b")}, &Transient{Reason: "C", Err: errors.New("c")},
		}[r.IntN(3)]
	}
	for i := range r.IntN(4) {
		target := TargetFacts{Cluster: fmt.Sprint(i), Suspended: r.IntN(5) == 0}
		for _, kind := range []string{"Ready", "Reachable"} {
			target.Conditions = append(target.Conditions, metav1.Condition{
				Type: kind, Reason: pick("Succeeded", "AgentNotConnected", "X"),
				Status: metav1.ConditionStatus(pick("True", "True", "True", "False", "Unknown")),
			})
		}
		if r.IntN(8) == 0 {
			target.Err = &Stalled{Reason: "PathNotFound", Err: errors.New("x")}
		}
		if r.IntN(8) > 0 {
			at := pick(revision, revision, "r0")
			target.Wanted = &v1alpha1.AssignmentEntry{Revision: at, Digest: at}
		}
		if r.IntN(8) > 0 {
			at, applied := pick(revision, revision, "r0"), pick(revision, revision, "r0")
			target.Reported = &v1alpha1.AssignmentEntryStatus{
				Revision: at, Digest: at, AppliedRevision: applied, AppliedDigest: applied,
				Ready: metav1.ConditionStatus(pick("True", "True", "True", "False", "Unknown")), Reason: pick("Succeeded", "ApplyFailed"),
			}
		}
		f.Targets = append(f.Targets, target)
	}
	if r.IntN(5) == 0 {
		f.Leaving = append(f.Leaving, TargetFacts{Cluster: "leaving"})
	}
	return f
}
