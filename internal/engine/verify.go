package engine

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/skerry-dev/skerry/internal/recovery"
)

// A watch can be silent while its connection lives: a proxy, a load balancer or a node that is half dead
// keeps the stream open and sends nothing. So at each interval the cluster is asked, and verifiedAt is
// only ever the time of an answer.
//
// An answer is a list of the versions of all objects of a kind, or whatever came on the watch of the
// kind: an event or a bookmark carries the resource version up to which everything was sent. The
// Kustomizations of a cluster ask at the same time, so that one answer serves all:
//
//	interval 10m: a bookmark that is at most 2m old counts, and a watch without one for 3m is begun
//	              anew by itself. An idle cluster is sent no request.
//	interval 5s:  what came in the last 0.5s counts, else each kind is listed, once for the cluster.

const (
	// longInterval is one at which a bookmark counts as the answer, if it is no older than
	// bookmarkCounts. It is longer than a watch may be silent.
	longInterval   = 5 * time.Minute
	bookmarkCounts = 2 * time.Minute
	// verifyAtOnce bounds the kinds that one pass asks for at a time.
	verifyAtOnce = 4
)

// counts is how old an answer may be to count for a verification at an interval.
func counts(interval time.Duration) time.Duration {
	if interval >= longInterval {
		return bookmarkCounts
	}
	return interval / 10
}

// phaseOf a cluster, between 0 and 1.
func phaseOf(key Key) float64 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key.String())) // never fails
	return float64(h.Sum32()) / (1 << 32)
}

// errChanged means that another cluster answers, or an earlier state of the same one.
var errChanged = errors.New("another cluster answers, or an earlier state of this one: everything is read anew")

// verifyWatches asks the cluster whether what the watches have shown of some kinds is all there is. The
// watch of a kind of which it is not is stuck, and is replaced.
func (p *pass) verifyWatches(ctx context.Context, scopes map[watchScope]bool) error {
	since := p.now().Add(-counts(p.entry.Interval.Duration))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(verifyAtOnce)
	for at, verify := range scopes {
		if !verify {
			continue
		}
		g.Go(func() error { return recovery.Run(func() error { return p.verifyWatch(gctx, at, since) }) })
	}
	return g.Wait()
}

func (p *pass) verifyWatch(ctx context.Context, at watchScope, since time.Time) error {
	complete, err := p.watches.complete(ctx, at, since)
	m := p.mappings[at.GroupKind]
	if err != nil && ctx.Err() == nil && p.watchPerNamespace(ctx, at, err) {
		return p.awaitPerNamespace(ctx, m)
	}
	if err != nil && ctx.Err() == nil && (p.noteForbidden(at, err) || p.withhold(ctx, m.GVK, err, true)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot verify the objects of kind %s: %w", at.Kind, err)
	}
	if complete {
		return nil
	}
	// What differs may be another cluster's, onto which nothing must be put.
	switch c := p.check(ctx); {
	case c.err != nil:
		return fmt.Errorf("cannot verify the objects of kind %s: %w", at.Kind, c.err)
	case c.changed, c.restored:
		return errChanged
	}
	p.watches.relist(m, at.namespace) //nolint:contextcheck // a watch outlives the pass
	if err = p.awaitFirstList(ctx, at); errors.Is(err, errPerNamespace) {
		return p.awaitPerNamespace(ctx, m)
	}
	return err
}

// verifiedUpTo returns up to when the cluster is known to have reported everything of the kinds of the
// entry and of what its healthChecks name: the time of the oldest answer among them. Kinds that came with
// this pass have none yet; what they have was applied since it began.
func (p *pass) verifiedUpTo(begun time.Time) time.Time {
	oldest := begun
	scopes := map[watchScope]bool{}
	for id := range p.out.inventory.Objects {
		in := p.view.scope(p.mappings[kindOf(id)], id.Namespace)
		in.GroupKind = kindOf(id) // also where the kind was not found
		if scopes[in] {
			continue
		}
		scopes[in] = true
		if at, ok := p.watches.answered(in); ok && at.Before(oldest) {
			oldest = at
		}
	}
	if at, ok := p.references.oldest(p.owner); ok && at.Before(oldest) {
		oldest = at
	}
	return oldest
}
