package kustomization

import (
	"context"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/hubapi"
)

// pendingWrites are the writes of entries that the cache may not show yet. A Kustomization has to see its own before it
// decides again. Those of others do not concern it, and where fifty write to the Assignments of a fleet there is
// always one under way: a Kustomization that waited for all of them would decide seconds late.
type pendingWrites struct {
	mu sync.Mutex
	// by Assignment and Kustomization: the generation that has the entry as it was written last; guarded by mu
	generations map[types.NamespacedName]map[types.NamespacedName]int64
}

// wrote records that a generation of an Assignment has the changes of a batch.
func (p *pendingWrites) wrote(assignment types.NamespacedName, generation int64, batch []change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.generations == nil {
		p.generations = map[types.NamespacedName]map[types.NamespacedName]int64{}
	}
	of := p.generations[assignment]
	if of == nil {
		of = make(map[types.NamespacedName]int64, len(batch))
		p.generations[assignment] = of
	}
	for _, c := range batch {
		of[v1alpha1.ResolveName(assignment.Namespace, c.name)] = generation
	}
}

// shown forgets what the cache shows now that it has a generation of an Assignment.
func (p *pendingWrites) shown(assignment types.NamespacedName, generation int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.generations[assignment]
	for ks, written := range of {
		if written <= generation {
			delete(of, ks)
		}
	}
	if len(of) == 0 {
		delete(p.generations, assignment)
	}
}

// forget forgets an Assignment that is gone: another one of its name begins with generation 1 again.
func (p *pendingWrites) forget(assignment types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.generations, assignment)
}

// of returns the Assignments of which the cache may not show what a Kustomization wrote last, and the generations
// that have it.
func (p *pendingWrites) of(ks types.NamespacedName) map[types.NamespacedName]int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found map[types.NamespacedName]int64
	for assignment, of := range p.generations {
		if generation, ok := of[ks]; ok {
			if found == nil {
				found = map[types.NamespacedName]int64{}
			}
			found[assignment] = generation
		}
	}
	return found
}

// await returns when the cache shows all that a Kustomization has written.
func (p *pendingWrites) await(ctx context.Context, hub hubapi.Hub, ks types.NamespacedName) error {
	for assignment, generation := range p.of(ks) {
		have := &v1alpha1.Assignment{}
		err := hub.Get(ctx, assignment, have, shared, client.DisableReadYourWritesConsistency)
		if err == nil && have.Generation >= generation {
			continue
		}
		if err := hub.Get(ctx, assignment, have, shared); client.IgnoreNotFound(err) != nil {
			return err
		} else if apierrors.IsNotFound(err) {
			p.forget(assignment)
		}
	}
	return nil
}
