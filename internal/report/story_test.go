package report

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/testkit/golden"
)

// A story is a txtar file: "object.yaml", then one file of facts for each step, then "story", which
// is golden. Each step starts from the status that the one before reported; a minute lies between.

type problemYAML struct {
	Kind    string // transient, waiting, stalled, hub
	Reason  string
	Message string
	After   metav1.Duration
}

func (p *problemYAML) err() error {
	if p == nil {
		return nil
	}
	err := errors.New(p.Message)
	switch p.Kind {
	case "transient":
		return fmt.Errorf("wrapped: %w", &Transient{Reason: p.Reason, Err: err})
	case "waiting":
		return fmt.Errorf("wrapped: %w", &Waiting{Reason: p.Reason, After: p.After.Duration, Err: err})
	case "stalled":
		return fmt.Errorf("wrapped: %w", &Stalled{Reason: p.Reason, Err: err})
	}
	return err
}

// targetYAML is a cluster in one line: {name: a, cluster: "Ready Reachable Reason", wanted: r1,
// at: r1, applied: r1, says: "True Succeeded", objects: [5, 5, 4]}.
type targetYAML struct {
	Name      string
	Suspended bool
	Cluster   string // "True True" when empty
	Message   string // of the Cluster
	Err       *problemYAML
	Wanted    string
	At        string
	Applied   string
	Held      string
	Renders   string // the first revision that rendered what the one of the facts does; that one itself when empty
	Says      string
	Objects   []int32
	Handled   string
}

func (y targetYAML) facts(t *testing.T) TargetFacts {
	t.Helper()
	if y.Cluster == "" {
		y.Cluster = "True True Succeeded"
	}
	words := strings.Fields(y.Cluster)
	if len(words) != 3 {
		t.Fatalf("cluster: %q", y.Cluster)
	}
	f := TargetFacts{Cluster: y.Name, Suspended: y.Suspended, Err: y.Err.err(), Held: y.Held, Conditions: []metav1.Condition{
		{Type: "Ready", Status: metav1.ConditionStatus(words[0]), Reason: words[2], Message: y.Message},
		{Type: "Reachable", Status: metav1.ConditionStatus(words[1]), Reason: words[2], Message: y.Message},
	}}
	if y.Wanted != "" {
		f.Wanted = &v1alpha1.AssignmentEntry{Name: "apps", Revision: y.Wanted, Digest: "sha256:digest of " + y.Wanted}
	}
	if y.Says == "" {
		return f
	}
	status, rest, _ := strings.Cut(y.Says, " ")
	reason, message, _ := strings.Cut(rest, " ")
	f.Reported = &v1alpha1.AssignmentEntryStatus{
		Name: "apps", Ready: metav1.ConditionStatus(status), Reason: reason, Message: message,
		Revision: y.At, Digest: "sha256:digest of " + y.At, AppliedRevision: y.Applied, AppliedDigest: "sha256:digest of " + y.Applied, HandledAt: y.Handled,
	}
	if len(y.Objects) == 3 {
		f.Reported.Objects = v1alpha1.ObjectCounts{Total: y.Objects[0], Applied: y.Objects[1], Ready: y.Objects[2]}
	}
	return f
}

func decode(t *testing.T, f txtar.File, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict(f.Data, into); err != nil {
		t.Fatalf("%s: %v", f.Name, err)
	}
}

// tell runs the stories of a folder; next takes one step and returns its text.
func tell(t *testing.T, folder string, start func(t *testing.T, object txtar.File) func(t *testing.T, step txtar.File, now time.Time) string) {
	golden.Run(t, filepath.Join("testdata", folder, "*.txtar"), func(t *testing.T, archive *txtar.Archive) map[string]string {
		step := start(t, archive.Files[0])
		var story strings.Builder
		for i, f := range archive.Files[1:] {
			if f.Name != "story" {
				fmt.Fprintf(&story, "== %s\n%s", f.Name, step(t, f, time.Date(2026, 1, 1, 0, i, 0, 999, time.UTC)))
			}
		}
		return map[string]string{"story": story.String()}
	})
}

func writeConditions(b *strings.Builder, list []metav1.Condition) {
	for _, c := range list {
		fmt.Fprintf(b, "%s=%s %s: %s (since %d, generation %d)\n", c.Type, c.Status, c.Reason, c.Message, c.LastTransitionTime.Minute()+1, c.ObservedGeneration)
	}
}

