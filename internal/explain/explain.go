// Package explain answers why a cluster does not run what Git says: from what the hub's API server holds, and in
// the rollout planner's own words.
//
// It is pure: the same facts give the same answer. What it does not know it calls unknown, never fine.
package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// Reasons that are of no condition.
const (
	// HubNotRunning means that the hub does not work: all else is what it knew then.
	HubNotRunning = "HubNotRunning"
	// NotSelected means that the Kustomization does not select the cluster.
	NotSelected = "NotSelected"
	// NotRendered means that the hub has not rendered HEAD yet.
	NotRendered = "NotRendered"
	// NotReported means that the cluster was sent what HEAD renders to and has not reported on it.
	NotReported = "NotReported"
)

// Facts is what is known of one Kustomization and one cluster.
type Facts struct {
	Now time.Time
	// HubDown explains why the hub does not work; empty when it does, or when that is not known.
	HubDown       string
	Kustomization *v1alpha1.Kustomization
	// Source is the GitRepository of the Kustomization; nil when it is not there or cannot be read.
	Source  *v1alpha1.GitRepository
	Cluster *v1alpha1.Cluster
	// Assignment of the cluster; nil when there is none.
	Assignment *v1alpha1.Assignment
	// Dependencies are the Kustomizations of spec.dependsOn that could be read.
	Dependencies []*v1alpha1.Kustomization
	// Access decides about Clusters of other namespaces.
	Access targeting.Access
	// Fleet holds the Clusters that the Kustomization may select and their Assignments, which the rollout
	// planner decides from. It may be nil unless Why.NeedsFleet.
	Fleet *Fleet
}

// Fleet is all clusters of a Kustomization.
type Fleet struct {
	Clusters    []v1alpha1.Cluster
	Assignments []v1alpha1.Assignment
}

// Why says where a cluster stands towards HEAD of one Kustomization.
type Why struct {
	Kustomization types.NamespacedName
	Cluster       types.NamespacedName
	Source        types.NamespacedName
	// AtHead means that the cluster runs the last commit that the hub knows, that all of it is ready, and that
	// all of this is known now.
	AtHead bool
	// Head is the revision that the source is at, Wanted what the cluster is assigned and Applied what it
	// reported as applied. Each is empty when there is none.
	Head, Wanted, Applied string
	// VerifiedAt is when all objects were last known to stand as wanted.
	VerifiedAt time.Time
	// Causes say why it is not at HEAD, each before what follows from it.
	Causes []Cause
	// NeedsFleet means that the answer is to be asked for again, with Facts.Fleet.
	NeedsFleet bool
}

// Cause is one reason.
type Cause struct {
	// Kind and Name of the object of skerry.dev that has the cause.
	Kind string
	Name types.NamespacedName
	// Reason is one of api/v1alpha1 or of this package.
	Reason string
	// Message is one line that is clean for a terminal.
	Message string
}

// Explain answers for one Kustomization on one cluster.
func Explain(f Facts) Why {
	e := explainer{Facts: f, ks: f.Kustomization}
	e.entry, e.reported = EntryOf(f.Assignment, client(f.Kustomization))
	e.why = Why{Kustomization: client(f.Kustomization), Cluster: client(f.Cluster), Source: targeting.SourceOf(f.Kustomization)}
	rendered := e.ks.Status.Rendered
	if f.Source != nil && f.Source.Status.Artifact != nil {
		e.why.Head = report.Line(f.Source.Status.Artifact.Revision)
	}
	if e.entry != nil && !e.entry.Remove {
		e.why.Wanted = report.Line(report.RevisionOf(rendered, e.entry.Revision, e.entry.Digest))
	}
	if e.reported != nil {
		e.why.Applied = report.Line(report.RevisionOf(rendered, e.reported.AppliedRevision, e.reported.AppliedDigest))
		if e.reported.VerifiedAt != nil {
			e.why.VerifiedAt = e.reported.VerifiedAt.Time
		}
	}
	e.hub()
	if e.selected() {
		e.source()
		e.suspended()
		e.cluster()
		if e.render() && e.rollout() {
			e.engine()
		}
	}
	e.why.AtHead = len(e.why.Causes) == 0 && !e.why.NeedsFleet
	return e.why
}

type object interface {
	GetNamespace() string
	GetName() string
}

func client(o object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}

// EntryOf returns the entry of a Kustomization in an Assignment, which may be nil, and what is reported of it.
func EntryOf(a *v1alpha1.Assignment, ks types.NamespacedName) (*v1alpha1.AssignmentEntry, *v1alpha1.AssignmentEntryStatus) {
	if a == nil {
		return nil, nil
	}
	var entry *v1alpha1.AssignmentEntry
	for i := range a.Spec.Entries {
		if v1alpha1.ResolveName(a.Namespace, a.Spec.Entries[i].Name) == ks {
			entry = &a.Spec.Entries[i]
		}
	}
	for i := range a.Status.Entries {
		if v1alpha1.ResolveName(a.Namespace, a.Status.Entries[i].Name) == ks {
			return entry, &a.Status.Entries[i]
		}
	}
	return entry, nil
}

