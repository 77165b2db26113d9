package engine

import (
	"maps"
	"strconv"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/plan"
)

// live is what the watches of one cluster and our own applies have shown of each object. Of two
// observations of one object the younger counts, wherever it comes from.
type live struct {
	mu      sync.Mutex
	objects map[object.ID]observation
	// applies numbers our own applies, so that a list that began before one cannot undo its result.
	applies uint64
	// ended holds the Jobs that a watch has seen go, and how they had ended then; "" when they had not.
	ended map[object.ID]health.Outcome
	// hasStatus reports whether the health of a kind's objects is unknown until a watch has shown them.
	hasStatus func(schema.GroupKind) bool
}

type observation struct {
	edge.Observed
	version uint64 // of the resourceVersion
	applied uint64 // number of our apply that brought it, 0 for a watch
}

func newLive() *live {
	return &live{objects: map[object.ID]observation{}, ended: map[object.ID]health.Outcome{}, hasStatus: health.HasStatus}
}

// version reads a resourceVersion, which the API server promises to be an ordered number. Of one
// that is not, every observation is younger than the one before.
func version(rv string) uint64 {
	n, err := strconv.ParseUint(rv, 10, 64)
	if err != nil {
		return ^uint64(0)
	}
	return n
}

// get returns the latest observation of an object.
func (l *live) get(id object.ID) (observation, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.objects[id]
	return s, ok
}

// size returns how many objects there are.
func (l *live) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.objects)
}

// owned returns all objects that carry an owner's label.
func (l *live) owned(owner string) map[object.ID]plan.Live {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[object.ID]plan.Live{}
	for id, s := range l.objects {
		if s.Owner == owner {
			out[id] = plan.Live{UID: s.UID, Fields: s.Fields.Digest, Terminating: s.Terminating, Keep: s.Keep, Ignored: s.Policy.Mode == object.Ignore}
		}
	}
	return out
}

// lastApply returns the number of the last apply.
func (l *live) lastApply() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.applies
}

// applied takes the answer to an apply. The health of a kind that has a status is unknown until a
// watch has shown it at this version or later.
func (l *live) applied(id object.ID, owner string, a edge.Applied) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.applies++
	s := observation{version: version(a.ResourceVersion), applied: l.applies}
	old, known := l.objects[id]
	same := known && old.UID == a.UID
	if same && old.version >= s.version {
		old.applied = l.applies
		l.objects[id] = old
		return
	}
	s.Observed = edge.Observed{ID: id, Owner: owner, UID: a.UID, ResourceVersion: a.ResourceVersion, Fields: a.Fields, Policy: a.Policy, Keep: a.Keep}
	if !l.hasStatus(schema.GroupKind{Group: id.Group, Kind: id.Kind}) {
		s.Health = health.Status{Phase: health.Current}
	}
	l.objects[id] = s
	delete(l.ended, id)
}

// changed takes what a watch shows of an object, and reports whether it is new.
func (l *live) changed(seen edge.Observed) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := observation{Observed: seen, version: version(seen.ResourceVersion)}
	if old, ok := l.objects[seen.ID]; ok {
		if old.version > s.version || old.version == s.version && old.UID == s.UID && old.Health == s.Health {
			return false
		}
		s.applied = old.applied
	}
	l.objects[seen.ID] = s
	delete(l.ended, seen.ID)
	return true
}

// deleted takes the event of a watch that an object is gone, and reports whether it is new.
func (l *live) deleted(seen edge.Observed) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	old, ok := l.objects[seen.ID]
	if !ok || old.version > version(seen.ResourceVersion) {
		return false
	}
	delete(l.objects, seen.ID)
	if isJob(seen.ID) && len(l.ended) < maxEnded {
		l.ended[seen.ID] = seen.Health.Finished
	}
	return true
}

// maxEnded bounds the Jobs that are remembered after they have gone. One that is not is judged as one that
// no watch has seen go.
const maxEnded = 10_000

func isJob(id object.ID) bool { return id.Group == "batch" && id.Kind == "Job" }

// endedJobs returns the Jobs that were seen to go and did not come back.
func (l *live) endedJobs() map[object.ID]health.Outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.ended)
}

// listed takes all objects of a place, as they were not before the apply with the given number. It
// returns the objects that are news.
func (l *live) listed(at watchScope, all []edge.Observed, since uint64) []edge.Observed {
	l.mu.Lock()
	defer l.mu.Unlock()
	there := make(map[object.ID]bool, len(all))
	var changed []edge.Observed
	for _, seen := range all {
		there[seen.ID] = true
		old, known := l.objects[seen.ID]
		if known && old.applied > since && old.version > version(seen.ResourceVersion) {
			continue
		}
		// Outside of that, a list is the truth, also when its versions are lower than before: the
		// cluster's store may have been restored from a backup.
		delete(l.ended, seen.ID)
		l.objects[seen.ID] = observation{Observed: seen, version: version(seen.ResourceVersion), applied: old.applied}
		if !known || old.Observed != seen {
			changed = append(changed, seen)
		}
	}
	for id, old := range l.objects {
		if at.has(id) && !there[id] && old.applied <= since {
			delete(l.objects, id)
			changed = append(changed, old.Observed)
		}
	}
	return changed
}

// differs reports whether a list of the objects of a place, as of a version, shows another state than is
// known: one that is there and not known, one that is not there any more, one at another version. What
// was seen after the list was made is no difference.
func (l *live) differs(in watchScope, all []edge.Version, at string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	asOf := version(at)
	there := make(map[object.ID]bool, len(all))
	for _, v := range all {
		there[v.ID] = true
		old, known := l.objects[v.ID]
		if !known || old.version <= asOf && (old.UID != v.UID || old.ResourceVersion != v.ResourceVersion) {
			return true
		}
	}
	for id, old := range l.objects {
		if in.has(id) && !there[id] && old.version <= asOf {
			return true
		}
	}
	return false
}
