// Package holder decides on which Clusters this process works, where several share a fleet, and hands
// over those that move from one to another.
//
// It promises that no two processes work on one cluster: the status of a Cluster records the shard
// that holds it, and another one takes it only when the holder has written so itself, having let go, or
// when no process has the holder's lease.
package holder

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/sharding"
)

const (
	// leaseCheckInterval is how often a lease is read to see whether it has become free, which no event announces.
	leaseCheckInterval = time.Second
	// cacheLag is about as long as a change takes to come through a watch.
	cacheLag = 100 * time.Millisecond
	// pageSize is how many Clusters are asked for at once.
	pageSize = 500
)

var errOldDefinition = errors.New("the hub's own cluster knows no status.shard of a Cluster; \"skerry install --crds-only\" brings it up to date")

// Options are what a Holder works with.
type Options struct {
	Hub    hubapi.Hub
	Direct hubapi.Direct
	// Shard is that of this process.
	Shard sharding.Shard
	// Namespace is where the leases are, and Duration how long each lasts.
	Namespace string
	Duration  time.Duration
	Now       func() time.Time
	// Moved is told of a Cluster that was, or is to be, this shard's, and of one that is to be given up when the work on it
	// has ended; it does not block.
	Moved func(types.NamespacedName)
	// Gained is told of a Cluster that is held from now on, Leaving of one that is to be given up while there is still
	// work on it, which is to end soon, and Lost when it is given up.
	Gained, Leaving, Lost func(types.NamespacedName)
}

// Holder knows which Clusters this process holds. It is used by a process that has its lease.
type Holder struct {
	Options
	leases leases

	placing     sync.Mutex // one at a time, so that a later result does not give way to an earlier one
	mu          sync.Mutex
	owners      map[string]int                    // shards by Cluster
	held        map[types.NamespacedName]*hold    // what this process works on, and what it is to give up
	unconfirmed map[types.NamespacedName]struct{} // what was not this shard's when it got the lease
	listed      bool
}

// hold is a Cluster that this process holds.
type hold struct {
	busy    int  // who is at work on it
	leaving bool // it is to be given up, and no work begins
}

// New returns a Holder that holds nothing yet.
func New(o Options) *Holder {
	return &Holder{
		Options: o, leases: leases{direct: o.Direct, namespace: o.Namespace, duration: o.Duration, now: o.Now, observed: map[string]leaseObservation{}},
		owners: map[string]int{}, held: map[types.NamespacedName]*hold{}, unconfirmed: map[types.NamespacedName]struct{}{},
	}
}

// First reports whether this process also decides for the whole fleet.
func (h *Holder) First() bool { return h.Shard.Index == 1 }

// Hold reports whether this process may work on a Cluster; it takes it, or gives it away, as its shard
// says. Before it gives it away it calls release, which returns when nothing is on its way to the cluster. While there is
// work on a Cluster that is to be given away it returns false, and calls Moved when that has ended. Where
// something else is waited for, it also returns when to look again. It fails with a conflict when c is stale.
func (h *Holder) Hold(ctx context.Context, c *v1alpha1.Cluster, release func()) (bool, time.Duration, error) {
	key := client.ObjectKeyFromObject(c)
	owner, err := h.owner(ctx, key)
	if err != nil {
		return false, 0, err
	}
	if err := h.listOnce(ctx); err != nil {
		return false, 0, err
	}
	confirmed := false
	if owner == h.Shard.Index && c.Status.Shard == h.Shard.Record() {
		if confirmed, err = h.confirm(ctx, c); err != nil {
			return false, 0, err
		}
	}
	step := sharding.Decide(h.Shard, owner, c.Status.Shard, confirmed)
	if step == sharding.Hold {
		h.gain(key)
		return true, 0, nil
	}
	if !h.lose(key, release) {
		return false, 0, nil
	}
	switch step {
	case sharding.AwaitCache:
		return false, cacheLag, nil
	case sharding.Take:
		return h.take(ctx, c)
	case sharding.HandOver:
		return false, 0, h.record(ctx, c, sharding.Shard{Index: owner, Count: h.Shard.Count}.Record())
	default:
		return false, 0, nil
	}
}

// take takes a Cluster from a holder whose lease is free. A process that gets that lease looks then
// at who holds what; so either it sees what is written here, or it is seen here after that.
func (h *Holder) take(ctx context.Context, c *v1alpha1.Cluster) (bool, time.Duration, error) {
	key, former := client.ObjectKeyFromObject(c), c.Status.Shard
	free, err := h.leases.free(ctx, former, false)
	if err != nil || !free {
		return false, leaseCheckInterval, err
	}
	if err := h.record(ctx, c, h.Shard.Record()); err != nil {
		return false, 0, err
	}
	if free, err = h.leases.free(ctx, former, true); err != nil || !free {
		if undo := h.record(context.WithoutCancel(ctx), c, former); undo != nil {
			return false, 0, undo
		}
		return false, leaseCheckInterval, err
	}
	h.mu.Lock()
	delete(h.unconfirmed, key)
	h.mu.Unlock()
	h.gain(key)
	return true, 0, nil
}

