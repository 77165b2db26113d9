package fence

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

const (
	leaseDuration = 15 * time.Second
	validity      = leaseDuration - Margin
)

func TestTheFenceGoesByTheLease(t *testing.T) {
	now := time.Now()
	f := &Lease{Now: func() time.Time { return now }, Validity: validity}
	if f.Leading() == nil || f.Lost() != nil {
		t.Fatal("before the lease: no writes, but reads")
	}
	f.renew(now)
	now = now.Add(validity - time.Second)
	if f.Leading() != nil || f.Lost() != nil {
		t.Fatal("while it holds")
	}
	f.renew(now)
	now = now.Add(validity + time.Millisecond)
	if !errors.Is(f.Leading(), ErrExpired) || !errors.Is(f.Lost(), ErrExpired) {
		t.Fatal("when it has not been renewed")
	}
	f.renew(now.Add(-validity - time.Second))
	if f.Leading() == nil {
		t.Error("a renewal that was confirmed too late counts")
	}
	f.renew(now)
	if f.Leading() != nil || f.Lost() != nil {
		t.Error("a lease that nobody else can have held does not come back")
	}
	f.lose()
	f.renew(now)
	if !errors.Is(f.Leading(), ErrLost) {
		t.Error("what was lost comes back")
	}
}

// A lease that had expired is not enough: another process may have taken Clusters meanwhile.
func TestTheFenceOpensWhenWhatIsHeldIsConfirmed(t *testing.T) {
	for name, tt := range map[string]struct {
		confirmed error
		leading   error
		ended     bool
	}{
		"all is as it was":          {nil, nil, false},
		"a Cluster was taken":       {fmt.Errorf("%w: edge-1", ErrLost), ErrLost, true},
		"that cannot be told (yet)": {errors.New("no answer"), ErrExpired, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				resumed, ended := false, false
				f := &Lease{
					Now: time.Now, Validity: validity, End: func() { ended = true }, Resumed: func() { resumed = true },
					Confirm: func(context.Context) error { return tt.confirmed },
				}
				f.renew(time.Now())
				time.Sleep(leaseDuration)
				f.renew(time.Now())
				synctest.Wait()
				if got := f.Leading(); !errors.Is(got, tt.leading) || ended != tt.ended || resumed != (tt.leading == nil) {
					t.Errorf("leading: %v, ended %v, resumed %v", got, ended, resumed)
				}
			})
		})
	}
}

// A machine that is stopped as a whole may stop its monotonic clock, too.
func TestTheFenceGoesByTheClockOnTheWall(t *testing.T) {
	now := time.Now()
	f := &Lease{Now: func() time.Time { return now }, Validity: validity}
	f.renew(now.Round(0).Add(-time.Minute)) // without its monotonic reading
	if f.Leading() == nil {
		t.Error("a minute on the wall is too long")
	}
}

// seat is a lease that always goes well.
type seat struct {
	resourcelock.Interface
	record  resourcelock.LeaderElectionRecord
	missing bool
}

func (*seat) Identity() string { return "me" }
func (s *seat) Update(_ context.Context, r resourcelock.LeaderElectionRecord) error {
	s.record = r
	return nil
}
func (s *seat) Create(_ context.Context, r resourcelock.LeaderElectionRecord) error {
	s.record, s.missing = r, false
	return nil
}
func (s *seat) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	if s.missing {
		return nil, nil, apierrors.NewNotFound(schema.GroupResource{Resource: "leases"}, "skerry-hub")
	}
	return &s.record, nil, nil
}

func ours(transitions int) resourcelock.LeaderElectionRecord {
	return resourcelock.LeaderElectionRecord{HolderIdentity: "me", LeaderTransitions: transitions, LeaseDurationSeconds: int(NeverGiveUp.Seconds())}
}

