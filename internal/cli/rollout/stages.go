package rollout

import (
	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// waitingStage returns the stage that would begin, or go on, if a person approved it: the one that waits
// for approval or a window, or the one after a stage that soaks. It is empty when none waits.
func waitingStage(r *v1alpha1.RolloutStatus) string {
	at := current(r)
	if at < 0 {
		return ""
	}
	switch r.Phase {
	case v1alpha1.RolloutSoaking:
		at++
	case v1alpha1.RolloutAwaitingApproval, v1alpha1.RolloutAwaitingWindow:
	default:
		return ""
	}
	for ; at < len(r.Stages); at++ {
		if !r.Stages[at].Done && r.Stages[at].Clusters > 0 {
			return r.Stages[at].Name
		}
	}
	return ""
}

// current is the index of the stage under way.
func current(r *v1alpha1.RolloutStatus) int {
	for i, s := range r.Stages {
		if r.Stage == s.Name || r.Stage == "" && !s.Done {
			return i
		}
	}
	return -1
}
