package holder

import (
	"context"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/sharding"
)

// leases looks at those of other shards.
type leases struct {
	direct    hubapi.Direct
	namespace string
	duration  time.Duration
	now       func() time.Time

	mu       sync.Mutex
	observed map[string]leaseObservation
}

// leaseObservation is what was seen of a lease.
type leaseObservation struct {
	checkedAt time.Time // when it was looked at last
	since     time.Time // when what it says was seen first
	exists    bool
	holder    string
	version   string // changes with each renewal
}

// free reports whether no process holds Clusters in the name of a shard, as their status records it: the lease
// is not there, was given back, is another shard's, or was not renewed for as long as it lasts. That
// goes by the clock of this process alone. A read that is not a second old will do, unless it must be
// afresh.
func (l *leases) free(ctx context.Context, record string, afresh bool) (bool, error) {
	of, err := sharding.OfRecord(record)
	if err != nil {
		return false, fmt.Errorf("cannot tell who holds the Cluster: status.shard: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	name := of.Lease()
	s, known := l.observed[name]
	if !known || afresh || l.now().Sub(s.checkedAt) >= leaseCheckInterval {
		if s, err = l.read(ctx, name, s); err != nil {
			return false, err
		}
		l.observed[name] = s
	}
	switch {
	case !s.exists, s.holder == "", sharding.OfIdentity(s.holder) != of:
		return true, nil
	}
	return s.checkedAt.Sub(s.since) > l.duration, nil
}

func (l *leases) read(ctx context.Context, name string, last leaseObservation) (leaseObservation, error) {
	lease := &coordinationv1.Lease{}
	now := l.now()
	err := l.direct.Get(ctx, types.NamespacedName{Namespace: l.namespace, Name: name}, lease)
	if apierrors.IsNotFound(err) {
		return leaseObservation{checkedAt: now}, nil
	}
	if err != nil {
		return last, fmt.Errorf("cannot read lease %s: %w", name, err)
	}
	s := leaseObservation{checkedAt: now, since: now, exists: true, version: lease.ResourceVersion}
	if holder := lease.Spec.HolderIdentity; holder != nil {
		s.holder = *holder
	}
	if s.version == last.version && s.holder == last.holder {
		s.since = last.since
	}
	return s, nil
}