func writeEvents(b *strings.Builder, events []Event, requeue time.Duration) {
	for _, e := range events {
		fmt.Fprintf(b, "event %s warning=%v: %s\n", e.Reason, e.Warning, e.Message)
	}
	if requeue != 0 {
		fmt.Fprintf(b, "again in %s\n", requeue)
	}
}

func TestKustomizationStories(t *testing.T) {
	tell(t, "kustomization", func(t *testing.T, object txtar.File) func(*testing.T, txtar.File, time.Time) string {
		ks := &v1alpha1.Kustomization{}
		decode(t, object, ks)
		return func(t *testing.T, step txtar.File, now time.Time) string {
			var y struct {
				Object    *v1alpha1.Kustomization // replaces metadata and spec
				Revision  string
				Err       *problemYAML
				NoTargets string
				Rollout   *v1alpha1.RolloutStatus
				Targets   []targetYAML
				Leaving   []targetYAML
			}
			decode(t, step, &y)
			if y.Object != nil {
				ks.ObjectMeta, ks.Spec = y.Object.ObjectMeta, y.Object.Spec
			}
			f := KustomizationFacts{Object: ks, Now: now, Revision: y.Revision, Err: y.Err.err(), NoTargets: y.NoTargets, Rollout: y.Rollout}
			for _, target := range y.Targets {
				one := target.facts(t)
				of := target.Renders
				if of == "" {
					of = y.Revision
				}
				if of != "" && target.Err == nil {
					one.Digest = "sha256:digest of " + of
				}
				f.Targets = append(f.Targets, one)
			}
			for _, target := range y.Leaving {
				f.Leaving = append(f.Leaving, target.facts(t))
			}
			r := Kustomization(f)
			checkCounts(t, r.Status)
			if r.Status.ObservedGeneration != ks.Generation {
				t.Errorf("%s: observedGeneration %d of generation %d", step.Name, r.Status.ObservedGeneration, ks.Generation)
			}
			again := f
			again.Object = ks.DeepCopy()
			again.Object.Status = r.Status
			again.Now = now.Add(time.Hour)
			if repeat := Kustomization(again); cmp.Diff(r.Status, repeat.Status) != "" || len(repeat.Events) > 0 {
				t.Errorf("%s: a repeat is news (-first +repeat):\n%s%v", step.Name, cmp.Diff(r.Status, repeat.Status), repeat.Events)
			}
			ks.Status = r.Status
			return kustomizationText(r)
		}
	})
}

func kustomizationText(r Report[v1alpha1.KustomizationStatus]) string {
	var b strings.Builder
	s := r.Status
	writeConditions(&b, s.Conditions)
	c := s.Clusters
	fmt.Fprintf(&b, "clusters: %d desired, %d updated; %d ready, %d progressing, %d failed, %d unreachable; objects: %d, %d applied, %d ready\n",
		c.Desired, c.Updated, c.Ready, c.Progressing, c.Failed, c.Unreachable, s.Objects.Total, s.Objects.Applied, s.Objects.Ready)
	for _, f := range s.Failures {
		fmt.Fprintf(&b, "not right: %s %s: %s\n", f.Cluster, f.Reason, f.Message)
	}
	fmt.Fprintf(&b, "attempted %s, applied %s, history", s.LastAttemptedRevision, s.LastAppliedRevision)
	for _, h := range s.History {
		fmt.Fprintf(&b, " %s@%d", h.Revision, h.ReadyAt.Minute()+1)
	}
	b.WriteString("\n")
	for i, r := range s.Rendered {
		if i > 0 {
			fmt.Fprintf(&b, "still assigned: what %s rendered\n", r.Revision)
		}
	}
	if s.LastHandledReconcileAt != "" {
		fmt.Fprintf(&b, "handled %s\n", s.LastHandledReconcileAt)
	}
	writeEvents(&b, r.Events, r.Requeue)
	return b.String()
}

func checkCounts(t *testing.T, s v1alpha1.KustomizationStatus) {
	t.Helper()
	c := s.Clusters
	if c.Ready+c.Progressing+c.Failed+c.Unreachable != c.Desired || c.Updated > c.Desired {
		t.Errorf("counts do not add up: %+v", c)
	}
	if condition(s.Conditions, "Ready").Status == metav1.ConditionTrue && (c.Ready != c.Desired || c.Updated != c.Desired) {
		t.Errorf("Ready with counts %+v", c)
	}
}

