package kustomization

import (
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

const (
	// restingPart is how many times as long as its last reconcile a Kustomization rests before what
	// clusters report wakes it again, and maxRest bounds that: a thousand clusters that report one
	// after the other must not cost a thousand roll-ups over all of them.
	restingPart = 4
	maxRest     = time.Second
	// noRest is a reconcile so short that a rest would only delay the next.
	noRest = 4 * time.Millisecond

	// progressEach is how long, for each cluster beyond progressFree, a status stands that would be
	// followed by one that only counts further; progressMax bounds that. What has come true or false is
	// written at once.
	progressEach = 40 * time.Millisecond
	progressFree = 4
	progressMax  = 2 * time.Second
)

// rest is how long a Kustomization rests before reports wake it.
func (r *Reconciler) rest(key types.NamespacedName) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.memos[key]
	if m == nil || m.took < noRest {
		return 0
	}
	return min(restingPart*m.took, maxRest)
}

// took notes how long a reconcile took, without the wait for its writes to Assignments: they rest by
// themselves, and cost others nothing.
func (r *Reconciler) took(key types.NamespacedName, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.memos[key]; m != nil {
		m.took = took
	}
}

// pace says how long the next status may wait to be written.
func (m *memo) pace(before, after *v1alpha1.Kustomization, clusters int, now time.Time) time.Duration {
	rest := min(time.Duration(max(clusters-progressFree, 0))*progressEach, progressMax)
	wait := m.wrote.Add(rest).Sub(now)
	if wait <= 0 || wait > rest || !equality.Semantic.DeepEqual(uncounted(before), uncounted(after)) {
		return 0
	}
	return wait
}

// uncounted is a status without what says how far it is.
func uncounted(ks *v1alpha1.Kustomization) v1alpha1.KustomizationStatus {
	s := *ks.Status.DeepCopy()
	s.Clusters, s.Objects = v1alpha1.ClusterCounts{Failed: s.Clusters.Failed}, v1alpha1.ObjectCounts{}
	for i := range s.Conditions {
		s.Conditions[i].Message = ""
	}
	if s.Rollout == nil {
		return s
	}
	s.Rollout.Message = ""
	for i := range s.Rollout.Stages {
		stage := &s.Rollout.Stages[i]
		stage.Updated, stage.Ready = 0, 0
	}
	return s
}
