// Package profile takes profiles of a hub, of its API server and of the benchmark while that measures.
package profile

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// Profiler takes profiles of one rig. The zero value takes none.
type Profiler struct {
	dir      string
	rig      *rig.Rig
	progress func(format string, args ...any)
	targets  []target // the hub, and its API server
}

// target is a process that is profiled.
type target struct {
	name   string
	url    string // with a slash at the end
	client *http.Client
}

// HubArgs returns what the hub has to be started with so that it can be profiled, and the address at which it is.
func HubArgs() (args []string, address string, err error) {
	if address, err = rig.FreeAddress(); err != nil {
		return nil, "", err
	}
	return []string{"--pprof-bind-address", address}, address, nil
}

// New returns a Profiler that writes to a folder, which it makes. The rig was made with HubProfile, and its hub serves
// profiles at the address.
func New(dir string, r *rig.Rig, address string, progress func(format string, args ...any)) (Profiler, error) {
	config := r.HubCluster.RESTConfig()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return Profiler{}, err
	}
	targets := []target{{"hub", "http://" + address + "/debug/pprof/", http.DefaultClient}, {"api", config.Host + "/debug/pprof/", client}}
	return Profiler{dir, r, progress, targets}, os.MkdirAll(dir, 0o755)
}

// Start takes profiles until it is stopped, in files that begin with the name of what is measured: processor time in
// slices, and at the end memory and what the metrics show.
func (p Profiler) Start(ctx context.Context, name string) (stop func()) {
	if p.dir == "" {
		return func() {}
	}
	sampling, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	const slice = 15
	for _, t := range p.targets {
		done.Go(func() {
			for sampling.Err() == nil {
				if err := p.fetch(sampling, t, fmt.Sprintf("profile?seconds=%d", slice), fmt.Sprintf("%s-%s-cpu-%s.pb.gz", name, t.name, time.Now().Format("150405"))); err != nil {
					p.pause(sampling)
				}
			}
		})
	}
	p.metrics(ctx, name, "before")
	endSelf := p.self(name)
	return func() {
		cancel()
		done.Wait()
		endSelf()
		p.metrics(ctx, name, "after")
		p.memory(ctx, name)
	}
}

// self takes a profile of the processor time of the benchmark's own process.
func (p Profiler) self(name string) (stop func()) {
	to, err := os.Create(filepath.Join(p.dir, name+"-benchmark-cpu.pb.gz"))
	if err == nil {
		err = pprof.StartCPUProfile(to)
	}
	if err != nil {
		p.progress("no profile of the benchmark: %v", err)
		return func() {}
	}
	return func() {
		pprof.StopCPUProfile()
		_ = to.Close() // it is for people, and cut off at the worst
	}
}

// pause waits for a second.
func (p Profiler) pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Second):
	}
}

// metrics keeps those of the API server.
func (p Profiler) metrics(ctx context.Context, name, when string) {
	api := p.targets[1]
	api.url = p.rig.HubCluster.RESTConfig().Host + "/"
	if err := p.fetch(ctx, api, "metrics", fmt.Sprintf("%s-api-metrics-%s.txt", name, when)); err != nil {
		p.progress("no metrics of the API server: %v", err)
	}
}

// memory keeps what shows the memory of the hub, and its metrics.
func (p Profiler) memory(ctx context.Context, name string) {
	for what, file := range map[string]string{"heap": "heap.pb.gz", "goroutine": "goroutine.pb.gz", "heap?debug=1": "memstats.txt"} {
		if err := p.fetch(ctx, p.targets[0], what, fmt.Sprintf("%s-hub-%s", name, file)); err != nil {
			p.progress("no profile of %s: %v", what, err)
		}
	}
	if text, err := p.rig.Hub.Metrics(ctx); err == nil {
		_ = os.WriteFile(filepath.Join(p.dir, fmt.Sprintf("%s-hub-metrics.txt", name)), []byte(text), 0o644)
	}
}

func (p Profiler) fetch(ctx context.Context, t target, what, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url+what, nil)
	if err != nil {
		return err
	}
	res, err := t.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s", res.Status)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.dir, file), raw, 0o644)
}
