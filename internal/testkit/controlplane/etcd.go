package controlplane

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Etcd is one etcd server. Clusters that share it see nothing of each other,
// but their resource versions come from one counter.
type Etcd struct {
	dir     string
	url     string
	ports   [2]*port
	process *process
	again   func(context.Context) error // starts a kine
}

// StartEtcd starts an etcd that keeps its data below dir and returns when it
// serves. ctx bounds the start; the server runs until Stop.
//
// Nothing is synced to disk: what is written survives the process, and not the
// machine.
func StartEtcd(ctx context.Context, dir string) (*Etcd, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot start etcd: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot start etcd: %w", err)
	}
	e := &Etcd{dir: dir}
	err = retryTakenPort(func() (*process, error) {
		if err := e.start(); err != nil {
			return nil, err
		}
		return e.process, e.ready(ctx)
	})
	if err != nil {
		e.Stop()
		return nil, err
	}
	return e, nil
}

// Stop ends etcd. Clusters on it must have been stopped before. The data stays.
func (e *Etcd) Stop() {
	e.process.kill()
	for _, p := range e.ports {
		p.release()
	}
}

func (e *Etcd) start() error {
	binary, err := Binary()
	if err != nil {
		return err
	}
	for i := range e.ports {
		e.ports[i].release()
		if e.ports[i], err = reservePort(); err != nil {
			return err
		}
	}
	e.url = "http://" + e.ports[0].address()
	peer := "http://" + e.ports[1].address()
	e.process, err = launch(e.dir, "etcd", binary, "etcd",
		"--data-dir", filepath.Join(e.dir, "etcd.data"),
		"--listen-client-urls", e.url, "--advertise-client-urls", e.url,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--initial-cluster", "default="+peer,
		"--unsafe-no-fsync",
		"--log-level", "warn",
		// A watch of a quiet kind hears that nothing happened, and so does not
		// fall behind the compaction while other clusters move the revision.
		"--watch-progress-notify-interval", "5s",
	)
	return err
}

func (e *Etcd) ready(ctx context.Context) error {
	return e.process.until(ctx, func(ctx context.Context) error {
		return getOK(ctx, http.DefaultClient, e.url+"/readyz")
	})
}

// getOK succeeds if the answer to a GET is 200.
func getOK(ctx context.Context, client *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, response.Status)
	}
	return nil
}
