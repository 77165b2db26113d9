package rollout

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// Report is where the rollout of one Kustomization stands. Its texts are clean for a terminal.
type Report struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Change is the id of what is rolled out; empty when nothing was yet.
	Change   string                `json:"change,omitempty"`
	Revision string                `json:"revision,omitempty"`
	Phase    v1alpha1.RolloutPhase `json:"phase,omitempty"`
	Stage    string                `json:"stage,omitempty"`
	// Message is what is waited for.
	Message   string     `json:"message,omitempty"`
	StartedAt *time.Time `json:"startedAt,omitempty"`
	Promoted  bool       `json:"promoted,omitempty"`
	Paused    bool       `json:"paused,omitempty"`
	Stages    []Stage    `json:"stages"`
	Clusters  Clusters   `json:"clusters"`
	Failures  []Failure  `json:"failures"`
	// Verified is the revision that went through all its stages last, Halted those that go no further.
	Verified string   `json:"verified,omitempty"`
	Halted   []string `json:"halted,omitempty"`
	// Problem is why the Kustomization moves nothing at all, where that has nothing to do with stages.
	Problem string `json:"problem,omitempty"`
	// Done means that nothing more happens by itself, and Failed that this is not for the better.
	Done   bool `json:"done"`
	Failed bool `json:"failed"`
}

// Stage counts the clusters of one stage, as the status does.
type Stage struct {
	Name     string `json:"name"`
	Clusters int32  `json:"clusters"`
	Updated  int32  `json:"updated"`
	Ready    int32  `json:"ready"`
	Failed   int32  `json:"failed"`
	Absent   int32  `json:"absent"`
	Approved bool   `json:"approved,omitempty"`
	Done     bool   `json:"done,omitempty"`
	// HealthySince is when all of it became healthy.
	HealthySince *time.Time `json:"healthySince,omitempty"`
}

// Clusters counts all clusters of the Kustomization by state, whatever revision they have.
type Clusters struct {
	Desired     int32 `json:"desired"`
	Updated     int32 `json:"updated"`
	Ready       int32 `json:"ready"`
	Progressing int32 `json:"progressing"`
	Failed      int32 `json:"failed"`
	Unreachable int32 `json:"unreachable"`
}

// Failure is what is not right on one cluster.
type Failure struct {
	Cluster string `json:"cluster"`
	Reason  string `json:"reason"`
	Message string `json:"message,omitempty"`
}

// Summarize makes the report of a Kustomization. It is pure.
func Summarize(ks *v1alpha1.Kustomization) Report {
	c := ks.Status.Clusters
	r := Report{
		Namespace: ks.Namespace, Name: ks.Name, Stages: []Stage{}, Failures: []Failure{},
		Clusters: Clusters{
			Desired: c.Desired, Updated: c.Updated, Ready: c.Ready, Progressing: c.Progressing,
			Failed: c.Failed, Unreachable: c.Unreachable,
		},
		Paused: ks.Annotations[v1alpha1.RolloutPausedAnnotation] == "true",
	}
	for _, f := range ks.Status.Failures {
		r.Failures = append(r.Failures, Failure{iostreams.Line(f.Cluster), iostreams.Line(f.Reason), iostreams.Line(f.Message)})
	}
	if s := ks.Status.Rollout; s != nil {
		r.add(s)
	}
	r.evaluate(ks)
	return r
}

func (r *Report) add(s *v1alpha1.RolloutStatus) {
	r.Change, r.Revision = iostreams.Line(s.ID), iostreams.Line(s.Revision)
	r.Phase, r.Stage, r.Message = s.Phase, iostreams.Line(s.Stage), iostreams.Line(s.Message)
	r.Promoted = s.Promoted
	if s.StartedAt != nil {
		r.StartedAt = &s.StartedAt.Time
	}
	for _, stage := range s.Stages {
		one := Stage{
			Name: iostreams.Line(stage.Name), Clusters: stage.Clusters, Updated: stage.Updated, Ready: stage.Ready,
			Failed: stage.Failed, Absent: stage.Absent, Approved: stage.Approved, Done: stage.Done,
		}
		if stage.HealthySince != nil {
			one.HealthySince = &stage.HealthySince.Time
		}
		r.Stages = append(r.Stages, one)
	}
	if s.Verified != nil {
		r.Verified = iostreams.Line(s.Verified.Revision)
	}
	for _, c := range s.Halted {
		r.Halted = append(r.Halted, iostreams.Line(c.Revision))
	}
}

// evaluate finds out whether there is anything left to wait for. What the hub reports of an older generation of the
// object decides nothing.
func (r *Report) evaluate(ks *v1alpha1.Kustomization) {
	ready := meta.FindStatusCondition(ks.Status.Conditions, v1alpha1.ReadyCondition)
	stalled := meta.IsStatusConditionTrue(ks.Status.Conditions, v1alpha1.StalledCondition)
	notReady := ready != nil && ready.Status == metav1.ConditionFalse
	switch {
	case ks.DeletionTimestamp != nil:
		r.Problem, r.Done, r.Failed = "it is being deleted", true, true
		return
	case ks.Spec.Suspend:
		r.Problem, r.Done, r.Failed = "it is suspended", !ended(r.Phase), !ended(r.Phase)
	case ks.Status.ObservedGeneration < ks.Generation:
		r.Problem = "the hub has not looked at its newest form yet"
		return
	case notReady && (r.Phase == "" || ready.Reason == v1alpha1.InvalidRolloutReason):
		r.Problem = iostreams.Line(ready.Reason + ": " + ready.Message)
		r.Done, r.Failed = stalled, stalled
	}
	switch r.Phase {
	case v1alpha1.RolloutCompleted:
		r.Done = true
	case v1alpha1.RolloutHalted, v1alpha1.RolloutRolledBack:
		r.Done, r.Failed = true, true
	case v1alpha1.RolloutRollingBack:
		r.Failed = true
	case v1alpha1.RolloutProgressing, v1alpha1.RolloutSoaking, v1alpha1.RolloutAwaitingApproval,
		v1alpha1.RolloutAwaitingWindow, v1alpha1.RolloutPaused:
	}
}
