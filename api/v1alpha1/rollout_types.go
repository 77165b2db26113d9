package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// RolloutStrategy says whether a change reaches the clusters in stages.
// +kubebuilder:validation:Enum=Staged;AllAtOnce
type RolloutStrategy string

const (
	// RolloutStaged goes stage by stage and stops by itself when a change does harm.
	RolloutStaged RolloutStrategy = "Staged"
	// RolloutAllAtOnce sends every change to every cluster at once, as Flux does.
	RolloutAllAtOnce RolloutStrategy = "AllAtOnce"
)

// FailurePolicy says what happens when more clusters fail than a stage tolerates.
// +kubebuilder:validation:Enum=Halt;Rollback;Continue
type FailurePolicy string

const (
	// FailureHalt starts no further cluster and leaves those that have the change as they are.
	FailureHalt FailurePolicy = "Halt"
	// FailureRollback halts and sends every cluster that has the change back to what it had verified
	// before.
	FailureRollback FailurePolicy = "Rollback"
	// FailureContinue goes on whatever happens.
	FailureContinue FailurePolicy = "Continue"
)

// Approval says who lets a stage begin.
// +kubebuilder:validation:Enum=Auto;Manual
type Approval string

const (
	// ApprovalAuto lets a stage begin when the one before is done.
	ApprovalAuto Approval = "Auto"
	// ApprovalManual lets a stage wait for a person: `skerry rollout promote`.
	ApprovalManual Approval = "Manual"
)

// Rollout says how a change reaches the clusters. A change is whatever gives a cluster other objects:
// a commit, or an edit of this Kustomization or of what it substitutes from.
//
// Without it, or without stages, a change goes to 1 cluster, then to 10 % of them, then to the rest,
// and halts when the first one fails, or in all 2 clusters or 5 %, whichever is less. A single cluster
// just gets it, unless onFailure is Rollback.
// +kubebuilder:validation:XValidation:rule="!has(self.strategy) || self.strategy != 'AllAtOnce' || !has(self.stages) || size(self.stages) == 0",message="AllAtOnce has no stages"
type Rollout struct {
	// Strategy is Staged or AllAtOnce.
	// +kubebuilder:default=Staged
	// +optional
	Strategy RolloutStrategy `json:"strategy,omitempty"`

	// Stages in their order. A cluster belongs to the first stage that takes it; those that none
	// takes come last, together.
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=name
	// +optional
	Stages []RolloutStage `json:"stages,omitempty"`

	// ProgressDeadline for a cluster to become healthy after the change was sent to it, from 1s to
	// 24h; a cluster that does not is failed.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="progressDeadline must lie between 1s and 24h"
	// +kubebuilder:default="10m"
	// +optional
	ProgressDeadline *metav1.Duration `json:"progressDeadline,omitempty"`

	// OnFailure says what happens when more clusters fail than a stage tolerates.
	// +kubebuilder:default=Halt
	// +optional
	OnFailure FailurePolicy `json:"onFailure,omitempty"`

	// Windows in which clusters may be started; absent, at any time. What has begun goes on.
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Windows []RolloutWindow `json:"windows,omitempty"`
}

// RolloutStage is a part of the clusters that gets a change together.
type RolloutStage struct {
	// Name of the stage.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
	// +required
	Name string `json:"name"`

	// Selector picks clusters of the Kustomization by their labels; absent, all that no earlier stage
	// took.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`

	// Size bounds the stage to the first so many, by name, of the clusters it could take: a number,
	// or a percentage of all clusters of the Kustomization. Absent, all.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern="^([1-9][0-9]?|100)%$"
	// +kubebuilder:validation:XValidation:rule="type(self) != int || self > 0",message="must be a number from 1 or a percentage from 1% to 100%"
	// +optional
	Size *intstr.IntOrString `json:"size,omitempty"`

	// MaxConcurrent bounds the clusters of the stage that have been started and are neither healthy
	// nor failed yet: a number or a percentage of the stage. Absent, all.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern="^([1-9][0-9]?|100)%$"
	// +kubebuilder:validation:XValidation:rule="type(self) != int || self > 0",message="must be a number from 1 or a percentage from 1% to 100%"
	// +optional
	MaxConcurrent *intstr.IntOrString `json:"maxConcurrent,omitempty"`

	// MaxFailures is how many clusters of the stage may fail before onFailure holds: a number or a
	// percentage of the stage; 0 when absent.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern="^([0-9][0-9]?|100)%$"
	// +kubebuilder:validation:XValidation:rule="type(self) != int || self >= 0",message="must be a number or a percentage from 0% to 100%"
	// +optional
	MaxFailures *intstr.IntOrString `json:"maxFailures,omitempty"`

	// Soak is how long every cluster of the stage has to stay healthy before the next stage begins,
	// up to 720h.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('720h')",message="soak must lie between 0s and 720h"
	// +optional
	Soak *metav1.Duration `json:"soak,omitempty"`

	// Approval says who lets the stage begin: Auto or Manual.
	// +kubebuilder:default=Auto
	// +optional
	Approval Approval `json:"approval,omitempty"`
}

