package status

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/drift"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// Summarize makes the report of the facts. It is pure.
func Summarize(f Facts) Report {
	r := Report{
		Hub:     HubReport(f),
		Sources: []Source{}, Kustomizations: []Kustomization{}, Clusters: []Cluster{}, Problems: []Problem{},
	}
	for i := range f.Sources {
		r.Sources = append(r.Sources, sourceReport(&f.Sources[i]))
	}
	heads := map[key]string{}
	for i := range f.Sources {
		if a := f.Sources[i].Status.Artifact; a != nil {
			heads[key{f.Sources[i].Namespace, f.Sources[i].Name}] = iostreams.Line(a.Revision)
		}
	}
	for i := range f.Kustomizations {
		one := kustomizationReport(&f.Kustomizations[i])
		source := targeting.SourceOf(&f.Kustomizations[i])
		one.Head = heads[key{source.Namespace, source.Name}]
		r.Kustomizations = append(r.Kustomizations, one)
	}
	assigned := map[key]*v1alpha1.Assignment{}
	for i := range f.Assignments {
		a := &f.Assignments[i]
		assigned[key{a.Namespace, a.Name}] = a
	}
	rendered := map[key][]v1alpha1.RenderedRevision{}
	for i := range f.Kustomizations {
		rendered[key{f.Kustomizations[i].Namespace, f.Kustomizations[i].Name}] = f.Kustomizations[i].Status.Rendered
	}
	for i := range f.Clusters {
		c := &f.Clusters[i]
		one := clusterReport(c, r.Hub.State != NotReady)
		if a := assigned[key{c.Namespace, c.Name}]; a != nil {
			one.Runs = runs(a, one.Reachable, func(kustomization string) []v1alpha1.RenderedRevision {
				name := v1alpha1.ResolveName(a.Namespace, kustomization)
				return rendered[key{name.Namespace, name.Name}]
			})
		}
		one.Agent = agentReport(c, assigned[key{c.Namespace, c.Name}], r.Hub.State != NotReady, one.Runs)
		r.Clusters = append(r.Clusters, one)
	}
	slices.SortFunc(r.Sources, func(a, b Source) int { return key{a.Namespace, a.Name}.compare(key{b.Namespace, b.Name}) })
	slices.SortFunc(r.Kustomizations, func(a, b Kustomization) int {
		return key{a.Namespace, a.Name}.compare(key{b.Namespace, b.Name})
	})
	slices.SortFunc(r.Clusters, func(a, b Cluster) int { return key{a.Namespace, a.Name}.compare(key{b.Namespace, b.Name}) })
	r.Problems = problems(r, f.Now)
	r.Ready = len(r.Problems) == 0
	r.Drift = drift.Collect(f.Assignments, nil, f.Now, DriftTime).Drifts
	if more := len(r.Drift) - MaxDrift; more > 0 {
		r.Drift, r.MoreDrift = r.Drift[:MaxDrift], more
	}
	return r
}

type key struct{ namespace, name string }

func (k key) compare(other key) int {
	return cmp.Or(strings.Compare(k.namespace, other.namespace), strings.Compare(k.name, other.name))
}

// HubReport reports whether the hub works. It takes a lease that was not renewed for twice its time as a hub that is gone: once is
// what a change of leader may take.
func HubReport(f Facts) Hub {
	h := Hub{Server: iostreams.Line(f.Server), State: Unknown, Reason: "it holds no lease"}
	if f.Lease == nil || f.Lease.Spec.RenewTime == nil {
		return h
	}
	heard := f.Lease.Spec.RenewTime.Time
	lasts := 15 * time.Second
	if s := f.Lease.Spec.LeaseDurationSeconds; s != nil && *s > 0 {
		lasts = time.Duration(*s) * time.Second
	}
	h.Heard = &heard
	h.State, h.Reason = Ready, ""
	switch holder := f.Lease.Spec.HolderIdentity; {
	case holder == nil || *holder == "":
		h.State, h.Reason = NotReady, "it was stopped "+Age(&heard, f.Now)+" ago"
	case f.Now.Sub(heard) > 2*lasts:
		h.State, h.Reason = NotReady, "it has not renewed its lease for "+Age(&heard, f.Now)
	}
	return h
}

