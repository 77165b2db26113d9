package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// leaseDuration is how long a lease keeps another agent away, and leaseRenewal how often it is renewed: two
	// writes a minute are what a small cluster pays for one agent at a time.
	leaseDuration = 90 * time.Second
	leaseRenewal  = 30 * time.Second
	// leaseMargin is how much earlier than the lease an agent that cannot renew it stops writing.
	leaseMargin = 10 * time.Second
	// leaseRetry is how often an agent without the lease tries to get it.
	leaseRetry = time.Second
)

var (
	errNoLease      = errors.New("this agent does not hold the lease of the cluster")
	errLeaseExpired = errors.New("this agent could not renew its lease in time, and writes nothing until it can")
)

// heldError is returned while another agent works on the cluster.
type heldError struct{ holder string }

func (e *heldError) Error() string {
	return fmt.Sprintf("another agent (%s) works on this cluster: stop one of the two", e.holder)
}

// lease lets one agent at a time work on a cluster. It is the fence of the engine: without the lease, nothing
// is written. A lease that has expired while the API server was away is renewed when it is back, if no other
// agent has taken it meanwhile, and the agent goes on.
type lease struct {
	kube      kube
	namespace string
	holder    string
	now       func() time.Time

	mu      sync.Mutex // guards what follows
	renewed time.Time  // when the last renewal that succeeded was sent; zero for none
	// observedVersion is the resourceVersion of another holder's lease, and observedAt since when it has not changed, by
	// this agent's clock: the clocks of two machines need not agree.
	observedVersion string
	observedAt      time.Time
	holds           bool
	// last is what this agent wrote last, as the API server keeps it; nil when that is not known.
	last *coordinationv1.Lease
}

// Leading implements fence.Fence.
func (l *lease) Leading() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.holds {
		return errNoLease
	}
	return l.check()
}

// Lost implements fence.Fence.
func (l *lease) Lost() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.renewed.IsZero() {
		return nil
	}
	return l.check()
}

// check compares two clocks: the monotonic one stops with the machine, the one on the wall with nothing.
func (l *lease) check() error {
	now, limit := l.now(), leaseDuration-leaseMargin
	if now.Sub(l.renewed) > limit || now.Round(0).Sub(l.renewed.Round(0)) > limit {
		return errLeaseExpired
	}
	return nil
}

func (l *lease) path() string {
	return "/apis/coordination.k8s.io/v1/namespaces/" + l.namespace + "/leases"
}

// renew takes the lease, or renews it. It returns a *heldError while another agent has it, and resumed when
// the fence was closed before.
func (l *lease) renew(ctx context.Context) (resumed bool, err error) {
	began := l.now()
	if last := l.own(); last != nil {
		if version, err := l.kube.replace(ctx, l.path()+"/"+agentName, l.record(last, began)); err == nil {
			last.ResourceVersion = version
			return l.acquired(last, began), nil
		} // else what is there decides
	}
	current := &coordinationv1.Lease{}
	err = l.kube.get(ctx, l.path()+"/"+agentName, current)
	switch {
	case apierrors.IsNotFound(err):
		l.closeFence()
		err = l.kube.create(ctx, l.path(), l.record(current, began))
	case err != nil:
		return false, fmt.Errorf("cannot read the lease: %w", err)
	default:
		holder, held := l.heldByAnother(current, began)
		if !l.isHeldByThis(current) { // also when the holder has given it back: another agent may have had it since
			l.closeFence()
		}
		if held {
			return false, &heldError{holder}
		}
		err = l.kube.update(ctx, l.path()+"/"+agentName, l.record(current, began))
	}
	if err != nil {
		return false, fmt.Errorf("cannot write the lease: %w", err)
	}
	return l.acquired(current, began), nil
}

// own returns a copy of what this agent wrote last, while it holds the lease: if nothing else has written the lease since, it
// is renewed in one request. nil when what is there has to be read. The copy shares what record does not change in place.
func (l *lease) own() *coordinationv1.Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.holds || l.check() != nil {
		return nil
	}
	own := *l.last
	return &own
}

// acquired opens the fence: what was written at began is in force. It returns whether the fence was closed before.
func (l *lease) acquired(written *coordinationv1.Lease, began time.Time) (resumed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	resumed = !l.holds || l.check() != nil
	written.ManagedFields = nil // half of what is sent; the API server keeps those that it has
	l.renewed, l.holds, l.last = began, true, written
	return resumed
}

// closeFence refuses writes from now on.
func (l *lease) closeFence() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holds, l.last = false, nil
	if !l.renewed.IsZero() {
		l.renewed = l.renewed.Add(-leaseDuration)
	}
}

// heldByAnother reports whether another agent has the lease, and its name: its record names another holder, and has changed
// within its duration.
func (l *lease) heldByAnother(current *coordinationv1.Lease, now time.Time) (string, bool) {
	holder := ""
	if current.Spec.HolderIdentity != nil {
		holder = *current.Spec.HolderIdentity
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if holder == "" || holder == l.holder {
		l.observedVersion = ""
		return "", false
	}
	if l.observedVersion != current.ResourceVersion {
		l.observedVersion, l.observedAt = current.ResourceVersion, now
	}
	lasts := leaseDuration
	if s := current.Spec.LeaseDurationSeconds; s != nil {
		lasts = time.Duration(*s) * time.Second
	}
	return holder, now.Sub(l.observedAt) < lasts
}

// isHeldByThis reports whether the lease names this agent as its holder.
func (l *lease) isHeldByThis(current *coordinationv1.Lease) bool {
	return current.Spec.HolderIdentity != nil && *current.Spec.HolderIdentity == l.holder
}

// record is the lease as this agent writes it. Its times are for people.
func (l *lease) record(to *coordinationv1.Lease, now time.Time) *coordinationv1.Lease {
	seconds, at := int32(leaseDuration/time.Second), metav1.NewMicroTime(now)
	to.TypeMeta = metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"}
	to.Namespace, to.Name = l.namespace, agentName
	if to.Spec.HolderIdentity == nil || *to.Spec.HolderIdentity != l.holder {
		to.Spec.HolderIdentity, to.Spec.AcquireTime = &l.holder, &at
	}
	to.Spec.LeaseDurationSeconds, to.Spec.RenewTime = &seconds, &at
	return to
}

// release gives the lease back, so that the next agent need not wait.
func (l *lease) release(ctx context.Context) {
	l.mu.Lock()
	held := l.holds
	l.mu.Unlock()
	l.closeFence()
	if !held {
		return
	}
	current := &coordinationv1.Lease{}
	if l.kube.get(ctx, l.path()+"/"+agentName, current) != nil || !l.isHeldByThis(current) {
		return
	}
	none := ""
	current.TypeMeta = metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"}
	current.Spec.HolderIdentity = &none
	_ = l.kube.update(ctx, l.path()+"/"+agentName, current) // it expires by itself
}
