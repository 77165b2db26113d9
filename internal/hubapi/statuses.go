package hubapi

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const (
	// RebuildAfter is the time until a status that another has written is written again: two who do that
	// to each other do it five times a second and not as fast as they can.
	RebuildAfter = 200 * time.Millisecond
	// remembered is how many of the last statuses of an object are known as the hub's own: as many writes
	// may be on their way through the watch at once.
	remembered = 4
)

// Statuses knows which status of each object the hub wrote last. A status is the hub's alone: one that
// was wiped by a restore or edited by a person wakes the controller, which writes it anew from what it
// knows, a rollout's history included.
type Statuses[T any, P interface {
	*T
	client.Object
}] struct {
	// of returns the status of an object.
	of func(P) any

	mu    sync.Mutex
	wrote map[types.NamespacedName]*known // guarded by mu
}

// known is what the hub wrote of one object. There is one for each Cluster: encoded, its status takes a quarter of the
// memory that the object takes.
type known struct {
	uid     types.UID
	version string
	last    []byte // the status, as JSON
	digests [remembered]digest
	next    int // index in digests of the next one
}

// digest of a status; none is zero.
type digest [sha256.Size / 2]byte

// NewStatuses returns one that knows nothing; of returns a pointer to the status of an object.
func NewStatuses[T any, P interface {
	*T
	client.Object
}](of func(P) any) *Statuses[T, P] {
	return &Statuses[T, P]{of: of, wrote: map[types.NamespacedName]*known{}}
}

// Commit writes the status of an object, and knows it from then on.
func (s *Statuses[T, P]) Commit(ctx context.Context, hub Hub, o P) error {
	s.note(o) // the watch may be sooner than the answer
	if err := PatchStatus(ctx, hub, o); err != nil {
		return err
	}
	s.note(o) // as the API server keeps it
	return nil
}

// Confirm takes the status of an object for the hub's own: it is right as it was read.
func (s *Statuses[T, P]) Confirm(o P) {
	s.mu.Lock()
	k := s.wrote[client.ObjectKeyFromObject(o)]
	same := k != nil && k.version == o.GetResourceVersion()
	s.mu.Unlock()
	if !same {
		s.note(o)
	}
}

func (s *Statuses[T, P]) note(o P) {
	status, digest := s.encode(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	key := client.ObjectKeyFromObject(o)
	k := s.wrote[key]
	if k == nil || k.uid != o.GetUID() {
		k = &known{uid: o.GetUID()}
		s.wrote[key] = k
	}
	k.version, k.last = o.GetResourceVersion(), status
	if !slices.Contains(k.digests[:], digest) {
		k.digests[k.next] = digest
		k.next = (k.next + 1) % remembered
	}
}

// Foreign reports whether the status of an object is none that the hub wrote, and returns an object with the status, and
// nothing else, that it wrote last. Of an object that it has not seen before, every status is its own.
func (s *Statuses[T, P]) Foreign(o P) (last P, foreign bool) {
	s.mu.Lock()
	k := s.wrote[client.ObjectKeyFromObject(o)]
	known := k != nil && k.uid == o.GetUID() && k.version != o.GetResourceVersion()
	s.mu.Unlock()
	if !known {
		return nil, false
	}
	_, digest := s.encode(o)
	s.mu.Lock()
	wrote, own := k.last, slices.Contains(k.digests[:], digest)
	s.mu.Unlock()
	last = new(T)
	if own || json.Unmarshal(wrote, s.of(last)) != nil { // what the hub has encoded itself can be decoded
		return nil, false
	}
	return last, true
}

// Forget forgets an object that is gone.
func (s *Statuses[T, P]) Forget(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.wrote, key)
}

// Handler wakes the controller for an object whose status another has written.
func (s *Statuses[T, P]) Handler() handler.EventHandler {
	return handler.Funcs{
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			if e.ObjectOld.GetResourceVersion() == e.ObjectNew.GetResourceVersion() {
				return
			}
			if _, foreign := s.Foreign(e.ObjectNew.(P)); foreign {
				queue.AddAfter(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(e.ObjectNew)}, RebuildAfter)
			}
		},
	}
}

// encode returns the status of an object as JSON, and the digest of that.
func (s *Statuses[T, P]) encode(o P) ([]byte, digest) {
	data, err := json.Marshal(s.of(o))
	if err != nil { // these are structs of strings and numbers
		return nil, digest{}
	}
	sum := sha256.Sum256(data)
	return data, digest(sum[:len(digest{})])
}