func sourceReport(r *v1alpha1.GitRepository) Source {
	s := Source{Namespace: r.Namespace, Name: r.Name, URL: iostreams.Line(r.Spec.URL)}
	s.State, s.Reason, s.Message = stateOf(r, r.Spec.Suspend, r.Status.ObservedGeneration)
	if a := r.Status.Artifact; a != nil {
		s.Revision, s.Fetched = iostreams.Line(a.Revision), &a.LastUpdateTime.Time
	}
	return s
}

func kustomizationReport(k *v1alpha1.Kustomization) Kustomization {
	c := k.Status.Clusters
	out := Kustomization{
		Namespace: k.Namespace, Name: k.Name,
		Source: v1alpha1.RelativeName(k.Namespace, targeting.SourceOf(k)), Path: iostreams.Line(k.Spec.Path),
		Revision:  iostreams.Line(k.Status.LastAppliedRevision),
		Attempted: iostreams.Line(k.Status.LastAttemptedRevision),
		Clusters: Counts{
			Desired: c.Desired, Ready: c.Ready, Progressing: c.Progressing,
			Failed: c.Failed, Unreachable: c.Unreachable,
		},
	}
	out.State, out.Reason, out.Message = stateOf(k, k.Spec.Suspend, k.Status.ObservedGeneration)
	out.Rollout = rolloutReport(k.Status.Rollout)
	return out
}

func rolloutReport(r *v1alpha1.RolloutStatus) *Rollout {
	if r == nil || r.Phase == v1alpha1.RolloutCompleted {
		return nil
	}
	out := &Rollout{
		Revision: iostreams.Line(r.Revision), Phase: string(r.Phase), Stage: iostreams.Line(r.Stage), Message: iostreams.Line(r.Message),
		Failed: r.Phase == v1alpha1.RolloutHalted || r.Phase == v1alpha1.RolloutRollingBack || r.Phase == v1alpha1.RolloutRolledBack,
	}
	for _, s := range r.Stages {
		out.Clusters, out.Updated, out.Ready = out.Clusters+s.Clusters, out.Updated+s.Updated, out.Ready+s.Ready
	}
	return out
}

// clusterReport takes no cluster for reachable that no hub process has a session with.
func clusterReport(c *v1alpha1.Cluster, hubAtWork bool) Cluster {
	out := Cluster{
		Namespace: c.Namespace, Name: c.Name, Reachable: Unknown,
		Version: iostreams.Line(c.Status.Version), Runs: []Run{},
	}
	out.State, out.Reason, out.Message = stateOf(c, c.Spec.Suspend, c.Status.ObservedGeneration)
	if c.Status.LastSeen != nil {
		out.LastSeen = &c.Status.LastSeen.Time
	}
	switch reachable := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ReachableCondition); {
	case reachable == nil, !hubAtWork:
	case reachable.Status == metav1.ConditionTrue:
		out.Reachable = Ready
	case reachable.Status == metav1.ConditionFalse:
		out.Reachable = NotReady
	}
	return out
}

