package git

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/skerry-dev/skerry/internal/recovery"
)

// flights shares one fetch among all callers that ask for the same thing at the same time.
type flights struct {
	mu      sync.Mutex
	running map[flightKey]*flight
}

// flightKey is a Request in a form that can be compared.
type flightKey struct {
	key, url  string
	reference Reference
	auth      [sha256.Size]byte
	timeout   time.Duration
	known     string
	verify    verificationKey
	modules   bool
	sparse    string
	forward   Forward
}

type flight struct {
	done    chan struct{}
	cancel  context.CancelFunc
	waiters int
	commit  Commit
	err     error
}

// do runs fn once for all callers with that key before it returns. A caller that gives up leaves the
// others waiting; fn is cancelled when the last one has given up.
func (f *flights) do(ctx context.Context, key flightKey, fn func(context.Context) (Commit, error)) (Commit, error) {
	f.mu.Lock()
	fl, ok := f.running[key]
	if !ok {
		running, cancel := context.WithCancel(context.WithoutCancel(ctx))
		fl = &flight{done: make(chan struct{}), cancel: cancel}
		if f.running == nil {
			f.running = map[flightKey]*flight{}
		}
		f.running[key] = fl
		go func() {
			fl.err = recovery.Run(func() (err error) {
				fl.commit, err = fn(running)
				return err
			})
			cancel()
			f.leave(key, fl)
			close(fl.done)
		}()
	}
	fl.waiters++
	f.mu.Unlock()

	select {
	case <-fl.done:
		return fl.commit, fl.err
	case <-ctx.Done():
		f.mu.Lock()
		fl.waiters--
		last := fl.waiters == 0
		f.mu.Unlock()
		if last {
			f.leave(key, fl)
			fl.cancel()
		}
		return Commit{}, ctx.Err()
	}
}

// leave makes the next call with that key start anew.
func (f *flights) leave(key flightKey, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running[key] == fl {
		delete(f.running, key)
	}
}
