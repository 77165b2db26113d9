package rollout

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// defaultDeadline is progressDeadline where the rollout sets none.
const defaultDeadline = 10 * time.Minute

// CheckRollout explains why a rollout cannot be followed. It holds what an API server cannot check, and,
// for a spec from a file, the rest as well. Nil can be followed.
func CheckRollout(spec *v1alpha1.Rollout) error {
	if spec == nil {
		return nil
	}
	if err := checkWords(spec); err != nil {
		return err
	}
	if spec.Strategy == v1alpha1.RolloutAllAtOnce && len(spec.Stages) > 0 {
		return fmt.Errorf("AllAtOnce has no stages")
	}
	if d := spec.ProgressDeadline; d != nil && d.Duration <= 0 {
		return fmt.Errorf("progressDeadline must be more than 0s")
	}
	seen := map[string]bool{}
	for i := range spec.Stages {
		s := &spec.Stages[i]
		if seen[s.Name] {
			return fmt.Errorf("there are two stages %q", s.Name)
		}
		seen[s.Name] = true
		if err := checkStage(s); err != nil {
			return fmt.Errorf("stage %q: %w", s.Name, err)
		}
	}
	_, err := readWindows(spec.Windows)
	return err
}

func checkWords(spec *v1alpha1.Rollout) error {
	switch spec.Strategy {
	case "", v1alpha1.RolloutStaged, v1alpha1.RolloutAllAtOnce:
	default:
		return fmt.Errorf("there is no strategy %q", spec.Strategy)
	}
	switch spec.OnFailure {
	case "", v1alpha1.FailureHalt, v1alpha1.FailureRollback, v1alpha1.FailureContinue:
		return nil
	}
	return fmt.Errorf("there is no onFailure %q", spec.OnFailure)
}

func checkStage(s *v1alpha1.RolloutStage) error {
	if len(validation.IsDNS1123Label(s.Name)) > 0 { // so it is never "*", which promotes everything
		return fmt.Errorf("a name is made of lower case letters, digits and '-'")
	}
	if s.Selector != nil {
		if _, err := metav1.LabelSelectorAsSelector(s.Selector); err != nil {
			return fmt.Errorf("cannot read selector: %w", err)
		}
	}
	if err := checkAmount(s.Size, 1); err != nil {
		return fmt.Errorf("size: %w", err)
	}
	if err := checkAmount(s.MaxConcurrent, 1); err != nil {
		return fmt.Errorf("maxConcurrent: %w", err)
	}
	if err := checkAmount(s.MaxFailures, 0); err != nil {
		return fmt.Errorf("maxFailures: %w", err)
	}
	if s.Soak != nil && s.Soak.Duration < 0 {
		return fmt.Errorf("soak is less than 0s")
	}
	switch s.Approval {
	case "", v1alpha1.ApprovalAuto, v1alpha1.ApprovalManual:
		return nil
	}
	return fmt.Errorf("there is no approval %q", s.Approval)
}