// stateOf reads the conditions as kstatus does.
func stateOf(o v1alpha1.Conditioned, suspended bool, observed int64) (State, string, string) {
	ready := meta.FindStatusCondition(o.GetConditions(), v1alpha1.ReadyCondition)
	working := meta.IsStatusConditionTrue(o.GetConditions(), v1alpha1.ReconcilingCondition)
	switch {
	case o.GetDeletionTimestamp() != nil:
		return Deleting, reasonOf(ready), messageOf(ready)
	case suspended:
		return Suspended, v1alpha1.SuspendedReason, ""
	case ready == nil:
		return Unknown, "", "the hub has not looked at it yet"
	case observed < o.GetGeneration():
		return Working, v1alpha1.ProgressingReason, "the hub has not looked at its newest form yet"
	case ready.Status == metav1.ConditionTrue:
		return Ready, reasonOf(ready), messageOf(ready)
	case ready.Status == metav1.ConditionFalse: // even while it is being tried again
		return NotReady, reasonOf(ready), messageOf(ready)
	case working:
		return Working, reasonOf(ready), messageOf(ready)
	case ready.Reason == v1alpha1.SuspendedReason:
		return Suspended, reasonOf(ready), messageOf(ready)
	}
	return Unknown, reasonOf(ready), messageOf(ready)
}

func reasonOf(c *metav1.Condition) string {
	if c == nil {
		return ""
	}
	return iostreams.Line(c.Reason)
}

func messageOf(c *metav1.Condition) string {
	if c == nil {
		return ""
	}
	return iostreams.Line(c.Message)
}

// runs joins what the hub wants on the cluster with what was reported from there. What was reported
// of a cluster that is not heard from any more is known to have been, and no longer to be. Rendered
// returns what the revisions of a Kustomization were rendered to, which names the revision of a digest.
func runs(a *v1alpha1.Assignment, reachable State, rendered func(kustomization string) []v1alpha1.RenderedRevision) []Run {
	reported := map[string]*v1alpha1.AssignmentEntryStatus{}
	for i := range a.Status.Entries {
		reported[a.Status.Entries[i].Name] = &a.Status.Entries[i]
	}
	out := []Run{}
	for i := range a.Spec.Entries {
		e := &a.Spec.Entries[i]
		out = append(out, run(e, reported[e.Name], reachable, rendered(e.Name)))
	}
	slices.SortFunc(out, func(a, b Run) int { return strings.Compare(a.Kustomization, b.Kustomization) })
	return out
}

func run(e *v1alpha1.AssignmentEntry, s *v1alpha1.AssignmentEntryStatus, reachable State, rendered []v1alpha1.RenderedRevision) Run {
	r := Run{Kustomization: e.Name, Wanted: iostreams.Line(report.RevisionOf(rendered, e.Revision, e.Digest)), State: Unknown}
	if e.AssignedAt != nil {
		r.Assigned = &e.AssignedAt.Time
	}
	if s != nil {
		r.Reason, r.Message = iostreams.Line(s.Reason), iostreams.Line(s.Message)
		r.Revision = iostreams.Line(report.RevisionOf(rendered, s.AppliedRevision, s.AppliedDigest))
		r.Applied, r.Total, r.Drift = s.Objects.Applied, s.Objects.Total, s.Drift
		if s.VerifiedAt != nil {
			r.Verified = &s.VerifiedAt.Time
		}
	}
	r.behind = !e.Remove && !e.Suspend && (s == nil || s.AppliedDigest != e.Digest)
	switch {
	case e.Remove:
		r.State, r.Wanted = Deleting, ""
	case e.Suspend:
		r.State = Suspended
	case reachable != Ready:
		r.State = Unknown
	case s == nil:
		r.State, r.Message = Working, "not taken up yet"
	case !attempted(s, e):
		// What is reported is about something else than what is wanted by now.
		r.State, r.Reason, r.Message = Working, v1alpha1.ProgressingReason, ""
	case s.Ready == metav1.ConditionFalse:
		r.State = NotReady
	case s.Ready == metav1.ConditionTrue && s.AppliedDigest == e.Digest:
		r.State = Ready
	default:
		r.State = Working
	}
	return r
}

// attempted reports whether what is reported is about what is wanted.
func attempted(s *v1alpha1.AssignmentEntryStatus, e *v1alpha1.AssignmentEntry) bool {
	_, digest := s.Attempted()
	return digest == e.Digest
}
