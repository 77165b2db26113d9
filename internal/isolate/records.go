package isolate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/skerry-dev/skerry/internal/pacing"
	"github.com/skerry-dev/skerry/internal/render"
)

// record describes what became of the last try of a render.
type record struct {
	Reason  render.Reason `json:"reason"`
	Message string        `json:"message"`
	// Attempts is how often it failed, one after the other.
	Attempts int `json:"attempts"`
	// Next is when it may be tried again.
	Next time.Time `json:"next"`
}

// A render that failed is tried again after a minute, and after twice as long each time it fails again.
const (
	firstWait = time.Minute
	lastWait  = time.Hour
	keepFor   = 24 * time.Hour
)

// records are files, one for each render that is under way or failed, so that they outlive a hub that is
// killed by one.
type records struct {
	dir string
	now func() time.Time

	mu    sync.Mutex
	known map[string]*record
}

var keyPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// openRecords reads what an earlier hub has left. What was under way then was interrupted.
func openRecords(dir string, now func() time.Time) (*records, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the folder of renders: %w", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot read the folder of renders: %w", err)
	}
	r := &records{dir: dir, now: now, known: map[string]*record{}}
	for _, f := range files {
		name := filepath.Join(dir, f.Name())
		made := &record{}
		data, err := os.ReadFile(name)
		if err != nil || !keyPattern.MatchString(f.Name()) || json.Unmarshal(data, made) != nil || now().Sub(made.Next) > keepFor {
			_ = os.Remove(name)
			continue
		}
		r.known[f.Name()] = made
	}
	return r, nil
}

// failure returns the error of a render that must not be tried yet, else nil.
func (r *records) failure(key string) *render.Error {
	last := r.get(key)
	if last == nil || !r.now().Before(last.Next) {
		return nil
	}
	return render.Transient(last.Reason, last.Message)
}

func (r *records) get(key string) *record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[key]
}

// begin records that a render starts, as one that was interrupted until it is said otherwise.
func (r *records) begin(key string) error {
	r.prune()
	return r.write(key, r.next(key, render.Timeout, "the hub ended while this was rendered, by which it may have been ended; it is tried again later, or when its input changes"))
}

// fail records that a render failed. begin has counted the attempt.
func (r *records) fail(key string, failed *render.Error) {
	made := *r.get(key)
	made.Reason, made.Message, made.Next = failed.Reason, failed.Message, r.now().Add(pacing.Backoff(made.Attempts, firstWait, lastWait))
	r.put(key, &made)
}

func (r *records) next(key string, reason render.Reason, message string) *record {
	attempts := 1
	if last := r.get(key); last != nil {
		attempts = last.Attempts + 1
	}
	return &record{Reason: reason, Message: message, Attempts: attempts, Next: r.now().Add(pacing.Backoff(attempts, firstWait, lastWait))}
}

// maxRecords is from how many records on those that hold nothing back any more are dropped.
const maxRecords = 1000

func (r *records) prune() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) < maxRecords {
		return
	}
	for key, made := range r.known {
		if made.Next.Before(r.now()) {
			delete(r.known, key)
			_ = os.Remove(filepath.Join(r.dir, key))
		}
	}
}

// put records an outcome; nil is that there is nothing to remember. A record that cannot be written
// holds for this process.
func (r *records) put(key string, made *record) { _ = r.write(key, made) }

func (r *records) write(key string, made *record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := filepath.Join(r.dir, filepath.Base(key))
	if made == nil {
		delete(r.known, key)
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove the record of a render: %w", err)
		}
		return nil
	}
	r.known[key] = made
	data, err := json.Marshal(made)
	if err != nil {
		return fmt.Errorf("cannot encode the record of a render: %w", err)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		return fmt.Errorf("cannot write the record of a render: %w", err)
	}
	return nil
}
