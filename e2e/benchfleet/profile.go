package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// profiled is a process that is profiled: the hub, or its API server.
type profiled struct {
	name   string
	url    string // with a slash at the end
	client *http.Client
}

// profiledProcesses are those of which profiles are wanted.
func (w *world) profiledProcesses() ([]profiled, error) {
	if w.pprof == "" {
		return nil, nil
	}
	config := w.rig.HubCluster.RESTConfig()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return []profiled{{"hub", w.pprofURL, http.DefaultClient}, {"api", config.Host + "/debug/pprof/", client}}, os.MkdirAll(w.pprof, 0o755)
}

// profile takes profiles until it is stopped, if somebody wants them: processor time in slices, and at
// the end memory and what the metrics say.
func (w *world) profile(ctx context.Context, number int) (stop func(), err error) {
	processes, err := w.profiledProcesses()
	if err != nil || len(processes) == 0 {
		return func() {}, err
	}
	sampling, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	const slice = 15
	for _, p := range processes {
		done.Go(func() {
			for sampling.Err() == nil {
				if err := w.fetch(sampling, p, fmt.Sprintf("profile?seconds=%d", slice), fmt.Sprintf("%d-%s-cpu-%s.pb.gz", number, p.name, time.Now().Format("150405"))); err != nil {
					_ = pause(sampling, time.Second)
				}
			}
		})
	}
	metrics := func(when string) {
		api := processes[len(processes)-1]
		api.url = w.rig.HubCluster.RESTConfig().Host + "/"
		if err := w.fetch(ctx, api, "metrics", fmt.Sprintf("%d-api-metrics-%s.txt", number, when)); err != nil {
			w.progress("no metrics of the API server: %v", err)
		}
	}
	metrics("before")
	return func() {
		cancel()
		done.Wait()
		metrics("after")
		for what, file := range map[string]string{"heap": "heap.pb.gz", "goroutine": "goroutine.pb.gz", "heap?debug=1": "memstats.txt"} {
			if err := w.fetch(ctx, processes[0], what, fmt.Sprintf("%d-hub-%s", number, file)); err != nil {
				w.progress("no profile of %s: %v", what, err)
			}
		}
		if text, err := w.rig.Hub.Metrics(ctx); err == nil {
			_ = os.WriteFile(filepath.Join(w.pprof, fmt.Sprintf("%d-hub-metrics.txt", number)), []byte(text), 0o644)
		}
	}, nil
}

func (w *world) fetch(ctx context.Context, p profiled, what, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+what, nil)
	if err != nil {
		return err
	}
	res, err := p.client.Do(req)
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
	return os.WriteFile(filepath.Join(w.pprof, file), raw, 0o644)
}
