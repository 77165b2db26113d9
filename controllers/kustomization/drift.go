package kustomization

import (
	"slices"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/drift"
	"github.com/skerry-dev/skerry/internal/report"
)

// driftOf is what becomes of drift; nil for the default.
func driftOf(spec *v1alpha1.KustomizationSpec) *v1alpha1.Drift {
	mode, rules := spec.Drift.GetMode(), slices.Concat(spec.Drift.Rules(), spec.Ignore)
	if mode == v1alpha1.DriftCorrect && len(rules) == 0 {
		return nil
	}
	return &v1alpha1.Drift{Mode: mode, Ignore: rules}
}

// checkDrift returns why the ignore rules cannot be followed; nil when they can.
func checkDrift(spec *v1alpha1.KustomizationSpec) error {
	if _, err := drift.Compile(driftOf(spec).Rules()); err != nil {
		return &report.Stalled{Reason: v1alpha1.InvalidIgnoreRuleReason, Err: err}
	}
	return nil
}
