package fence

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/skerry-dev/skerry/internal/fence/guard"
)

const (
	// Margin is how much earlier than the lease a leader that cannot renew it stops writing: what it
	// has sent by then has that long to arrive before another hub begins.
	Margin = 5 * time.Second
	// Retry is the time between two tries to get or to renew the lease.
	Retry = 2 * time.Second
	// requestTimeout bounds one request for the lease, twice.
	requestTimeout = 10 * time.Second
	// NeverGiveUp is what leader election is told instead of the lease's duration. A leader whose lease
	// has run out does not end: its fence lets nothing through, and when its API server is back and the
	// lease is still its own, it goes on from what it has in memory.
	NeverGiveUp = 1000 * time.Hour
	// confirmTimeout bounds the look at who holds which Cluster before a leader goes on.
	confirmTimeout = 10 * time.Second
)

var (
	ErrNotLeading = errors.New("this hub does not hold the lease")
	ErrExpired    = errors.New("this hub could not renew its lease in time, and writes nothing until it can")
	ErrLost       = errors.New("another hub may have held the lease since this one renewed it")
)

// Lease is a Fence that holds back everything that a hub would write while it does not hold the lease. It goes by the
// time at which the last renewal was sent, on two clocks: the monotonic one counts while the process
// is stopped, the one on the wall while the whole machine is. What is too long by either, is.
//
// A lease that has expired is not lost. When it is renewed and no other process can have held it, because
// the record was not written to since, or names this process with the same count of transitions, and no
// Cluster was taken over meanwhile, the fence opens again. In every other case it stays closed for good
// and the process ends.
type Lease struct {
	Now func() time.Time
	// Validity is how long a renewal allows writes: the lease's duration less Margin.
	Validity time.Duration
	// End is called once the lease is lost, from a goroutine of its own.
	End func()
	// Confirm reports whether what this process holds is still its own; nil: it holds nothing but the lease.
	// An error that wraps ErrLost means that another process has taken some of it.
	Confirm func(context.Context) error
	// Resumed is called when the fence has opened again; may be nil.
	Resumed func()

	mu         sync.Mutex // guards what follows
	renewed    time.Time  // zero before the first time
	expired    bool       // since renewed
	lost       bool       // for good
	confirming bool
}

// Leading implements Fence.
func (f *Lease) Leading() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.renewed.IsZero() {
		return ErrNotLeading
	}
	return f.check()
}

// Lost implements Fence.
func (f *Lease) Lost() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.renewed.IsZero() {
		return nil
	}
	return f.check()
}

func (f *Lease) check() error {
	f.expired = f.expired || f.tooOld(f.renewed)
	switch {
	case f.lost:
		return ErrLost
	case f.expired:
		return ErrExpired
	}
	return nil
}

func (f *Lease) tooOld(renewed time.Time) bool {
	now := f.Now()
	return now.Sub(renewed) > f.Validity || now.Round(0).Sub(renewed.Round(0)) > f.Validity
}

// lose closes the fence for good.
func (f *Lease) lose() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lost = true
	if f.End != nil {
		go f.End()
		f.End = nil
	}
}

// led reports whether this process has held the lease, and whether that ended since.
func (f *Lease) led() (led, expired bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.renewed.IsZero(), !f.renewed.IsZero() && f.check() != nil
}

// renew notes a renewal that was sent at a time and has been confirmed since, of a lease that no other process
// else can have held.
func (f *Lease) renew(sent time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.renewed.IsZero() || f.check() == nil:
		f.renewed = sent
	case f.lost || f.tooOld(sent):
	case f.Confirm == nil:
		f.open(sent)
	case !f.confirming:
		f.confirming = true
		go f.confirmAndOpen(sent)
	}
}

// confirmAndOpen opens an expired fence when what this process holds is still its own. The renewal came
// first: a process that takes a Cluster from one whose lease has expired reads the lease once more
// afterwards, so that one of the two sees the other.
func (f *Lease) confirmAndOpen(sent time.Time) {
	ctx, cancel := context.WithTimeout(context.Background(), confirmTimeout) //nolint:forbidigo // a renewal has no context that outlasts it
	defer cancel()
	err := f.Confirm(ctx)
	if errors.Is(err, ErrLost) {
		f.lose()
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.confirming = false
	if err == nil && !f.lost && !f.tooOld(sent) { // else the next renewal tries again
		f.open(sent)
	}
}

func (f *Lease) open(sent time.Time) {
	f.renewed, f.expired = sent, false
	if f.Resumed != nil {
		go f.Resumed()
	}
}

// Guard puts the fence around everything that a config reaches.
func (f *Lease) Guard(cfg *rest.Config) {
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return guard.Guard(next, f) })
	plain := guard.Dial(cfg.Dial)
	if plain == nil {
		plain = (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	cfg.Dial = guard.GuardDial(plain, f)
}

// lock is the lease, as leader election sees it; the fence hears of each renewal, and of everything that
// speaks of another holder. Leader election calls it from one goroutine.
type lock struct {
	resourcelock.Interface
	fence    *Lease
	duration time.Duration
	// transitions is the count of changes of the holder when this process became it.
	transitions int
}

func NewLock(cfg *rest.Config, namespace, name, identity string, duration time.Duration, f *Lease) (resourcelock.Interface, error) {
	l, err := resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, namespace, name,
		resourcelock.ResourceLockConfig{Identity: identity}, cfg, requestTimeout)
	if err != nil {
		return nil, fmt.Errorf("cannot set up the lease: %w", err)
	}
	return &lock{Interface: l, fence: f, duration: duration}, nil
}

// Get implements resourcelock.Interface. A process that has led loses the lease when its record shows
// that another process has, or had.
func (l *lock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	r, raw, err := l.Interface.Get(ctx)
	led, expired := l.fence.led()
	switch {
	case !led:
	case err == nil && (r.HolderIdentity != l.Identity() || r.LeaderTransitions != l.transitions) && (expired || r.HolderIdentity != ""),
		expired && apierrors.IsNotFound(err):
		l.fence.lose()
	}
	return r, raw, err //nolint:wrapcheck // leader election looks at it
}

// Create implements resourcelock.Interface.
func (l *lock) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	if led, expired := l.fence.led(); led && expired {
		l.fence.lose() // it was deleted, and what happened since is not known
		return ErrLost
	}
	//nolint:contextcheck // what is confirmed after a renewal has its own time
	return l.write(r, func(r resourcelock.LeaderElectionRecord) error { return l.Interface.Create(ctx, r) })
}

// Update implements resourcelock.Interface. It fails when the record was written since this
// process read or wrote it.
func (l *lock) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	//nolint:contextcheck // see Create
	return l.write(r, func(r resourcelock.LeaderElectionRecord) error { return l.Interface.Update(ctx, r) })
}

func (l *lock) write(r resourcelock.LeaderElectionRecord, send func(resourcelock.LeaderElectionRecord) error) error {
	if err := l.fence.Lost(); errors.Is(err, ErrLost) {
		return err // another process may have it
	}
	ours := r.HolderIdentity == l.Identity()
	if ours {
		r.LeaseDurationSeconds = int(l.duration / time.Second)
	}
	sent := l.fence.Now()
	if err := send(r); err != nil {
		return err
	}
	if ours {
		l.transitions = r.LeaderTransitions
		l.fence.renew(sent)
	}
	return nil
}
