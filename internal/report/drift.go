package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/text"
)

// drifted is the condition that objects differ from Git and are left as they are; none when there are none.
// It names the first of them, by cluster, with its fields and the managers that wrote them.
func drifted(f KustomizationFacts) []metav1.Condition {
	if !f.Object.DeletionTimestamp.IsZero() || f.Object.Spec.Drift.GetMode() != v1alpha1.DriftReport {
		return nil
	}
	targets := slices.DeleteFunc(slices.Clone(f.Targets), func(t TargetFacts) bool { return t.Reported == nil || t.Reported.Drifted == 0 })
	if len(targets) == 0 {
		return nil
	}
	objects := int32(0)
	for _, t := range targets {
		objects += t.Reported.Drifted
	}
	first := slices.MinFunc(targets, func(a, b TargetFacts) int { return cmp.Compare(a.Cluster, b.Cluster) })
	message := fmt.Sprintf("%s on %s", text.Count(int(objects), "object"), clusters(len(targets), len(f.Targets)))
	if len(first.Reported.Drifts) > 0 {
		message += fmt.Sprintf(": %s: %s", first.Cluster, driftText(first.Reported.Drifts[0]))
	}
	return []metav1.Condition{v1alpha1.Condition(v1alpha1.DriftedCondition, metav1.ConditionTrue, v1alpha1.DriftDetectedReason, Line(message))}
}

// driftText describes a drift in a few words: "ConfigMap/shop/web changed: .data.key by kubectl-edit".
func driftText(d v1alpha1.DriftRecord) string {
	out := d.Object + " " + strings.ToLower(string(d.Change))
	if len(d.Paths) > 0 {
		out += ": " + strings.Join(d.Paths, ", ")
	}
	if d.MorePaths > 0 {
		out += fmt.Sprintf(" and %d more", d.MorePaths)
	}
	if d.Manager != "" {
		out += " by " + d.Manager
	}
	return out
}
