package render

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/skerry-dev/skerry/internal/lru"
	"github.com/skerry-dev/skerry/internal/recovery"
	"github.com/skerry-dev/skerry/internal/tree"
)

// Cache renders each distinct input once, however many clusters and callers ask for it, at the same
// time or later, and remembers results, failures included, up to a number of bytes. Distinct means
// by what is read: a commit that touches nothing that a Kustomization reads is no new input for it,
// and two clusters whose variables differ only in what no object refers to share one result.
//
// A Cache is safe for concurrent use.
type Cache struct {
	// Isolate runs the renders whose need of memory or time is not bounded by the size of their input; nil
	// runs them in this process. It must be set before the first Build.
	Isolate Isolate

	// DigestKey makes the digests of bundles that hold secrets (object.Bundle.KeyedDigest); nil makes plain
	// ones. It must be set before the first Build.
	DigestKey []byte

	slots chan struct{} // one for each render that may run in this process at a time

	mu     sync.Mutex
	begun  map[string]*entry          // that are not finished; guarded by mu
	recent *lru.Cache[string, *entry] // that are finished; guarded by mu
	stats  Stats                      // guarded by mu
}

// Stats counts since the Cache was made.
type Stats struct {
	// Renders is how often kustomize ran, Hits how often it did not have to.
	Renders, Hits uint64
	// Substitutions is how often a result was made from a render and variables.
	Substitutions uint64
	// Entries and Bytes are what is held now.
	Entries int
	Bytes   int64
}

// NewCache returns a Cache that holds at most about that many bytes.
func NewCache(maxBytes int64) *Cache {
	return &Cache{slots: make(chan struct{}, runtime.GOMAXPROCS(0)), begun: map[string]*entry{}, recent: lru.New[string, *entry](maxBytes)}
}

// Stats returns the counts of this moment.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Entries, s.Bytes = c.recent.Len(), c.recent.Size()
	return s
}

// Build is the function of that name, with what the Cache remembers. A render that one caller gave
// up on goes on, and serves the next.
func (c *Cache) Build(ctx context.Context, t *tree.Tree, o Options) (*Result, error) {
	dir, failed := o.directory()
	if failed != nil {
		return nil, failed
	}
	vars, secret, failed := o.variables()
	if failed != nil {
		return nil, failed
	}
	r, key, err := c.render(ctx, t, o, dir)
	if err != nil {
		return nil, err
	}
	key, failed = variableKey(r, vars, secret, key)
	if failed != nil {
		failed.locate(t, o, dir)
		return nil, failed
	}
	made, _, err := c.do(ctx, key, func() (any, int64, *Error) {
		c.count(&c.stats.Substitutions)
		c.slots <- struct{}{}
		made, err := func() (*Result, *Error) {
			defer func() { <-c.slots }()
			return assemble(r, o, vars, secret, c.DigestKey)
		}()
		if err != nil {
			err.locate(t, o, dir)
			return nil, 0, err
		}
		made.Path = dir
		return made, int64(made.Bundle.Size()), nil
	})
	if err != nil {
		return nil, err
	}
	return made.(*Result), nil
}

// render returns what kustomize makes of a directory, and the key of its input.
func (c *Cache) render(ctx context.Context, t *tree.Tree, o Options, dir string) (*rendered, string, error) {
	// The same tree and options need not even be looked through again.
	input := hash("asked", []byte(t.Digest()), o.kustomizeKey(dir))
	var found *closure
	v, _, err := c.do(ctx, input, func() (any, int64, *Error) {
		fresh, err := collect(t, o, dir)
		if err != nil {
			return nil, 0, err
		}
		found = fresh
		rest := o
		rest.Ignore = "" // it has decided what is in the closure, and nothing else
		common := rest.kustomizeKey("")
		return hash("render", []byte(dir), []byte(fresh.key()), common), 0, nil
	})
	if err != nil {
		return nil, "", err
	}
	key := v.(string)
	v, hit, err := c.do(ctx, key, func() (any, int64, *Error) {
		c.count(&c.stats.Renders)
		input := found
		if input == nil {
			var err *Error
			if input, err = collect(t, o, dir); err != nil {
				return nil, 0, err
			}
		}
		r, err := c.renderInput(key, input, o.CommonMetadata)
		if err != nil {
			return nil, 0, err
		}
		return r, r.size(), nil
	})
	if hit {
		c.count(&c.stats.Hits)
	}
	if err != nil {
		return nil, "", err
	}
	return v.(*rendered), key, nil
}