func TestSourceStories(t *testing.T) {
	tell(t, "gitrepository", func(t *testing.T, object txtar.File) func(*testing.T, txtar.File, time.Time) string {
		repo := &v1alpha1.GitRepository{}
		decode(t, object, repo)
		return func(t *testing.T, step txtar.File, now time.Time) string {
			var y struct {
				Object     *v1alpha1.GitRepository
				Revision   string
				Rewritten  bool
				Submodules []string
				Verified   string
				Unverified bool
				Err        *problemYAML
				Failures   int
				Jitter     float64
			}
			decode(t, step, &y)
			if y.Object != nil {
				repo.ObjectMeta, repo.Spec = y.Object.ObjectMeta, y.Object.Spec
			}
			f := SourceFacts{Object: repo, Now: now, Rewritten: y.Rewritten, Submodules: y.Submodules, Verified: y.Verified, Unverified: y.Unverified, Err: y.Err.err(), Failures: y.Failures, Jitter: y.Jitter}
			if y.Revision != "" {
				f.Artifact = &v1alpha1.Artifact{Revision: y.Revision, Digest: "sha256:digest of " + y.Revision}
			}
			r := Source(f)
			if r.Status.ObservedGeneration != repo.Generation {
				t.Errorf("%s: observedGeneration %d of generation %d", step.Name, r.Status.ObservedGeneration, repo.Generation)
			}
			again := f
			again.Object = repo.DeepCopy()
			again.Object.Status = r.Status
			again.Now = now.Add(time.Hour)
			if repeat := Source(again); cmp.Diff(r.Status, repeat.Status) != "" || len(repeat.Events) > 0 {
				t.Errorf("%s: a repeat is news (-first +repeat):\n%s%v", step.Name, cmp.Diff(r.Status, repeat.Status), repeat.Events)
			}
			repo.Status = r.Status
			var b strings.Builder
			writeConditions(&b, r.Status.Conditions)
			if r.Status.Artifact != nil {
				fmt.Fprintf(&b, "artifact %s\n", r.Status.Artifact.Revision)
			}
			if r.Status.LastHandledReconcileAt != "" {
				fmt.Fprintf(&b, "handled %s\n", r.Status.LastHandledReconcileAt)
			}
			writeEvents(&b, r.Events, r.Requeue)
			return b.String()
		}
	})
}

func TestClusterStories(t *testing.T) {
	tell(t, "cluster", func(t *testing.T, object txtar.File) func(*testing.T, txtar.File, time.Time) string {
		c := &v1alpha1.Cluster{}
		decode(t, object, c)
		return func(t *testing.T, step txtar.File, now time.Time) string {
			var y struct {
				Object     *v1alpha1.Cluster
				Connection Connection
				SeenAgo    metav1.Duration
				Err        *problemYAML
				Handled    string
			}
			decode(t, step, &y)
			if y.Object != nil {
				c.ObjectMeta, c.Spec = y.Object.ObjectMeta, y.Object.Spec
			}
			if y.Connection.Known && y.SeenAgo.Duration >= 0 {
				y.Connection.LastSeen = now.Add(-y.SeenAgo.Duration)
			}
			f := ClusterFacts{Object: c, Now: now, Connection: y.Connection, Err: y.Err.err(), Handled: y.Handled}
			r := Cluster(f)
			again := f
			again.Object = c.DeepCopy()
			again.Object.Status = r.Status
			again.Now = now.Add(time.Hour)
			again.Connection.LastSeen = again.Connection.LastSeen.Add(time.Second)
			if repeat := Cluster(again); cmp.Diff(r.Status, repeat.Status) != "" || len(repeat.Events) > 0 {
				t.Errorf("%s: a repeat is news (-first +repeat):\n%s%v", step.Name, cmp.Diff(r.Status, repeat.Status), repeat.Events)
			}
			c.Status = r.Status
			var b strings.Builder
			writeConditions(&b, r.Status.Conditions)
			fmt.Fprintf(&b, "uid %q, version %q", r.Status.UID, r.Status.Version)
			if r.Status.LastSeen != nil {
				fmt.Fprintf(&b, ", seen at %s", r.Status.LastSeen.UTC().Format("04:05"))
			}
			b.WriteString("\n")
			if r.Status.LastHandledReconcileAt != "" {
				fmt.Fprintf(&b, "handled %s\n", r.Status.LastHandledReconcileAt)
			}
			writeEvents(&b, r.Events, r.Requeue)
			return b.String()
		}
	})
}
