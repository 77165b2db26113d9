package engine

import (
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/internal/expression"
	"github.com/skerry-dev/skerry/internal/health"
)

// expressions are those of spec.healthCheckExprs on one cluster, by the owner label of the Kustomization
// whose objects they judge. The watches ask them, the loop sets them.
type expressions struct {
	now   func() time.Time
	steps *steps
	// hub is what they may take with those of all other clusters, and random spreads the waits of these.
	hub         *hubSteps
	random      func() float64
	assessments *assessments
	// exhausted is called when objects are no longer judged, and does not block.
	exhausted func()

	mu      sync.RWMutex
	byOwner map[string]*health.Expressions // guarded by mu
	skipped map[schema.GroupKind]bool      // guarded by mu: kinds of objects that were not judged
	due     time.Time                      // guarded by mu: when they are judged
}

// steps are what the expressions of one cluster may still take, by owner. They outlive a session: a
// cluster that disconnects does not get them back by that.
type steps struct {
	mu      sync.Mutex
	byOwner map[string]*expression.Budget // guarded by mu
}

func (s *steps) allow(owner string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byOwner == nil {
		s.byOwner = map[string]*expression.Budget{}
	}
	if s.byOwner[owner] == nil {
		s.byOwner[owner] = expression.NewBudget(expression.ClusterLimits)
	}
	return s.byOwner[owner].Allows(now, len(s.byOwner))
}

func (s *steps) charge(owner string, now time.Time, n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.byOwner[owner]; b != nil {
		b.Charge(now, len(s.byOwner), n)
	}
}

// refilled is when everything is given back that was spent.
func (s *steps) refilled(owner string, now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.byOwner[owner]; b != nil {
		return now.Add(b.Refilled(len(s.byOwner)))
	}
	return now
}

func (s *steps) forget(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byOwner, owner)
}

func (x *expressions) of(owner string) *health.Expressions {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.byOwner[owner]
}

// Health implements edge.Assessor. What an edge shows decides how many steps an expression takes: once those of
// a Kustomization have taken what they may on this cluster, or on all, its objects are not judged until that is
// given back. An object that has not changed since it was judged takes none.
func (x *expressions) Health(owner string, u *unstructured.Unstructured, addManagedFields func()) health.Status {
	gk := u.GroupVersionKind().GroupKind()
	e := x.of(owner)
	if !e.Covers(gk) {
		if health.ReadsManagedFields(gk) {
			addManagedFields()
		}
		return health.Of(u)
	}
	key, version := assessed{e, string(u.GetUID())}, u.GetResourceVersion()
	if s, known := x.assessments.get(key, version); known {
		return s
	}
	now := x.now()
	if !x.steps.allow(owner, now) {
		x.skip(gk, x.steps.refilled(owner, now))
		return health.Unevaluated("on this cluster")
	}
	if !x.hub.allow(owner, now) {
		// Those of many clusters wait for the same: they come back over as long a time again.
		wait := x.hub.refilled(owner)
		x.skip(gk, now.Add(wait/2+time.Duration(x.random()*float64(wait))))
		return health.Unevaluated("on all clusters")
	}
	addManagedFields() // an expression may ask for any field
	s, n := e.Of(u)
	x.steps.charge(owner, x.now(), n)
	x.hub.charge(owner, x.now(), n)
	x.assessments.put(key, version, s)
	return s
}

// skip notes that an object of a kind was not judged, and when it can be.
func (x *expressions) skip(gk schema.GroupKind, due time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	first := len(x.skipped) == 0
	if first {
		x.skipped = map[schema.GroupKind]bool{}
		x.due = due
	}
	x.skipped[gk] = true
	if first {
		x.exhausted()
	}
}

// retrySkipped returns the kinds of objects that were not judged, once they can be.
func (x *expressions) retrySkipped(now time.Time) []schema.GroupKind {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.skipped) == 0 || now.Before(x.due) {
		return nil
	}
	kinds := slices.Collect(maps.Keys(x.skipped))
	x.skipped, x.due = nil, time.Time{}
	return kinds
}

// next is when retrySkipped returns something; zero when nothing was skipped.
func (x *expressions) next() time.Time {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.due
}

// HasStatus implements edge.Assessor.
func (x *expressions) HasStatus(gk schema.GroupKind) bool {
	if health.HasStatus(gk) {
		return true
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, e := range x.byOwner {
		if e.Covers(gk) {
			return true
		}
	}
	return false
}

// set replaces the expressions of an owner and returns the kinds whose objects are to be judged anew.
func (x *expressions) set(owner string, e *health.Expressions) []schema.GroupKind {
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.byOwner[owner]
	if old == e {
		return nil
	}
	if x.byOwner == nil {
		x.byOwner = map[string]*health.Expressions{}
	}
	x.byOwner[owner] = e
	if e == nil {
		delete(x.byOwner, owner)
		x.steps.forget(owner)
	}
	return append(old.Kinds(), e.Kinds()...)
}
