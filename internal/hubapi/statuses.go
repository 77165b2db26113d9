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
	DeepCopy() P
}] struct {
	// of returns the status of an object.
	of func(P) any

	mu    sync.Mutex
	wrote map[types.NamespacedName]*known[P]
}

// known is what the hub wrote of one object.
type known[P any] struct {
	uid     types.UID
	last    P
	digests [][sha256.Size]byte
}

// NewStatuses returns one that knows nothing; of returns a pointer to the status of an object.
func NewStatuses[T any, P interface {
	*T
	client.Object
	DeepCopy() P
}](of func(P) any) *Statuses[T, P] {
	return &Statuses[T, P]{of: of, wrote: map[types.NamespacedName]*known[P]{}}
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
	same := k != nil && k.last.GetResourceVersion() == o.GetResourceVersion()
	s.mu.Unlock()
	if !same {
		s.note(o)
	}
}

func (s *Statuses[T, P]) note(o P) {
	digest := s.digest(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	key := client.ObjectKeyFromObject(o)
	k := s.wrote[key]
	if k == nil || k.uid != o.GetUID() {
		k = &known[P]{uid: o.GetUID()}
		s.wrote[key] = k
	}
	k.last = o.DeepCopy()
	k.last.SetManagedFields(nil) // which the cache does not keep either
	if slices.Contains(k.digests, digest) {
		return
	}
	if k.digests = append(k.digests, digest); len(k.digests) > remembered {
		k.digests = slices.Delete(k.digests, 0, 1)
	}
}

// Foreign says whether the status of an object is none that the hub wrote, and returns what it wrote
// last. Of an object that it has not seen before, every status is its own.
func (s *Statuses[T, P]) Foreign(o P) (last P, foreign bool) {
	s.mu.Lock()
	k := s.wrote[client.ObjectKeyFromObject(o)]
	known := k != nil && k.uid == o.GetUID() && k.last.GetResourceVersion() != o.GetResourceVersion()
	s.mu.Unlock()
	if !known {
		return nil, false
	}
	digest := s.digest(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	return k.last, !slices.Contains(k.digests, digest)
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

func (s *Statuses[T, P]) digest(o P) [sha256.Size]byte {
	data, err := json.Marshal(s.of(o))
	if err != nil { // these are structs of strings and numbers
		return [sha256.Size]byte{}
	}
	return sha256.Sum256(data)
}
