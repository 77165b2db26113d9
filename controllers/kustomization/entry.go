package kustomization

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/fleet"
)

// entry is what the Kustomization wants on a cluster at a revision, with the defaults filled in.
func entry(ks *v1alpha1.Kustomization, revision, digest string) *v1alpha1.AssignmentEntry {
	spec := &ks.Spec
	return &v1alpha1.AssignmentEntry{
		Name:           ks.Name,
		Revision:       revision,
		Digest:         digest,
		Interval:       spec.Interval,
		RetryInterval:  orDuration(spec.RetryInterval, spec.Interval),
		Timeout:        orDuration(spec.Timeout, spec.Interval),
		Prune:          orBool(spec.Prune, true),
		Force:          spec.Force,
		Wait:           orBool(spec.Wait, true),
		DependsOn:      fleet.Dependencies(ks),
		AllowPrune:     revision != "" && ks.Annotations[v1alpha1.AllowPruneAnnotation] == revision,
		DeletionPolicy: policy(ks),
		RequestedAt:    ks.Annotations[v1alpha1.ReconcileRequestAnnotation],
	}
}

func policy(ks *v1alpha1.Kustomization) v1alpha1.DeletionPolicy {
	if ks.Spec.DeletionPolicy == "" {
		return v1alpha1.DeletionDelete
	}
	return ks.Spec.DeletionPolicy
}

func orDuration(d *metav1.Duration, other metav1.Duration) metav1.Duration {
	if d == nil {
		return other
	}
	return *d
}

func orBool(b *bool, other bool) bool {
	if b == nil {
		return other
	}
	return *b
}
