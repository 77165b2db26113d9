package fleetsim

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
)

// transitionKey is all that decides what becomes of an object by a write.
type transitionKey struct {
	kind            *kind
	live            *content
	namespace, name string
	manager         string
	verb            verb
	force           bool
	json, status    bool
	body            [sha256.Size]byte
}

// generationSize is how many outcomes are kept before the older half is forgotten.
const generationSize = 8192

// transitions remembers outcomes: a fleet gets the same body a thousand times. It keeps between one
// and two generations of them, so that what one edge alone wrote does not stay for ever.
type transitions struct {
	contents *pool
	mu       sync.Mutex
	young    map[transitionKey]*outcome
	old      map[transitionKey]*outcome
	shapes   map[transitionKey]*shaped
	hits     atomic.Int64
	misses   atomic.Int64
}

func newTransitions() *transitions {
	return &transitions{contents: newPool(), young: map[transitionKey]*outcome{}, shapes: map[transitionKey]*shaped{}}
}

// outcome returns what becomes of an object by a write; live is nil when there is none.
func (t *transitions) outcome(live *content, w *write) *outcome {
	if w.verb == verbUpdate || w.verb == verbCreate { // no two edges write the same inventory
		t.misses.Add(1)
		return t.work(live, w)
	}
	key := transitionKey{
		kind: w.kind, live: live, namespace: w.namespace, name: w.name, manager: w.manager,
		verb: w.verb, force: w.force, json: w.json, status: w.status, body: sha256.Sum256(w.body),
	}
	if out := t.find(key); out != nil {
		t.hits.Add(1)
		return out
	}
	t.misses.Add(1)
	out := t.work(live, w)
	t.keep(key, out)
	return out
}

func (t *transitions) work(live *content, w *write) *outcome {
	out, ok := t.byShape(live, w)
	if !ok {
		out = work(live, w)
	}
	if out.content != nil {
		out.content = t.contents.share(out.content)
	}
	return out
}

func (t *transitions) find(key transitionKey) *outcome {
	t.mu.Lock()
	defer t.mu.Unlock()
	if out := t.young[key]; out != nil {
		return out
	}
	out := t.old[key]
	if out != nil {
		t.young[key] = out
	}
	return out
}

func (t *transitions) keep(key transitionKey, out *outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.young) >= generationSize {
		t.young, t.old = map[transitionKey]*outcome{}, t.young
	}
	t.young[key] = out
}
