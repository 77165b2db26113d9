package receiver

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// fetchPause is the time from one fetch of a repository that webhooks ask for to the next.
const fetchPause = time.Second

// Pace lets through one fetch a second of each repository. A wish that comes earlier is not lost: it is
// for the end of the second, together with all others until then.
//
// Example: pushes at 0 s, 0.2 s, 0.7 s and 2.5 s fetch at 0 s, 1 s and 2.5 s. The fetch at 1 s begins after
// the push at 0.7 s, and so finds it.
type Pace struct {
	mu   sync.Mutex
	last map[types.NamespacedName]time.Time // the latest fetch of a repository, which may be to come; guarded by mu
}

// Next returns how long the fetch that is asked for now has to wait. It is not due when one is to come already.
func (p *Pace) Next(key types.NamespacedName, now time.Time) (wait time.Duration, due bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, at := range p.last { // those of the last second are few
		if now.Sub(at) >= fetchPause {
			delete(p.last, k)
		}
	}
	last, recent := p.last[key]
	switch {
	case recent && last.After(now):
		return 0, false
	case recent:
		wait = last.Add(fetchPause).Sub(now)
	}
	if p.last == nil {
		p.last = map[types.NamespacedName]time.Time{}
	}
	p.last[key] = now.Add(wait)
	return wait, true
}
