package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// RemainderStage is the name of the last stage, with the clusters that no other takes, unless another one
// is named so.
const RemainderStage = "rest"

// Stage is a part of the clusters that gets a change together.
type Stage struct {
	// Name of the stage.
	Name string
	// Spec of the stage; default stages have one too.
	Spec v1alpha1.RolloutStage
	// Clusters in the stage, sorted by name.
	Clusters []string
	// Size is how many clusters it may take; nil when it takes all that it can.
	Size *Amount
	// MaxConcurrent is how many may be in flight: started, and neither healthy nor failed yet.
	MaxConcurrent Amount
	// MaxFailures is how many may fail before onFailure holds.
	MaxFailures Amount
	// Overall means that MaxFailures counts the failures of all stages together.
	Overall bool
}

// Stages names which cluster is in which stage, in the order of the stages. Of the clusters, only
// Name and Labels matter. It returns no stages for a rollout that has none: AllAtOnce, or a single
// cluster without stages of the user. The error is that of CheckRollout.
func Stages(spec *v1alpha1.Rollout, clusters []Member) ([]Stage, error) {
	if err := CheckRollout(spec); err != nil {
		return nil, err
	}
	return divide(spec, byName(clusters), len(clusters))
}

func byName(clusters []Member) []Member {
	sorted := slices.Clone(clusters)
	slices.SortFunc(sorted, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	return sorted
}

// divide gives each of the clusters, which are sorted, to the first stage that takes it. All is how
// many clusters there are, which may be more.
func divide(spec *v1alpha1.Rollout, clusters []Member, all int) ([]Stage, error) {
	written := spec != nil && len(spec.Stages) > 0
	switch {
	case spec != nil && spec.Strategy == v1alpha1.RolloutAllAtOnce:
		return nil, nil
	case !written && all <= 1 && (spec == nil || spec.OnFailure != v1alpha1.FailureRollback):
		return nil, nil // with nothing else to protect, a halt would only hide what the cluster reports
	}
	specs := defaultStages()
	if written {
		specs = spec.Stages
	}
	var stages []Stage
	left := clusters
	for _, s := range specs {
		var stage Stage
		var err error
		if stage, left, err = take(s, left, all); err != nil {
			return nil, err
		}
		stages = append(stages, stage)
	}
	if len(left) > 0 {
		last := v1alpha1.RolloutStage{Name: remainderName(specs), MaxFailures: specs[len(specs)-1].MaxFailures}
		rest, _, err := take(last, left, all)
		if err != nil {
			return nil, err
		}
		stages = append(stages, rest)
	}
	if !written {
		tolerateOverall(stages, all)
	}
	return stages, nil
}

// take fills a stage from the clusters that are left, of all in all, and returns those that are left
// then.
func take(spec v1alpha1.RolloutStage, from []Member, all int) (Stage, []Member, error) {
	s := Stage{Name: spec.Name, Spec: spec}
	picks := labels.Everything()
	if spec.Selector != nil {
		var err error
		if picks, err = metav1.LabelSelectorAsSelector(spec.Selector); err != nil {
			return s, nil, fmt.Errorf("cannot read the selector of stage %s: %w", spec.Name, err)
		}
	}
	if spec.Size != nil {
		size := portion(*spec.Size, all)
		s.Size = &size
	}
	var left []Member
	for _, m := range from {
		if s.Size != nil && len(s.Clusters) == s.Size.Clusters || !picks.Matches(labels.Set(m.Labels)) {
			left = append(left, m)
			continue
		}
		s.Clusters = append(s.Clusters, m.Name)
	}
	n := len(s.Clusters)
	s.MaxConcurrent = Amount{Clusters: n}
	if spec.MaxConcurrent != nil {
		s.MaxConcurrent = portion(*spec.MaxConcurrent, n)
	}
	s.MaxFailures = tolerance(spec.MaxFailures, n)
	return s, left, nil
}

// defaultStages are those of a rollout without stages of the user; the rest comes by itself.
func defaultStages() []v1alpha1.RolloutStage {
	one, tenth := intstr.FromInt32(1), intstr.FromString("10%")
	return []v1alpha1.RolloutStage{{Name: "canary", Size: &one}, {Name: "tenth", Size: &tenth}}
}

// tolerateOverall lets the stages share what may fail. The first one has no part in it: a canary that
// fails must not be what may fail.
func tolerateOverall(stages []Stage, all int) {
	limit := haltsAt(all)
	limit.Rounding = strings.TrimSpace(fmt.Sprintf("halts at %d: %s", limit.Clusters, limit.Rounding))
	limit.Clusters--
	for i := range stages[1:] {
		stages[i+1].MaxFailures, stages[i+1].Overall = limit, true
	}
}

func remainderName(stages []v1alpha1.RolloutStage) string {
	name := RemainderStage
	for n := 2; slices.ContainsFunc(stages, func(s v1alpha1.RolloutStage) bool { return s.Name == name }); n++ {
		name = fmt.Sprintf("%s-%d", RemainderStage, n)
	}
	return name
}
