package hub

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/skerry-dev/skerry/internal/apply"
)

const (
	// leaseDuration is how long a lease keeps others away; a leader that could not renew it for
	// leasePatience stops, and so does its fence, which leaves what is on its way then some time to
	// arrive before anybody else begins.
	leaseDuration = 15 * time.Second
	leasePatience = 10 * time.Second
	leaseRetry    = 2 * time.Second
)

var (
	errNotLeading = errors.New("this hub does not hold the lease")
	errLeaseLost  = errors.New("this hub held the lease and could not renew it in time")
)

// fence holds back everything that a hub would write while it does not hold the lease. It goes by the
// time at which the last renewal was sent, on two clocks: the monotonic one counts while the process
// is stopped, the one on the wall while the whole machine is. What either says to be too long, is.
type fence struct {
	now func() time.Time
	// end is called once it is lost, from a goroutine that waits for nobody.
	end func()

	mu      sync.Mutex
	renewed time.Time // zero before the first time
	lost    bool      // for good: who loses the lease ends
}

// Leading implements apply.Fence.
func (f *fence) Leading() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.renewed.IsZero() {
		return errNotLeading
	}
	return f.check()
}

// Lost implements apply.Fence.
func (f *fence) Lost() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.renewed.IsZero() {
		return nil
	}
	return f.check()
}

func (f *fence) check() error {
	now := f.now()
	f.lost = f.lost || now.Sub(f.renewed) > leasePatience || now.Round(0).Sub(f.renewed.Round(0)) > leasePatience
	if !f.lost {
		return nil
	}
	if f.end != nil {
		go f.end()
		f.end = nil
	}
	return errLeaseLost
}

// renew notes a renewal that was sent at a time and has been confirmed since.
func (f *fence) renew(sent time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.renewed.IsZero() || f.check() == nil {
		f.renewed = sent
	}
}

// guard puts the fence around everything that a config reaches.
func (f *fence) guard(cfg *rest.Config) {
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return apply.Guard(next, f) })
	plain := apply.Dial(cfg.Dial)
	if plain == nil {
		plain = (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	cfg.Dial = apply.GuardDial(plain, f)
}

// lock is the lease, as leader election sees it; the fence hears of each renewal.
type lock struct {
	resourcelock.Interface
	fence *fence
}

func newLock(cfg *rest.Config, namespace, name, identity string, f *fence) (resourcelock.Interface, error) {
	l, err := resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, namespace, name,
		resourcelock.ResourceLockConfig{Identity: identity}, cfg, leasePatience)
	if err != nil {
		return nil, fmt.Errorf("cannot set up the lease: %w", err)
	}
	return &lock{l, f}, nil
}

// Create implements resourcelock.Interface.
func (l *lock) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.write(r, func() error { return l.Interface.Create(ctx, r) })
}

// Update implements resourcelock.Interface.
func (l *lock) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.write(r, func() error { return l.Interface.Update(ctx, r) })
}

func (l *lock) write(r resourcelock.LeaderElectionRecord, send func() error) error {
	if err := l.fence.Lost(); err != nil {
		return err // somebody else may have it
	}
	sent := l.fence.now()
	if err := send(); err != nil {
		return err
	}
	if r.HolderIdentity == l.Identity() {
		l.fence.renew(sent)
	}
	return nil
}

// identity names this process among all that want the lease.
func identity() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + "_" + string(uuid.NewUUID())
}
