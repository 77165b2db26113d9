package engine

import (
	"sync"
	"time"

	"github.com/skerry-dev/skerry/internal/expression"
	"github.com/skerry-dev/skerry/internal/health"
)

// maxAssessed bounds the objects of one cluster whose health is remembered, twice over: the latest, and those
// before them.
const maxAssessed = 4096

// assessments remember the health that expressions gave an object at a version, so that a list that is read
// again, by the same session or by the next, evaluates what has changed. The zero value remembers nothing.
type assessments struct {
	mu             sync.Mutex
	latest, before map[assessed]assessment // guarded by mu
}

// assessed is an object, by its uid, and what judged it.
type assessed struct {
	by  *health.Expressions
	uid string
}

type assessment struct {
	version string // resourceVersion
	health  health.Status
}

// get returns the health that the expressions gave an object at a version.
func (a *assessments) get(key assessed, version string) (health.Status, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if found, ok := a.latest[key]; ok {
		return found.health, found.version == version
	}
	found, ok := a.before[key]
	if !ok || found.version != version {
		return health.Status{}, false
	}
	a.keep(key, found)
	return found.health, true
}

// put remembers the health of an object at a version. One without uid or version is not remembered.
func (a *assessments) put(key assessed, version string, s health.Status) {
	if key.uid == "" || version == "" {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keep(key, assessment{version, s})
}

// keep makes an assessment one of the latest. The caller holds the lock.
func (a *assessments) keep(key assessed, one assessment) {
	if len(a.latest) >= maxAssessed {
		a.rotate()
	}
	if a.latest == nil {
		a.latest = map[assessed]assessment{}
	}
	a.latest[key] = one
}

// rotate makes the latest those before; what was before them, and not asked for since, is forgotten. The caller
// holds the lock.
func (a *assessments) rotate() { a.before, a.latest = a.latest, nil }

// startSession begins to forget what the new session does not show.
func (a *assessments) startSession() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.latest) > 0 {
		a.rotate()
	}
}

// forget forgets everything: a cluster that was restored gives its versions away again.
func (a *assessments) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.latest, a.before = nil, nil
}

// hubSteps are what the expressions of each Kustomization may still take on all clusters of this process.
type hubSteps struct {
	mu     sync.Mutex
	shares *expression.Shares // guarded by mu
}

func newHubSteps() *hubSteps { return &hubSteps{shares: expression.NewShares(expression.HubLimits)} }

func (s *hubSteps) allow(owner string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shares.Allows(owner, now)
}

func (s *hubSteps) charge(owner string, now time.Time, n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shares.Charge(owner, now, n)
}

// refilled is how long it takes until everything is given back that was spent.
func (s *hubSteps) refilled(owner string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shares.Refilled(owner)
}