// RolloutWindow is a time in which clusters may be started.
type RolloutWindow struct {
	// Schedule says when the window opens: five fields of cron (minute, hour, day of month, month,
	// day of week).
	// +kubebuilder:validation:MinLength=9
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern="^\\S+ \\S+ \\S+ \\S+ \\S+$"
	// +required
	Schedule string `json:"schedule"`

	// Duration says how long it stays open, from 1m to 168h.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1m') && duration(self) <= duration('168h')",message="duration must lie between 1m and 168h"
	// +required
	Duration metav1.Duration `json:"duration"`

	// TimeZone of the schedule, by its IANA name; UTC when absent.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	TimeZone string `json:"timeZone,omitempty"`
}

// RolloutPhase says where a rollout stands.
type RolloutPhase string

const (
	// RolloutProgressing means that clusters are being started or become healthy.
	RolloutProgressing RolloutPhase = "Progressing"
	// RolloutSoaking means that a stage is healthy and has to stay so for a while.
	RolloutSoaking RolloutPhase = "Soaking"
	// RolloutAwaitingApproval means that a person has to let the next stage begin.
	RolloutAwaitingApproval RolloutPhase = "AwaitingApproval"
	// RolloutAwaitingWindow means that no window is open.
	RolloutAwaitingWindow RolloutPhase = "AwaitingWindow"
	// RolloutPaused means that a person has paused it.
	RolloutPaused RolloutPhase = "Paused"
	// RolloutHalted means that too many clusters failed; the change goes no further.
	RolloutHalted RolloutPhase = "Halted"
	// RolloutRollingBack means that clusters are being sent back.
	RolloutRollingBack RolloutPhase = "RollingBack"
	// RolloutRolledBack means that every cluster is back at what it had before.
	RolloutRolledBack RolloutPhase = "RolledBack"
	// RolloutCompleted means that the change is verified: every stage is done.
	RolloutCompleted RolloutPhase = "Completed"
)

// RolloutChange is what is, or was, rolled out.
type RolloutChange struct {
	// ID identifies a change: a digest of the commit and of everything else that goes into
	// the render of all clusters.
	ID string `json:"id"`
	// Revision of the source.
	Revision string `json:"revision"`
}

// RolloutStatus says where the rollout of the last change stands.
type RolloutStatus struct {
	RolloutChange `json:",inline"`

	// Phase says what goes on.
	Phase RolloutPhase `json:"phase"`
	// Stage under way; empty when there is none.
	// +optional
	Stage string `json:"stage,omitempty"`
	// Message says what is waited for.
	// +optional
	Message string `json:"message,omitempty"`
	// Cause says why the change was halted or undone; empty when it was not.
	// +optional
	Cause string `json:"cause,omitempty"`
	// StartedAt is when the change was first seen.
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`

	// Stages in their order.
	// +optional
	Stages []RolloutStageStatus `json:"stages,omitempty"`

	// Verified is the last change that went through all its stages.
	// +optional
	Verified *RolloutChange `json:"verified,omitempty"`

	// VerifiedAt is when a change was verified last. What a cluster was assigned no later is verified there, though an
	// earlier change brought it: a change that renders the same for a cluster does not touch its entry.
	// +optional
	VerifiedAt *metav1.Time `json:"verifiedAt,omitempty"`

	// Halted are the last changes that failed or were undone, the newest first. No cluster is sent
	// one of them unless a person promotes it.
	// +kubebuilder:validation:MaxItems=5
	// +optional
	Halted []RolloutChange `json:"halted,omitempty"`

	// Promoted means that a person let the change go to every cluster, whatever fails.
	// +optional
	Promoted bool `json:"promoted,omitempty"`
}

// RolloutStageStatus counts the clusters of one stage.
type RolloutStageStatus struct {
	// Name of the stage in spec.rollout, or that of a default stage.
	Name string `json:"name"`
	// Clusters of the stage.
	Clusters int32 `json:"clusters"`
	// Updated are those that the change was sent to.
	Updated int32 `json:"updated"`
	// Ready are those of the updated ones that are healthy.
	Ready int32 `json:"ready"`
	// Failed are those that it did not do good to.
	Failed int32 `json:"failed"`
	// Absent are those that are unreachable or suspended; no stage waits for them.
	Absent int32 `json:"absent"`
	// HealthySince is when the stage became healthy, for the soak. Absent in a stage that is done
	// because there was no cluster to wait for.
	// +optional
	HealthySince *metav1.Time `json:"healthySince,omitempty"`
	// Approved means that a person let the stage begin.
	// +optional
	Approved bool `json:"approved,omitempty"`
	// Done means that the stage let the next one begin.
	// +optional
	Done bool `json:"done,omitempty"`
}
