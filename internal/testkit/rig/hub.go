package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/skerry-dev/skerry/internal/sleep"
)

// stopGrace is how long a hub may take to stop: it promises five seconds.
const stopGrace = 6 * time.Second

var errEnded = errors.New("its process is gone")

// HubOptions say how to run a hub.
type HubOptions struct {
	// Kubeconfig is the file by which the hub reaches its own cluster.
	Kubeconfig string
	// Dir holds the hub's storage and log, and exists.
	Dir string
	// Args are appended to the command line.
	Args []string
}

// Hub is bin/skerry-hub as a process. It is not safe for concurrent use.
type Hub struct {
	options HubOptions
	process *Process
	health  string
	metrics string
}

// NewHub returns a hub that is not running.
func NewHub(options HubOptions) *Hub { return &Hub{options: options} }

// LogFile is the file that the hub writes its log to.
func (h *Hub) LogFile() string { return filepath.Join(h.options.Dir, "hub.log") }

// LogTail returns the last lines of the log.
func (h *Hub) LogTail(lines int) string { return tail(h.LogFile(), lines) }

// Storage is the folder that the hub keeps its files in.
func (h *Hub) Storage() string { return filepath.Join(h.options.Dir, "storage") }

// Wipe removes the storage of a hub that does not run, as the loss of its volume does.
func (h *Hub) Wipe() error {
	if h.Running() {
		return errors.New("the hub is running")
	}
	return os.RemoveAll(h.Storage())
}

// Running reports whether the process is there.
func (h *Hub) Running() bool {
	if h.process == nil {
		return false
	}
	select {
	case <-h.process.done:
		return false
	default:
		return true
	}
}

// Start runs the hub, with more arguments if there are any, and returns when it is ready.
func (h *Hub) Start(ctx context.Context, more ...string) error {
	if h.Running() {
		return nil
	}
	program, err := Binary("skerry-hub")
	if err != nil {
		return err
	}
	if h.health, err = FreeAddress(); err != nil {
		return err
	}
	if h.metrics, err = FreeAddress(); err != nil {
		return err
	}
	storage := h.Storage()
	if err := os.MkdirAll(storage, 0o700); err != nil {
		return err
	}
	args := append([]string{
		"--kubeconfig", h.options.Kubeconfig,
		"--storage-path", storage,
		"--health-probe-bind-address", h.health,
		"--metrics-bind-address", h.metrics,
	}, h.options.Args...)
	args = append(args, more...)
	if h.process, err = Start(h.LogFile(), program, args...); err != nil {
		return err
	}
	return h.awaitReady(ctx)
}

// awaitReady asks /readyz, which a process has no other way to tell, every 20 ms.
func (h *Hub) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		if _, err := get(ctx, "http://"+h.health+"/readyz"); err == nil {
			return nil
		}
		select {
		case <-h.process.done:
			return fmt.Errorf("the hub ended: %w\n%s", errors.Join(errEnded, h.process.err), h.LogTail(20))
		default:
		}
		if sleep.For(ctx, 20*time.Millisecond) != nil {
			return fmt.Errorf("the hub is not ready: %w\n%s", ctx.Err(), h.LogTail(20))
		}
	}
}

// Stop ends the hub as an orchestrator does. That it takes longer than it promises is an error.
func (h *Hub) Stop() error {
	if !h.Running() {
		return nil
	}
	if err := h.process.Stop(stopGrace); err != nil {
		return fmt.Errorf("cannot stop the hub: %w", err)
	}
	return nil
}

// Kill ends the hub at once, wherever it is.
func (h *Hub) Kill() {
	if h.Running() {
		h.process.kill()
	}
}

// Usage is what the hub's process has used.
func (h *Hub) Usage() (Usage, error) { return h.process.Usage() }

// PID is the process ID of the hub, which has been started.
func (h *Hub) PID() int { return h.process.cmd.Process.Pid }

// Metrics returns the hub's metrics in Prometheus's text format.
func (h *Hub) Metrics(ctx context.Context) (string, error) {
	return get(ctx, "http://"+h.metrics+"/metrics")
}

func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, res.Status)
	}
	return string(body), err
}