// renderInput renders a closure where it is to be rendered. A render in a process of its own takes no
// place of those in this one: however long it takes, it holds up no other.
func (c *Cache) renderInput(key string, input *closure, common CommonMetadata) (*rendered, *Error) {
	r, err := c.renderPlaced(key, input, common)
	if err == nil {
		r.decrypted, r.marked = len(input.opened) > 0, input.marked
	}
	return r, err
}

func (c *Cache) renderPlaced(key string, input *closure, common CommonMetadata) (*rendered, *Error) {
	if c.Isolate != nil && (input.weight.isLarge() || input.weight.isUnbounded()) {
		return c.renderIsolated(key, input, common)
	}
	c.slots <- struct{}{}
	defer func() { <-c.slots }()
	return render(input, common)
}

// size is about how many bytes a render holds.
func (r *rendered) size() int64 {
	var n int64
	for _, o := range r.objects {
		n += int64(len(o.Body)) + 200
	}
	for _, t := range r.templates {
		n += 8 * int64(len(t.raw)) // the text, and it parsed
	}
	return n
}

// variableKey names a result: the render, and the values of those variables that it refers to, with
// whether they may be shown.
func variableKey(r *rendered, vars map[string]string, secret map[string]bool, key string) (string, *Error) {
	if vars == nil {
		return hash("plain", []byte(key)), nil
	}
	p, err := r.compile()
	if err != nil {
		return "", err
	}
	fields := [][]byte{[]byte(key)}
	for _, name := range p.names {
		value, ok := vars[name]
		fields = append(fields, fmt.Appendf(nil, "%s=%t,%t", name, ok, secret[name]), []byte(value))
	}
	return hash("substituted", fields...), nil
}

// hash returns a key of fields that no other fields have.
func hash(kind string, fields ...[]byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", kind)
	for _, field := range fields {
		fmt.Fprintf(h, "%d\n", len(field))
		h.Write(field)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (c *Cache) count(n *uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*n++
}

// entry is one remembered answer. Its fields are written before done is closed.
type entry struct {
	key   string
	done  chan struct{}
	value any
	err   *Error
	size  int64
}

// do returns what compute gives for a key, and whether it was there or on its way already. compute
// is called without a lock, on a goroutine of its own, which the context does not end: it ends when
// compute returns.
func (c *Cache) do(ctx context.Context, key string, compute computation) (value any, hit bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, ended(err)
	}
	e, hit := c.get(key, compute)
	select {
	case <-e.done:
	case <-ctx.Done():
		return nil, hit, ended(ctx.Err())
	}
	if e.err != nil {
		failed := *e.err // a copy: the caller may change it
		failed.Path, failed.Message = printable(failed.Path), printable(failed.Message)
		return nil, hit, &failed
	}
	return e.value, hit, nil
}

// computation makes an answer; size is about how many bytes it holds.
type computation func() (value any, size int64, err *Error)

func ended(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return errorf(Timeout, "not done in time")
	}
	return fmt.Errorf("cannot render: %w", err)
}

// get returns the entry of a key, and begins to compute it if it is new.
func (c *Cache) get(key string, compute computation) (e *entry, hit bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.begun[key]; ok {
		return e, true
	}
	if e, ok := c.recent.Get(key); ok {
		return e, true
	}
	e = &entry{key: key, done: make(chan struct{})}
	c.begun[key] = e
	go c.fill(e, compute)
	return e, false
}

func (c *Cache) fill(e *entry, compute computation) {
	defer close(e.done)
	defer c.keep(e)
	defer func() {
		if value := recover(); value != nil {
			e.value, e.err = nil, panicked(recovery.Recovered(value))
		}
	}()
	e.value, e.size, e.err = compute()
}

// keep remembers a finished entry, and forgets those not used for the longest time.
func (c *Cache) keep(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.begun, e.key)
	if e.err != nil && (e.err.transient || e.err.Cause != nil) {
		return
	}
	e.size += int64(len(e.key)) + 300
	c.recent.Put(e.key, e, e.size)
}
