package explain

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/rollout"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// rollout adds why the cluster is not assigned what HEAD renders to, and returns whether it is.
func (e *explainer) rollout() bool {
	rendered := e.ks.Status.Rendered[0]
	if e.entry != nil && !e.entry.Remove && assignedBy(e.entry, rendered, e.ks.Status.Rollout) {
		return true
	}
	name := v1alpha1.RelativeName(e.ks.Namespace, e.why.Cluster)
	for _, failure := range e.ks.Status.Failures { // the hub's own word about the cluster: it cannot render for it, say
		if failure.Cluster == name && (e.reported == nil || failure.Reason != e.reported.Reason) && !report.AvailabilityOf(e.Cluster).Unreachable {
			e.addKustomization(failure.Reason, failure.Message)
			return false
		}
	}
	status := e.ks.Status.Rollout
	switch {
	case e.ks.IsSuspended():
		return false
	case status == nil || status.Revision != e.why.Head:
		ready := readyOf(e.ks)
		if ready.Status == metav1.ConditionFalse {
			e.addKustomization(ready.Reason, ready.Message)
		} else {
			e.addKustomization(v1alpha1.ProgressingReason, "the hub has rendered HEAD and is about to assign it")
		}
		return false
	case e.Fleet == nil:
		e.why.NeedsFleet = true
		return false
	}
	plan, err := rollout.Next(e.Now, rollout.Rollout{
		Name: e.ks.Name, Spec: e.ks.Spec.Rollout, Status: status, Change: status.RolloutChange, Clusters: e.members(),
		Paused:  e.ks.Annotations[v1alpha1.RolloutPausedAnnotation] == "true",
		Promote: e.ks.Annotations[v1alpha1.RolloutPromoteAnnotation],
		Undo:    e.ks.Annotations[v1alpha1.RolloutUndoAnnotation],
	})
	if err != nil {
		e.addKustomization(v1alpha1.InvalidRolloutReason, err.Error())
		return false
	}
	reason, message := held(plan, name)
	e.addKustomization(reason, message)
	return false
}

// held returns the planner's word about a cluster that does not have the change.
func held(plan rollout.Plan, cluster string) (reason, message string) {
	reason = v1alpha1.RolloutWaitingReason
	switch plan.Status.Phase {
	case v1alpha1.RolloutHalted, v1alpha1.RolloutRollingBack, v1alpha1.RolloutRolledBack:
		reason = v1alpha1.RolloutHaltedReason
	default:
	}
	for _, h := range plan.Hold {
		if h.Cluster == cluster {
			message = h.Reason
			if reason == v1alpha1.RolloutHaltedReason && plan.Status.Cause != "" {
				message += "; " + plan.Status.Cause
			}
			return reason, message
		}
	}
	switch {
	case slices.Contains(plan.CatchUp, cluster):
		return reason, "the cluster is new; it gets what was verified before, and then the change"
	case slices.Contains(plan.Return, cluster):
		return v1alpha1.RolloutHaltedReason, "the cluster is sent back to what it had before: " + plan.Status.Cause
	}
	return v1alpha1.ProgressingReason, "it is the cluster's turn now"
}

// assignedBy reports whether an entry holds what a revision renders to. A revision of very many bundles
// does not list them; then the entry's label and change decide.
func assignedBy(entry *v1alpha1.AssignmentEntry, rendered v1alpha1.RenderedRevision, status *v1alpha1.RolloutStatus) bool {
	if len(rendered.Digests) > 0 {
		_, is := slices.BinarySearch(rendered.Digests, v1alpha1.RenderedDigest(entry.Digest))
		return is
	}
	return entry.Revision == rendered.Revision || status != nil && status.ID != "" && entry.Change == status.ID
}

// members are the clusters of the Kustomization as the planner sees them.
func (e *explainer) members() []rollout.Member {
	selection, err := targeting.Select(e.ks, e.Fleet.Clusters, e.Access)
	if err != nil {
		return nil
	}
	clusters, assignments := map[string]*v1alpha1.Cluster{}, map[string]*v1alpha1.Assignment{}
	for i := range e.Fleet.Clusters {
		clusters[v1alpha1.RelativeName(e.ks.Namespace, client(&e.Fleet.Clusters[i]))] = &e.Fleet.Clusters[i]
	}
	for i := range e.Fleet.Assignments {
		assignments[v1alpha1.RelativeName(e.ks.Namespace, client(&e.Fleet.Assignments[i]))] = &e.Fleet.Assignments[i]
	}
	status := e.ks.Status.Rollout
	members := make([]rollout.Member, 0, len(selection.Targets))
	for _, t := range selection.Targets {
		entry, reported := EntryOf(assignments[t.Name], e.why.Kustomization)
		m := rollout.Member{Name: t.Name, Labels: t.Labels, Position: rollout.None}
		m.Observe(rollout.Observation{Now: e.Now, Cluster: clusters[t.Name], Entry: entry, Reported: reported, Status: status, Change: status.ID})
		if i := slices.IndexFunc(e.ks.Status.Failures, func(f v1alpha1.ClusterFailure) bool { return f.Cluster == t.Name }); i >= 0 && entry == nil {
			m.Message = e.ks.Status.Failures[i].Message
		}
		if entry != nil && !entry.Remove && entry.Digest != "" {
			m.Position = rollout.Other
			if assignedBy(entry, e.ks.Status.Rendered[0], status) {
				m.Position = rollout.AtTarget
			}
		}
		if m.Position != rollout.AtTarget {
			m.Waits = e.waits(assignments[t.Name])
		}
		members = append(members, m)
	}
	return members
}

// waits describes which dependency of the same source has not brought HEAD to the cluster of an Assignment.
func (e *explainer) waits(a *v1alpha1.Assignment) string {
	for _, d := range e.Dependencies {
		if targeting.SourceOf(d) != e.why.Source {
			continue
		}
		entry, _ := EntryOf(a, client(d))
		if entry == nil || entry.Remove {
			continue // it does not select the cluster
		}
		name := v1alpha1.RelativeName(e.ks.Namespace, types.NamespacedName{Namespace: d.Namespace, Name: d.Name})
		rendered := d.Status.Rendered
		switch {
		case len(rendered) == 0 || rendered[0].Revision != e.why.Head:
			why := "which the hub has not rendered at HEAD yet"
			if ready := readyOf(d); ready.Status == metav1.ConditionFalse {
				why = "which is not ready: " + report.Line(ready.Message)
			}
			return fmt.Sprintf("waits for Kustomization %s, %s", name, why)
		case !assignedBy(entry, rendered[0], d.Status.Rollout):
			return fmt.Sprintf("waits for Kustomization %s, %s", name, rollout.NotHereYet(d.Status.Rollout))
		}
	}
	return ""
}
