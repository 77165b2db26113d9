package kustomization

import (
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// entry is what the Kustomization wants on a cluster at a revision, with the defaults filled in.
func (o *observed) entry(t *target, revision, digest string) *v1alpha1.AssignmentEntry {
	ks, spec, namespace := o.ks, &o.ks.Spec, t.Namespace
	return &v1alpha1.AssignmentEntry{
		Name:          v1alpha1.RelativeName(namespace, types.NamespacedName{Namespace: ks.Namespace, Name: ks.Name}),
		Revision:      revision,
		Digest:        digest,
		Interval:      spec.Interval,
		RetryInterval: spec.RetryInterval,
		Timeout:       ptr.Deref(spec.Timeout, spec.Interval),
		Prune:         ptr.Deref(spec.Prune, true),
		MaxPrune:      spec.MaxPrune,
		Drift:         driftOf(spec),
		Force:         spec.Force,
		Wait:          ptr.Deref(spec.Wait, true),
		HealthChecks:  spec.HealthChecks, HealthCheckExprs: spec.HealthCheckExprs,
		DependsOn:   targeting.DependsOnEntries(ks, namespace),
		AllowPrune:  revision != "" && ks.Annotations[v1alpha1.AllowPruneAnnotation] == revision,
		RequestedAt: v1alpha1.ReconcileRequest(ks.Annotations),

		ServiceAccountName: o.accountOn(t.Name), RequireServiceAccount: o.requiresAccount(t.Name),
	}
}

// acknowledges reports whether a person has acknowledged what an entry deletes: by the revision that it is
// labelled with, or by a later one that renders the same digest. Rendered is the digest of the last
// revision for the cluster, or empty.
func (o *observed) acknowledges(e *v1alpha1.AssignmentEntry, rendered string) bool {
	revision := o.ks.Annotations[v1alpha1.AllowPruneAnnotation]
	switch {
	case revision == "":
		return false
	case revision == e.Revision, revision == report.RevisionOf(o.ks.Status.Rendered, e.Revision, e.Digest):
		return true
	}
	return rendered != "" && rendered == e.Digest && o.source != nil && o.source.Status.Artifact != nil && revision == o.source.Status.Artifact.Revision
}
