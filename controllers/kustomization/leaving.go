package kustomization

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// guardSelection keeps every cluster as it is when the selection looks like a mistake: those that would leave
// keep what they have, and those that would come wait, so that they do not make it look smaller.
func (d *decision) guardSelection(o *observed) {
	deselection := targeting.Deselection{}
	selected := map[string]bool{}
	for _, t := range d.targets {
		selected[t.Name] = true
		deselection.Selected = append(deselection.Selected, t.Name)
	}
	for name, have := range o.assigned {
		if have.entry == nil || have.entry.Remove || o.byName[name] == nil {
			continue
		}
		deselection.Assigned++
		if !selected[name] {
			deselection.Leaving = append(deselection.Leaving, name)
		}
	}
	refusal := deselection.Guard(o.ks)
	if refusal == "" {
		return
	}
	d.selectionRefused, d.selection = true, &report.Stalled{Reason: v1alpha1.PruneLimitExceededReason, Err: errors.New(refusal)}
	d.targets = slices.DeleteFunc(d.targets, func(t *target) bool { return o.assigned[t.Name].entry == nil })
}

// leavingUnlessRefused returns the clusters that may leave: all, or those that were leaving before.
func (d *decision) leavingUnlessRefused(o *observed, leaving []leavingCluster) []leavingCluster {
	if !d.selectionRefused {
		return leaving
	}
	return slices.DeleteFunc(leaving, func(l leavingCluster) bool { return !o.assigned[l.cluster].entry.Remove })
}

// notFound names those that no Cluster has; nil when there are none.
func notFound(names []string) error {
	if len(names) == 0 {
		return nil
	}
	text := fmt.Sprintf("there is no Cluster %s, which spec.clusters.names names", names[0])
	if more := len(names) - 1; more > 0 {
		text = fmt.Sprintf("there are no Clusters %s, which spec.clusters.names names", strings.Join(names[:min(len(names), 5)], ", "))
		if more > 4 {
			text += fmt.Sprintf(", and %d more", more-4)
		}
	}
	return &report.Waiting{Reason: v1alpha1.ClusterNotFoundReason, Err: errors.New(text)}
}

// orphanDenied leaves what a deleted Kustomization has where its ServiceAccount cannot delete it: the account does not
// exist, or has no right to, and a person has had the time to change that. Nothing deletes with other rights in its place,
// and a tenant whose account is gone must not keep its Kustomization, its namespace or a Cluster from going.
func (r *Reconciler) orphanDenied(o *observed, d *decision) {
	deletion := report.Deletion{Deleted: o.ks.DeletionTimestamp.Time, Now: r.Now(), GracePeriod: r.DenialGracePeriod}
	if o.memo.removing.IsZero() {
		o.memo.removing = deletion.Now
	}
	deletion.Since = o.memo.removing
	for i := range d.leaving {
		l := &d.leaving[i]
		if l.want == nil || l.want.DeletionPolicy == v1alpha1.DeletionOrphan {
			continue
		}
		have := o.assigned[l.cluster]
		denial := report.DenialOf(have.entry, have.status, o.byName[l.cluster], deletion)
		switch {
		case denial.GivenUp:
			l.want.DeletionPolicy = v1alpha1.DeletionOrphan
			if have.entry.DeletionPolicy != v1alpha1.DeletionOrphan {
				l.event = &report.Event{Warning: true, Reason: v1alpha1.ReleasedReason, Message: fmt.Sprintf(
					"What it has on cluster %s stays there, unmanaged, since its ServiceAccount cannot delete it: %s", l.cluster, report.Line(have.status.Message))}
			}
		case !denial.Until.IsZero() && (d.checkAt.IsZero() || denial.Until.Before(d.checkAt)):
			d.checkAt, d.denied = denial.Until, denial.Remedy()
		}
	}
}