type explainer struct {
	Facts
	ks       *v1alpha1.Kustomization
	entry    *v1alpha1.AssignmentEntry
	reported *v1alpha1.AssignmentEntryStatus
	why      Why
}

func (e *explainer) add(kind string, of object, reason, message string) {
	e.why.Causes = append(e.why.Causes, Cause{Kind: kind, Name: client(of), Reason: reason, Message: report.Line(message)})
}

func (e *explainer) addKustomization(reason, message string) {
	e.add(v1alpha1.KustomizationKind, e.ks, reason, message)
}

func (e *explainer) hub() {
	if e.HubDown != "" {
		e.why.Causes = append(e.why.Causes, Cause{Kind: "Hub", Reason: HubNotRunning, Message: report.Line(e.HubDown)})
	}
}

// selected adds why the cluster is not selected, and returns whether it is. One that the hub has assigned
// something, and not told to remove it, is: what decides about it may lie in a namespace that cannot be read.
func (e *explainer) selected() bool {
	switch {
	case !e.ks.DeletionTimestamp.IsZero():
		e.addKustomization(v1alpha1.RemovingReason, "it is being deleted: "+readyOf(e.ks).Message)
		return false
	case !e.Cluster.DeletionTimestamp.IsZero():
		e.add(v1alpha1.ClusterKind, e.Cluster, v1alpha1.RemovingReason, "the Cluster is being deleted")
		return false
	}
	selection, err := targeting.Select(e.ks, []v1alpha1.Cluster{*e.Cluster}, e.Access)
	switch {
	case err != nil:
		e.addKustomization(v1alpha1.InvalidSelectorReason, err.Error())
		return false
	case len(selection.Targets) > 0:
		return true
	case len(selection.Denied) > 0:
		e.add(v1alpha1.ClusterKind, e.Cluster, v1alpha1.AccessDeniedReason, "spec.accessFrom of the Cluster does not admit the namespace "+e.ks.Namespace)
		return false
	case e.entry != nil && !e.entry.Remove:
		return true
	}
	message := "spec.clusters selects the hub's own cluster alone, as it is absent"
	if c := e.ks.Spec.Clusters; c != nil {
		message = "spec.clusters does not select the cluster"
		if c.Selector != nil {
			message += ", whose labels do not match " + metav1.FormatLabelSelector(c.Selector)
		}
	}
	if e.entry != nil {
		message += "; what it has there is being removed"
	}
	e.addKustomization(NotSelected, message)
	return false
}

// source adds why no later commit is known than the one that is taken for HEAD.
func (e *explainer) source() {
	if e.Source == nil {
		e.addKustomization(v1alpha1.SourceNotFoundReason, "GitRepository "+v1alpha1.RelativeName(e.ks.Namespace, e.why.Source)+" is not there, or cannot be read")
		return
	}
	ready := meta.FindStatusCondition(e.Source.Status.Conditions, v1alpha1.ReadyCondition)
	switch {
	case e.Source.Spec.Suspend:
		e.add(v1alpha1.GitRepositoryKind, e.Source, v1alpha1.SuspendedReason, "no later commit is fetched")
	case ready != nil && ready.Status == metav1.ConditionFalse:
		e.add(v1alpha1.GitRepositoryKind, e.Source, ready.Reason, "no later commit is known: "+ready.Message)
	case e.why.Head == "":
		e.add(v1alpha1.GitRepositoryKind, e.Source, v1alpha1.SourceNotReadyReason, "nothing was fetched yet")
	}
}

func (e *explainer) suspended() {
	if e.ks.IsSuspended() {
		e.addKustomization(v1alpha1.SuspendedReason, "nothing of it is rendered, applied or put back")
	}
	if e.Cluster.Spec.Suspend {
		e.add(v1alpha1.ClusterKind, e.Cluster, v1alpha1.SuspendedReason, "nothing is changed on it")
	}
}

// cluster adds why the hub cannot work on the cluster.
func (e *explainer) cluster() {
	can := report.AvailabilityOf(e.Cluster)
	if !can.Unreachable {
		return
	}
	message := can.Message
	if seen := e.Cluster.Status.LastSeen; seen != nil {
		message += "; last heard from " + seen.UTC().Format("2006-01-02 15:04 UTC")
	}
	e.add(v1alpha1.ClusterKind, e.Cluster, can.Reason, message)
}

// render adds why HEAD was not rendered, and returns whether it was.
func (e *explainer) render() bool {
	if e.why.Head == "" {
		return false
	}
	if rendered := e.ks.Status.Rendered; len(rendered) > 0 && rendered[0].Revision == e.why.Head && e.ks.Status.ObservedGeneration >= e.ks.Generation {
		return true
	}
	if e.ks.IsSuspended() {
		return false
	}
	ready := readyOf(e.ks)
	tried := e.ks.Status.LastAttemptedRevision == e.why.Head || slices.Contains(beforeRender, ready.Reason)
	switch {
	case e.ks.Status.ObservedGeneration < e.ks.Generation:
		e.addKustomization(NotRendered, "the hub has not looked at its newest form yet")
	case ready.Status == metav1.ConditionFalse && tried:
		e.addKustomization(ready.Reason, ready.Message)
	default:
		e.addKustomization(NotRendered, "the hub has not rendered HEAD yet")
	}
	return false
}

