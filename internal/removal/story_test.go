package removal

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/testkit/golden"
)

// A story is a txtar file: "cluster.yaml", "entries" with the names of the Kustomizations that are assigned, one file of
// facts for each step, and "story", which is golden. What a step decides is what the next one starts from.

// facts are what has changed since the step before.
type facts struct {
	// At is the time, "12:05:00" on the day of the deletion.
	At string
	// Connection is a word: unknown, answers, other (another cluster answers), pending (no agent has joined), or else a
	// reason. LastSeen is the time of the last answer.
	Connection string
	LastSeen   string
	// Message of a connection for a reason.
	Message string
	// Err explains why there is none.
	Err string
	// Reported is what the engine reports of each entry: "removed", or reason and message.
	Reported map[string]string
	// Finalized means that the engine has taken away the last.
	Finalized bool
}

type world struct {
	t     *testing.T
	state State
	log   strings.Builder
}

func (w *world) time(text string) time.Time {
	w.t.Helper()
	at, err := time.Parse(time.TimeOnly, text)
	if err != nil {
		w.t.Fatal(err)
	}
	return time.Date(2026, 1, 1, at.Hour(), at.Minute(), at.Second(), 0, time.UTC)
}

func (w *world) assign(names []string) {
	if len(names) == 0 {
		return
	}
	a := &v1alpha1.Assignment{}
	for _, name := range names {
		a.Spec.Entries = append(a.Spec.Entries, v1alpha1.AssignmentEntry{Name: name})
		a.Status.Entries = append(a.Status.Entries, v1alpha1.AssignmentEntryStatus{Name: name, Objects: v1alpha1.ObjectCounts{Applied: 3}})
	}
	w.state.Assignment = a
}

func (w *world) connection(f facts) report.Connection {
	c := report.Connection{Known: true, Reachable: true, Usable: true, UID: "u1", LastSeen: w.state.Now}
	switch f.Connection {
	case "unknown":
		return report.Connection{}
	case "answers":
	case "other":
		c.UID = "u2"
	case "pending":
		c = report.Connection{Known: true, Reason: v1alpha1.AgentNotConnectedReason, Message: "no agent has joined", Agent: link.AgentInfo{Pending: true}}
	default:
		c = report.Connection{Known: true, Reason: f.Connection, Message: f.Message, UID: w.state.Cluster.Status.UID}
		if f.LastSeen != "" {
			c.LastSeen = w.time(f.LastSeen)
		}
	}
	return c
}

func (w *world) report(all map[string]string) {
	for name, text := range all {
		e := w.state.reported(name)
		e.Removed = text == "removed"
		if !e.Removed {
			e.Reason, e.Message, _ = strings.Cut(text, " ")
		}
	}
}

// step decides as the controller does, and applies what it would write.
func (w *world) step(f facts) {
	s := &w.state
	s.Now = w.time(f.At)
	w.report(f.Reported)
	if step, abandoned := Abandon(*s); abandoned {
		w.write(step)
		return
	}
	if s.Since.IsZero() {
		s.Since = s.Now
	}
	s.Denials = Denials(*s)
	if s.Assignment != nil {
		w.writeEntries(Entries(*s))
	}
	s.Connection, s.Err = w.connection(f), nil
	if f.Err != "" {
		s.Err, s.Connection = &report.Waiting{Reason: v1alpha1.SecretNotFoundReason, Err: errors.New(f.Err)}, report.Connection{}
	}
	step := Next(*s)
	w.write(step)
	if step.Action != Finalize {
		return
	}
	s.Cluster.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ReadyCondition, Status: metav1.ConditionFalse, Reason: v1alpha1.RetiringReason}}
	if f.Finalized {
		w.write(Finalized(*s))
	}
}

func (w *world) writeEntries(want []v1alpha1.AssignmentEntry) {
	for i := range want {
		if !want[i].Equal(&w.state.Assignment.Spec.Entries[i]) {
			fmt.Fprintf(&w.log, "entry %s: remove %t, %s\n", want[i].Name, want[i].Remove, want[i].DeletionPolicy)
		}
	}
	w.state.Assignment.Spec.Entries = want
}

func (w *world) write(s Step) {
	fmt.Fprint(&w.log, []string{"wait", "finalize", "release"}[s.Action])
	if s.After > 0 {
		fmt.Fprintf(&w.log, " %s", s.After)
	}
	if s.Withdraw {
		fmt.Fprint(&w.log, ", withdraw")
	}
	if s.Message != "" {
		fmt.Fprintf(&w.log, ": %s", s.Message)
	}
	fmt.Fprintln(&w.log)
	if e := s.Event; e != nil {
		fmt.Fprintf(&w.log, "event %s (warning %t): %s\n", e.Reason, e.Warning, e.Message)
	}
}

func TestStories(t *testing.T) {
	golden.Run(t, "testdata/*.txtar", func(t *testing.T, archive *txtar.Archive) map[string]string {
		w := &world{t: t, state: State{Cluster: &v1alpha1.Cluster{}, Timeout: DefaultTimeout}}
		for _, f := range archive.Files {
			switch f.Name {
			case "cluster.yaml":
				if err := yaml.UnmarshalStrict(f.Data, w.state.Cluster); err != nil {
					t.Fatal(err)
				}
				deleted := metav1.NewTime(w.time("12:00:00"))
				w.state.Cluster.DeletionTimestamp = &deleted
				meta.SetStatusCondition(&w.state.Cluster.Status.Conditions, metav1.Condition{Type: v1alpha1.ReachableCondition, Status: metav1.ConditionTrue, LastTransitionTime: deleted})
			case "entries":
				w.assign(strings.Fields(string(f.Data)))
			case "story":
			default:
				var next facts
				if err := yaml.UnmarshalStrict(f.Data, &next); err != nil {
					t.Fatalf("%s: %v", f.Name, err)
				}
				fmt.Fprintf(&w.log, "== %s\n", f.Name)
				w.step(next)
			}
		}
		return map[string]string{"story": w.log.String()}
	})
}

// TestEveryClusterIsReleasedInTheEnd: whatever does not answer, and for whatever reason, is waited for until a deadline.
func TestEveryClusterIsReleasedInTheEnd(t *testing.T) {
	deleted := metav1.NewTime(time.Unix(10000, 0))
	for _, policy := range []v1alpha1.ClusterDeletionPolicy{"", v1alpha1.ClusterDeletionDelete, v1alpha1.ClusterDeletionOrphan} {
		for _, uid := range []string{"", "u1"} {
			for _, seen := range []string{"", "u1", "u2"} {
				for _, known := range []bool{false, true} {
					s := State{Cluster: &v1alpha1.Cluster{}, Timeout: DefaultTimeout, Now: deleted.Add(DefaultTimeout)}
					s.Cluster.DeletionTimestamp, s.Cluster.Spec.DeletionPolicy, s.Cluster.Status.UID = &deleted, policy, uid
					s.Connection = report.Connection{Known: known, UID: seen, Reason: v1alpha1.UnreachableReason}
					if step := Next(s); step.Action != Release {
						t.Errorf("policy %q, uid %q, seen %q, known %t: %+v", policy, uid, seen, known, step)
					}
				}
			}
		}
	}
}

func TestFewNamesAtMostFive(t *testing.T) {
	names := slices.Collect(func(yield func(string) bool) {
		for i := range 7 {
			if !yield(fmt.Sprint("k", i)) {
				return
			}
		}
	})
	for n, want := range map[int]string{1: "Kustomization k0", 2: "Kustomizations k0, k1", 7: "Kustomizations k0, k1, k2, k3, k4 and 2 more"} {
		if got := few(names[:n]); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}
