package hub

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

func TestTheFenceGoesByTheLease(t *testing.T) {
	now := time.Now()
	f := &fence{now: func() time.Time { return now }}
	if f.Leading() == nil || f.Lost() != nil {
		t.Fatal("before the lease: no writes, but reads")
	}
	f.renew(now)
	now = now.Add(leasePatience - time.Second)
	if f.Leading() != nil || f.Lost() != nil {
		t.Fatal("while it holds")
	}
	f.renew(now)
	now = now.Add(leasePatience + time.Millisecond)
	if !errors.Is(f.Leading(), errLeaseLost) || !errors.Is(f.Lost(), errLeaseLost) {
		t.Fatal("when it has not been renewed")
	}
	f.renew(now)
	if f.Leading() == nil {
		t.Error("what was lost comes back")
	}
}

// A machine that is stopped as a whole may stop its monotonic clock, too.
func TestTheFenceGoesByTheClockOnTheWall(t *testing.T) {
	now := time.Now()
	f := &fence{now: func() time.Time { return now }}
	f.renew(now.Round(0).Add(-time.Minute)) // without its monotonic reading
	if f.Leading() == nil {
		t.Error("a minute on the wall is too long")
	}
}

// seats is a lease that always goes well.
type seats struct{ resourcelock.Interface }

func (seats) Identity() string { return "me" }
func (seats) Update(context.Context, resourcelock.LeaderElectionRecord) error {
	return nil
}

func TestOnlyOurOwnRenewalCounts(t *testing.T) {
	now := time.Now()
	f := &fence{now: func() time.Time { return now }}
	l := &lock{seats{}, f}
	if err := l.Update(t.Context(), resourcelock.LeaderElectionRecord{}); err != nil || f.Leading() == nil {
		t.Error("giving the lease back is no renewal")
	}
	if err := l.Update(t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: "me"}); err != nil || f.Leading() != nil {
		t.Error("ours is")
	}
	now = now.Add(leaseDuration)
	if err := l.Update(t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: "me"}); !errors.Is(err, errLeaseLost) {
		t.Errorf("a renewal that comes too late: %v", err)
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
	f := &fence{now: func() time.Time { return *now.Load() }}
	cfg := &rest.Config{Host: server.URL}
	f.guard(cfg)
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
	if err := send(http.MethodPatch); !errors.Is(err, errNotLeading) {
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
		if err := send(method); !errors.Is(err, errLeaseLost) {
			t.Errorf("%s after the lease: %v", method, err)
		}
	}
	if n := requests.Load(); n != before {
		t.Errorf("%d requests after the lease", n-before)
	}
}