// beforeRender are the reasons by which a Kustomization fails before it tries a revision.
var beforeRender = []string{
	v1alpha1.SourceNotFoundReason, v1alpha1.SourceNotReadyReason, v1alpha1.AccessDeniedReason, v1alpha1.DependencyCycleReason,
	v1alpha1.InvalidSelectorReason, v1alpha1.InvalidCELExpressionReason, v1alpha1.NoClustersMatchedReason, v1alpha1.StorageFailedReason, v1alpha1.InternalErrorReason,
}

func readyOf(o v1alpha1.Conditioned) metav1.Condition {
	if c := meta.FindStatusCondition(o.GetConditions(), v1alpha1.ReadyCondition); c != nil {
		return *c
	}
	return metav1.Condition{Status: metav1.ConditionUnknown}
}

// engine adds what the cluster reports on what HEAD renders to.
func (e *explainer) engine() {
	s := e.reported
	switch {
	case e.entry.Suspend && !e.ks.IsSuspended() && !e.Cluster.Spec.Suspend:
		e.addKustomization(v1alpha1.SuspendedReason, "it is suspended on the cluster")
	case s == nil || !attempted(e.entry, s):
		message := "the cluster was sent it and has not reported on it yet"
		if e.entry.AssignedAt != nil {
			message = fmt.Sprintf("the cluster was sent it at %s and has not reported on it yet", e.entry.AssignedAt.UTC().Format("15:04:05 UTC"))
		}
		e.addKustomization(NotReported, message)
	case s.Ready != metav1.ConditionTrue || s.AppliedDigest != e.entry.Digest:
		e.addKustomization(cmp.Or(s.Reason, v1alpha1.ProgressingReason), cmp.Or(s.Message, "it is being applied"))
	}
}

func attempted(entry *v1alpha1.AssignmentEntry, s *v1alpha1.AssignmentEntryStatus) bool {
	_, digest := s.Attempted()
	return digest == entry.Digest
}

// Paragraph is the answer in one paragraph, with ages as of now.
func (w Why) Paragraph(now time.Time) string {
	from := w.Cluster.Namespace
	name := w.Cluster.Name
	ks := "Kustomization " + v1alpha1.RelativeName(from, w.Kustomization)
	var b strings.Builder
	switch {
	case w.AtHead:
		fmt.Fprintf(&b, "%s is at HEAD of %s: it runs %s, and all of it is ready", name, ks, w.Applied)
		if !w.VerifiedAt.IsZero() {
			fmt.Fprintf(&b, ", verified %s ago", ageOf(now, w.VerifiedAt))
		}
		b.WriteString(".")
	case len(w.Causes) == 1 && w.Causes[0].Reason == NotSelected:
		fmt.Fprintf(&b, "%s does not get %s.", name, ks)
	case w.Applied == "":
		fmt.Fprintf(&b, "%s runs nothing of %s yet; %s.", name, ks, w.head())
	case w.Applied == w.Head && w.Wanted == w.Head && w.stale():
		fmt.Fprintf(&b, "%s had applied HEAD of %s, %s, when it was last heard from.", name, ks, w.Head)
	case w.Applied == w.Head && w.Wanted == w.Head:
		fmt.Fprintf(&b, "%s has applied HEAD of %s, %s, and not all is well.", name, ks, w.Head)
	default:
		fmt.Fprintf(&b, "%s is not at HEAD of %s: it runs %s, and %s.", name, ks, w.Applied, w.head())
	}
	for i, c := range w.Causes {
		lead := " The reason: "
		if i > 0 {
			lead = " Beside that: "
		}
		b.WriteString(lead + c.sentence(from) + ".")
	}
	return b.String()
}

// stale reports whether the cluster's reports are of a time before now.
func (w Why) stale() bool {
	return slices.ContainsFunc(w.Causes, func(c Cause) bool {
		return c.Reason == HubNotRunning || c.Kind == v1alpha1.ClusterKind && c.Reason != v1alpha1.SuspendedReason
	})
}

func (w Why) head() string {
	source := "GitRepository " + v1alpha1.RelativeName(w.Kustomization.Namespace, w.Source)
	if w.Head == "" {
		return "HEAD of " + source + " is not known"
	}
	return source + " is at " + w.Head
}

func (c Cause) sentence(from string) string {
	what := c.Kind
	if c.Name.Name != "" {
		what += " " + v1alpha1.RelativeName(from, c.Name)
	}
	return strings.TrimSuffix(fmt.Sprintf("%s: %s: %s", what, c.Reason, strings.TrimRight(c.Message, ". ")), ": ")
}

func ageOf(now, then time.Time) string {
	d := max(0, now.Sub(then))
	switch {
	case d < 2*time.Minute:
		return d.Truncate(time.Second).String()
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
