package fleetsim

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/labels"
)

// Options of a Fleet.
type Options struct {
	// Edges is how many there are.
	Edges int
	// Dir gets a file edge-0000.kubeconfig and so on for each edge; empty: none.
	Dir string
}

// Fleet is a number of simulated clusters.
type Fleet struct {
	Edges []*Edge

	epoch       time.Time
	seed        uint64
	tls         *tls.Config
	authority   string // certificate as PEM in base64
	kinds       *builtins
	documents   map[string][]byte // of discovery, by path
	allGroups   func() []byte     // of aggregated discovery
	defined     defined
	transitions *transitions
	selectors   sync.Map // string → labels.Selector
	running     sync.WaitGroup
	cancel      context.CancelFunc

	mu     sync.Mutex
	broken error
}

// Start brings up the fleet. It runs until ctx is done, or until Stop.
func Start(ctx context.Context, o Options) (*Fleet, error) {
	f, err := newFleet()
	if err != nil {
		return nil, err
	}
	ctx, f.cancel = context.WithCancel(ctx)
	for i := range o.Edges {
		e := newEdge(f, i)
		if err := e.listen("127.0.0.1:0"); err != nil {
			f.halt()
			return nil, err
		}
		f.Edges = append(f.Edges, e)
	}
	f.running.Go(func() {
		f.tick(ctx)
		f.halt()
	})
	if err := f.writeKubeconfigs(o.Dir); err != nil {
		f.Stop()
		return nil, err
	}
	return f, nil
}

func newFleet() (*Fleet, error) {
	f := &Fleet{epoch: time.Now().UTC().Truncate(time.Second), transitions: newTransitions(), documents: map[string][]byte{}}
	var seed [8]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, fmt.Errorf("cannot make a seed: %w", err)
	}
	f.seed = binary.LittleEndian.Uint64(seed[:])
	var authority []byte
	var err error
	if f.tls, authority, err = serverTLS(); err != nil {
		return nil, err
	}
	f.authority = base64.StdEncoding.EncodeToString(authority)
	if f.kinds, err = newBuiltins(); err != nil {
		return nil, err
	}
	for path, resources := range f.kinds.versions {
		var all []*kind
		for _, k := range resources {
			all = append(all, k)
		}
		f.documents[path] = resourceList(all)
	}
	f.allGroups = sync.OnceValue(func() []byte { return discoveryList(f.kinds.grouped()) })
	return f, nil
}

func (f *Fleet) writeKubeconfigs(dir string) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the folder of kubeconfigs: %w", err)
	}
	for _, e := range f.Edges {
		if err := os.WriteFile(filepath.Join(dir, e.Name+".kubeconfig"), e.Kubeconfig(), 0o600); err != nil {
			return fmt.Errorf("cannot write kubeconfig: %w", err)
		}
	}
	return nil
}

// Stop ends the fleet and returns when nothing of it runs any more.
func (f *Fleet) Stop() {
	f.cancel()
	f.running.Wait()
}

func (f *Fleet) halt() {
	for _, e := range f.Edges {
		if err := e.SetFault(Fault{}); err != nil {
			f.fault(err)
		}
		e.shut()
	}
}

// Counters returns what all edges have counted.
func (f *Fleet) Counters() Counters { return Sum(f.Edges) }

// Sum returns what some edges have counted.
func Sum(edges []*Edge) Counters {
	c := Counters{Requests: map[string]int64{}}
	for _, e := range edges {
		c.add(e.Counters())
	}
	return c
}

// Err returns what went wrong in the simulation itself, nil when nothing did.
func (f *Fleet) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.broken
}

func (f *Fleet) fault(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = errors.Join(f.broken, err)
}

// seconds since the fleet began.
func (f *Fleet) seconds() uint32 { return uint32(time.Since(f.epoch) / time.Second) }

// tick keeps the clock of all watches.
func (f *Fleet) tick(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			for _, e := range f.Edges {
				e.tick(now)
			}
		}
	}
}

// selector parses a label selector once for all edges.
func (f *Fleet) selector(s string) (labels.Selector, error) {
	if known, ok := f.selectors.Load(s); ok {
		return known.(labels.Selector), nil
	}
	parsed, err := labels.Parse(s)
	if err != nil {
		return nil, err
	}
	f.selectors.Store(s, parsed)
	return parsed, nil
}
