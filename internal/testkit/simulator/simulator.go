// Package simulator runs the program of the simulated edges (e2e/fleetsim), which is a Go module of its
// own: what it is built with is no dependency of the product.
package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// Fleet is the process of the simulated edges.
type Fleet struct {
	process *rig.Process
	control string
}

// Build compiles the simulator into a folder and returns the program.
func Build(ctx context.Context, dir string) (string, error) {
	root, err := rig.Root()
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "fleetsim")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd")
	build.Dir = filepath.Join(root, "e2e", "fleetsim")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the simulator: %w\n%s", err, out)
	}
	return program, nil
}

// Start starts a number of edges, whose kubeconfigs the program writes to dir.
func Start(ctx context.Context, program, dir string, edges int) (*Fleet, error) {
	log := dir + ".log"
	p, err := rig.Start(log, program, "--edges", fmt.Sprint(edges), "--dir", dir)
	if err != nil {
		return nil, err
	}
	f := &Fleet{process: p}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		// The first line of its output comes when all edges answer, and names its control endpoint.
		raw, _ := os.ReadFile(log)
		if line, _, whole := bytes.Cut(raw, []byte("\n")); whole {
			var first struct{ Control string }
			if err := json.Unmarshal(line, &first); err != nil {
				return nil, errors.Join(fmt.Errorf("the simulator begins with %q", line), f.Stop())
			}
			f.control = first.Control
			return f, nil
		}
		select {
		case <-p.Done():
			return nil, fmt.Errorf("the simulator ended:\n%s", p.Tail(10))
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("the simulator does not start: %w", ctx.Err()), f.Stop())
		case <-tick.C:
		}
	}
}

// Stop ends the process.
func (f *Fleet) Stop() error { return f.process.Stop(5 * time.Second) }

// Usage returns what the process has used.
func (f *Fleet) Usage() (rig.Usage, error) { return f.process.Usage() }

// ask sends a request to the control endpoint and decodes the answer, if out is not nil.
func (f *Fleet) ask(ctx context.Context, method, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, f.control+path, http.NoBody)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("simulator, %s %s: %s", method, path, body)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(body, out)
}

// Counters returns what all edges together have counted.
func (f *Fleet) Counters(ctx context.Context) (Counters, error) {
	var c Counters
	err := f.ask(ctx, http.MethodGet, "/edges/all/counters", &c)
	return c, err
}

// ForgetWrites empties the lists that Writes returns: of some edges: "all", "7" or "3-9".
func (f *Fleet) ForgetWrites(ctx context.Context, edges string) error {
	return f.ask(ctx, http.MethodDelete, "/edges/"+edges+"/writes", nil)
}

// Writes returns the writes since they were forgotten, by the name of the edge, of some edges:
// "all", "7" or "3-9".
func (f *Fleet) Writes(ctx context.Context, edges string) (map[string][]Write, error) {
	all := map[string][]Write{}
	err := f.ask(ctx, http.MethodGet, "/edges/"+edges+"/writes", &all)
	return all, err
}

// Drop lets the edges from first to last answer nothing at all, as if packets were dropped. Restore ends
// that for all edges.
func (f *Fleet) Drop(ctx context.Context, first, last int) error {
	query := url.Values{"kind": {"dropped"}}
	return f.ask(ctx, http.MethodPut, fmt.Sprintf("/edges/%d-%d/fault?%s", first, last, query.Encode()), nil)
}

// Restore takes the faults of all edges away.
func (f *Fleet) Restore(ctx context.Context) error {
	return f.ask(ctx, http.MethodDelete, "/edges/all/fault", nil)
}

// Err returns an error when the simulator itself went wrong or is gone.
func (f *Fleet) Err(ctx context.Context) error {
	select {
	case <-f.process.Done():
		return fmt.Errorf("the simulator ended:\n%s", f.process.Tail(10))
	default:
	}
	_, err := f.Counters(ctx)
	return err
}