func TestOnlyOurOwnRenewalCounts(t *testing.T) {
	f := &Lease{Now: time.Now, Validity: validity}
	s := &seat{}
	l := &lock{Interface: s, fence: f, duration: leaseDuration}
	if err := l.Update(t.Context(), resourcelock.LeaderElectionRecord{LeaseDurationSeconds: 1}); err != nil || f.Leading() == nil || s.record.LeaseDurationSeconds != 1 {
		t.Error("giving the lease back is no renewal")
	}
	if err := l.Update(t.Context(), ours(3)); err != nil || f.Leading() != nil {
		t.Error("ours is")
	}
	if s.record.LeaseDurationSeconds != 15 {
		t.Errorf("others see a lease of %d s", s.record.LeaseDurationSeconds)
	}
}

// TestAnExpiredLeaseIsLostWhenAnybodyElseMayHaveHeldIt goes through what leader election finds when its
// API server is back.
func TestAnExpiredLeaseIsLostWhenAnybodyElseMayHaveHeldIt(t *testing.T) {
	for name, tt := range map[string]struct {
		find func(*seat)
		then func(context.Context, *lock) error // after the look
		want error
	}{
		"nobody has written to it":                {func(*seat) {}, func(ctx context.Context, l *lock) error { return l.Update(ctx, ours(3)) }, nil},
		"another one holds it":                    {func(s *seat) { s.record.HolderIdentity, s.record.LeaderTransitions = "other", 4 }, nil, ErrLost},
		"another one held it and we took it back": {func(s *seat) { s.record.LeaderTransitions = 5 }, nil, ErrLost},
		"another one held it and gave it back":    {func(s *seat) { s.record.HolderIdentity, s.record.LeaderTransitions = "", 4 }, nil, ErrLost},
		"it was deleted":                          {func(s *seat) { s.missing = true }, func(ctx context.Context, l *lock) error { _ = l.Create(ctx, ours(0)); return nil }, ErrLost},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			f := &Lease{Now: func() time.Time { return now }, Validity: validity}
			s := &seat{}
			l := &lock{Interface: s, fence: f, duration: leaseDuration}
			if err := l.Update(t.Context(), ours(3)); err != nil {
				t.Fatal(err)
			}
			now = now.Add(time.Hour)
			tt.find(s)
			_, _, _ = l.Get(t.Context())
			if tt.then != nil {
				if err := tt.then(t.Context(), l); err != nil {
					t.Error(err)
				}
			}
			if got := f.Leading(); !errors.Is(got, tt.want) {
				t.Errorf("%v, want %v", got, tt.want)
			}
			if tt.want != nil {
				if err := l.Update(t.Context(), ours(3)); !errors.Is(err, ErrLost) {
					t.Errorf("it is written to again: %v", err)
				}
			}
		})
	}
}

// Writes end at the fence, and once it is lost so does every byte on connections that are open.
func TestNothingPassesTheFence(t *testing.T) {
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		_, _ = io.WriteString(w, "{}")
	}))
	defer server.Close()
	var now atomic.Pointer[time.Time]
	begin := time.Now()
	now.Store(&begin)
	f := &Lease{Now: func() time.Time { return *now.Load() }, Validity: validity}
	cfg := &rest.Config{Host: server.URL}
	f.Guard(cfg)
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	send := func(method string) error {
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
		return err
	}
	if err := send(http.MethodPatch); !errors.Is(err, ErrNotLeading) {
		t.Errorf("a write before the lease: %v", err)
	}
	if err := send(http.MethodGet); err != nil {
		t.Errorf("a read before the lease: %v", err)
	}
	f.renew(begin)
	if err := send(http.MethodPatch); err != nil {
		t.Errorf("a write: %v", err)
	}
	before := requests.Load()
	late := begin.Add(leaseDuration)
	now.Store(&late)
	for _, method := range []string{http.MethodPatch, http.MethodGet} {
		if err := send(method); !errors.Is(err, ErrExpired) {
			t.Errorf("%s after the lease: %v", method, err)
		}
	}
	if n := requests.Load(); n != before {
		t.Errorf("%d requests after the lease", n-before)
	}
}
