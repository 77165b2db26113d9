package rollout

import (
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// Rollout is all that Next decides from.
type Rollout struct {
	// Name of the Kustomization, for the command in a message; may be empty.
	Name string
	// Spec describes how; nil is the default.
	Spec *v1alpha1.Rollout
	// Status is what Next said last; nil at first.
	Status *v1alpha1.RolloutStatus
	// Change is what the clusters are to get.
	Change v1alpha1.RolloutChange
	// Paused, Promote and Undo are the values of the annotations that a person sets.
	Paused  bool
	Promote string
	Undo    string
	// Clusters of the Kustomization, in any order.
	Clusters []Member
}

// Position describes what a cluster is assigned, seen from the change.
type Position int

const (
	// None means that nothing is assigned to it yet.
	None Position = iota
	// Other means that it is assigned something else.
	Other
	// AtTarget means that it is assigned the digest of the change, by the change itself or because the
	// change renders what an earlier one did. The second needs no write, and no start.
	AtTarget
)

// Health of a cluster, towards what it is assigned.
type Health int

const (
	// Healthy: all of it stands and is ready.
	Healthy Health = iota
	// Progressing: it is on its way.
	Progressing
	// Failing: something is wrong that may heal, as an apply error does.
	Failing
	// Failed: something is wrong that does not heal by itself, or nothing can be rendered for it.
	Failed
	// Unreachable: its state is not known, and nothing reaches it.
	Unreachable
	// Suspended: nothing may change on it.
	Suspended
)

// Member is a cluster of a rollout.
type Member struct {
	Name   string
	Labels map[string]string

	Position Position
	// Applied means that the cluster has reported what it is assigned as applied.
	Applied bool
	// Returns means that the change, when it is undone, sends it back to something else.
	Returns bool

	// Waits is the reason why it may not be sent the change before a dependency was; "" when it may.
	Waits string

	Health Health
	// Message describes what is wrong with it.
	Message string
	// Since is when what it has was assigned.
	Since time.Time
	// Back is when it could be reached again after that: progressDeadline counts from then. Zero
	// when it was never away, or that is not known.
	Back time.Time
	// Unrenderable means that the hub cannot make the change for it: the change fails there, whatever
	// the cluster has. Message explains why.
	Unrenderable bool
}

// Held is a cluster that keeps what it has.
type Held struct {
	Cluster string
	// Reason that a person understands.
	Reason string
}

// Plan is what happens now. Every cluster is in exactly one of the four lists, but for those that
// have the change; each list is sorted by name.
type Plan struct {
	// Start get the change.
	Start []string
	// CatchUp are new and get the last verified change.
	CatchUp []string
	// Return go back to their fallback.
	Return []string
	// Hold keep what they have.
	Hold []Held
	// Status to be recorded; the next Next wants to see it.
	Status v1alpha1.RolloutStatus
	// RecheckAt is when time alone may alter the plan; zero when only something else does.
	RecheckAt time.Time
}
