package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/rollout"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// Simulation is a scenario and its outcome. Its texts are clean for a terminal.
type Simulation struct {
	Namespace string           `json:"namespace"`
	Name      string           `json:"name"`
	Strategy  string           `json:"strategy"`
	OnFailure string           `json:"onFailure"`
	Clusters  int              `json:"clusters"`
	Absent    []Absent         `json:"absent"`
	Failing   []string         `json:"failing"`
	Assumed   []string         `json:"assumed"`
	Stages    []SimulatedStage `json:"stages"`
	Start     time.Time        `json:"start"`
	Events    []Event          `json:"events"`
	// Phase and Message are the planner's last, and Ended when that was.
	Phase   v1alpha1.RolloutPhase `json:"phase"`
	Message string                `json:"message,omitempty"`
	Ended   time.Time             `json:"ended"`
	// Endless means that it had not ended within a year.
	Endless bool `json:"endless,omitempty"`
	// Clusters by what they have in the end: the change, or what they had before. Those that were
	// assigned the change while they were absent have it when they are back.
	WithChange    int `json:"withChange"`
	WithoutChange int `json:"withoutChange"`
	Deferred      int `json:"deferred"`
}

// Absent is a cluster that no stage waits for.
type Absent struct {
	Cluster string `json:"cluster"`
	Reason  string `json:"reason"`
}

// SimulatedStage is a stage of the spec on the clusters that there are.
type SimulatedStage struct {
	Name     string   `json:"name"`
	Clusters []string `json:"clusters"`
	// Size, MaxConcurrent and MaxFailures with their percentages worked out: "10% of 7 = 1".
	Size          string `json:"size,omitempty"`
	MaxConcurrent string `json:"maxConcurrent,omitempty"`
	MaxFailures   string `json:"maxFailures,omitempty"`
	Soak          string `json:"soak,omitempty"`
	Approval      string `json:"approval,omitempty"`
}

func simulation(ks *v1alpha1.Kustomization, selected targeting.Selection, p Scenario, outcome Outcome, chosen []string) (Simulation, error) {
	stages, err := rollout.Stages(p.Spec, p.Members)
	if err != nil {
		return Simulation{}, err
	}
	s := Simulation{
		Namespace: iostreams.Line(ks.Namespace), Name: iostreams.Line(ks.Name), Strategy: string(v1alpha1.RolloutStaged), OnFailure: string(v1alpha1.FailureHalt),
		Clusters: len(p.Members), Absent: []Absent{}, Failing: []string{}, Stages: []SimulatedStage{},
		Start: p.Start, Events: []Event{}, Phase: outcome.Last.Status.Phase, Message: iostreams.Line(outcome.Last.Status.Message),
		Ended: outcome.Ended, Endless: outcome.Endless,
	}
	if r := p.Spec; r != nil {
		s.Strategy, s.OnFailure = cmp.Or(string(r.Strategy), s.Strategy), cmp.Or(string(r.OnFailure), s.OnFailure)
	}
	for name := range p.Fails {
		s.Failing = append(s.Failing, name)
	}
	slices.Sort(s.Failing)
	for _, m := range p.Members {
		if absent(m) {
			s.Absent = append(s.Absent, Absent{m.Name, iostreams.Line(cmp.Or(m.Message, "unreachable"))})
		}
	}
	for _, stage := range stages {
		s.Stages = append(s.Stages, simulatedStage(stage))
	}
	s.Assumed = assumptions(ks, selected, p, chosen)
	for _, e := range outcome.Events {
		e.Message = iostreams.Line(e.Message)
		s.Events = append(s.Events, e)
	}
	s.WithChange, s.Deferred = ends(outcome.Events)
	s.WithoutChange = s.Clusters - s.WithChange - s.Deferred
	return s, nil
}

// ends counts the clusters that have the change in the end, and those that get it when they are back.
func ends(events []Event) (with, deferred int) {
	last := map[string]EventKind{}
	for _, e := range events {
		for _, name := range e.Clusters {
			if e.Kind == EventStarted || e.Kind == EventDeferred || e.Kind == EventReturned {
				last[name] = e.Kind
			}
		}
	}
	for _, kind := range last {
		if kind == EventStarted {
			with++
		}
		if kind == EventDeferred {
			deferred++
		}
	}
	return with, deferred
}

// assumptions are what the simulation takes for given, and a real rollout may do otherwise.
func assumptions(ks *v1alpha1.Kustomization, selected targeting.Selection, p Scenario, chosen []string) []string {
	list := []string{fmt.Sprintf("a cluster is healthy %s after it got the change", rollout.Short(p.HealthAfter))}
	if len(p.Fails) > 0 {
		line := fmt.Sprintf("one that fails is given up after %s", rollout.Short(p.FailedAfter))
		if len(chosen) > 0 {
			line += "; to fail: " + strings.Join(chosen, ", ")
		}
		list = append(list, line)
	}
	if slices.ContainsFunc(stagesOf(p.Spec), func(s v1alpha1.RolloutStage) bool { return s.Approval == v1alpha1.ApprovalManual }) {
		list = append(list, approves(p.ApproveAfter))
	}
	if ks.Annotations[v1alpha1.RolloutPausedAnnotation] == "true" {
		list = append(list, "it is resumed: now it is paused, and nothing of this happens")
	}
	if ks.Spec.Suspend {
		list = append(list, "it is not suspended: now it is, and nothing of this happens")
	}
	if len(selected.NotFound) > 0 {
		list = append(list, iostreams.Line("spec.clusters.names has no Cluster for "+strings.Join(selected.NotFound, ", ")))
	}
	return list
}

func approves(after time.Duration) string {
	if after == 0 {
		return "a person approves each stage at once"
	}
	return fmt.Sprintf("a person approves each stage %s after being asked", rollout.Short(after))
}

func stagesOf(r *v1alpha1.Rollout) []v1alpha1.RolloutStage {
	if r == nil {
		return nil
	}
	return r.Stages
}

func simulatedStage(stage rollout.Stage) SimulatedStage {
	s := SimulatedStage{Name: stage.Name, Clusters: stage.Clusters, MaxFailures: mayFail(stage), Approval: string(stage.Spec.Approval)}
	if s.Clusters == nil {
		s.Clusters = []string{}
	}
	if stage.Size != nil {
		s.Size = amount(*stage.Size)
	}
	if stage.MaxConcurrent.Clusters < len(stage.Clusters) {
		s.MaxConcurrent = amount(stage.MaxConcurrent)
	}
	if d := stage.Spec.Soak; d != nil && d.Duration > 0 {
		s.Soak = rollout.Short(d.Duration)
	}
	return s
}

func amount(a rollout.Amount) string { return cmp.Or(a.Rounding, fmt.Sprint(a.Clusters)) }

// mayFail returns what may fail before onFailure holds.
func mayFail(stage rollout.Stage) string {
	text := strings.TrimSuffix(amount(stage.MaxFailures), ":")
	if stage.Overall {
		text += ", all stages together"
	}
	return text
}