func (h *Holder) record(ctx context.Context, c *v1alpha1.Cluster, holder string) error {
	c.Status.Shard = holder
	if err := hubapi.PatchStatus(context.WithoutCancel(ctx), h.Hub, c); err != nil {
		return err
	}
	if c.Status.Shard != holder { // the definition is of a version that has no such field
		return errOldDefinition
	}
	return nil
}

// Taken returns a Cluster that this process holds and that another shard has taken, or "". It is asked
// after a lease that had expired was renewed: a process that took a Cluster meanwhile has either written so by
// now, or sees the renewal and undoes it.
func (h *Holder) Taken(ctx context.Context, direct hubapi.Direct) (string, error) {
	for from := ""; ; {
		list := &v1alpha1.ClusterList{}
		if err := direct.List(ctx, list, client.Limit(pageSize), client.Continue(from)); err != nil {
			return "", fmt.Errorf("cannot list Clusters: %w", err)
		}
		h.mu.Lock()
		for i := range list.Items {
			key := client.ObjectKeyFromObject(&list.Items[i])
			if h.held[key] != nil && list.Items[i].Status.Shard != h.Shard.Record() {
				h.mu.Unlock()
				return key.String(), nil
			}
		}
		h.mu.Unlock()
		if from = list.Continue; from == "" {
			return "", nil
		}
	}
}

// listOnce asks the API server itself who holds what, once the lease is there: the cache may be of a
// time before, in which this shard held what another one has taken since.
func (h *Holder) listOnce(ctx context.Context) error {
	h.placing.Lock()
	defer h.placing.Unlock()
	if h.listed {
		return nil
	}
	for from := ""; ; {
		list := &v1alpha1.ClusterList{} // a new one, so that nothing is left in it of the page before
		if err := h.Direct.List(ctx, list, client.Limit(pageSize), client.Continue(from)); err != nil {
			return fmt.Errorf("cannot list Clusters: %w", err)
		}
		h.mu.Lock()
		for i := range list.Items {
			if list.Items[i].Status.Shard != h.Shard.Record() {
				h.unconfirmed[client.ObjectKeyFromObject(&list.Items[i])] = struct{}{}
			}
		}
		h.mu.Unlock()
		if from = list.Continue; from == "" {
			h.listed = true
			return nil
		}
	}
}

// confirm asks the API server for a Cluster that is this shard's by the cache, if there is doubt.
func (h *Holder) confirm(ctx context.Context, c *v1alpha1.Cluster) (bool, error) {
	key := client.ObjectKeyFromObject(c)
	h.mu.Lock()
	_, unconfirmed := h.unconfirmed[key]
	h.mu.Unlock()
	if !unconfirmed {
		return true, nil
	}
	now := &v1alpha1.Cluster{}
	if err := h.Direct.Get(ctx, key, now); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	if now.Status.Shard != h.Shard.Record() {
		return false, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.unconfirmed, key)
	return true, nil
}

// Enter begins work on a Cluster that is held; leave ends it. Nobody else holds it before that.
func (h *Holder) Enter(key types.NamespacedName) (leave func(), ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	held := h.held[key]
	if held == nil || held.leaving {
		return nil, false
	}
	held.busy++
	return func() {
		h.mu.Lock()
		held.busy--
		free := held.leaving && held.busy == 0
		h.mu.Unlock()
		if free {
			h.Moved(key)
		}
	}, true
}

func (h *Holder) gain(key types.NamespacedName) {
	h.mu.Lock()
	held := h.held[key]
	before := held != nil && !held.leaving
	if held == nil {
		held = &hold{}
		h.held[key] = held
	}
	held.leaving = false
	h.mu.Unlock()
	if !before {
		h.Gained(key)
	}
}

// lose gives up a Cluster, if it is held, and reports whether it has: while there is work on it no more begins, and Moved
// is called when that has ended.
func (h *Holder) lose(key types.NamespacedName, release func()) bool {
	h.mu.Lock()
	held := h.held[key]
	busy := held != nil && held.busy > 0
	if busy {
		held.leaving = true
	} else {
		delete(h.held, key)
	}
	h.mu.Unlock()
	if busy {
		h.Leaving(key)
		return false
	}
	release()
	if held != nil {
		h.Lost(key)
	}
	return true
}

// Forget forgets a Cluster that is not there any more, which may make others move. While there is work on it, it does
// nothing, and calls Moved when that has ended.
func (h *Holder) Forget(ctx context.Context, key types.NamespacedName) error {
	if !h.lose(key, func() {}) {
		return nil
	}
	h.mu.Lock()
	_, known := h.owners[key.String()]
	h.mu.Unlock()
	if !known {
		return nil
	}
	return h.place(ctx)
}
