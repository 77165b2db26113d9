package main

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

	"github.com/skerry-dev/skerry/e2e/fleetsim"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// sim is the process of the simulated edges.
type sim struct {
	process *rig.Process
	control string
}

// buildSim compiles the simulator, which nothing else needs, into a folder of its own.
func buildSim(ctx context.Context) (program string, remove func(), err error) {
	rig.SweepDirs(os.TempDir(), dirPrefix)
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", dirPrefix, os.Getpid()))
	if err != nil {
		return "", nil, err
	}
	program = filepath.Join(dir, "fleetsim")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/skerry-dev/skerry/e2e/fleetsim/cmd")
	if out, err := build.CombinedOutput(); err != nil {
		return "", nil, errors.Join(fmt.Errorf("cannot build the simulator: %w\n%s", err, out), os.RemoveAll(dir))
	}
	return program, func() { _ = os.RemoveAll(dir) }, nil
}

// startSim starts so many edges, whose kubeconfigs it writes to dir.
func startSim(ctx context.Context, program, dir string, edges int) (*sim, error) {
	log := dir + ".log"
	p, err := rig.Start(log, program, "--edges", fmt.Sprint(edges), "--dir", dir)
	if err != nil {
		return nil, err
	}
	s := &sim{process: p}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		// Its first line says that all edges answer, and where it listens.
		raw, _ := os.ReadFile(log)
		if line, _, whole := bytes.Cut(raw, []byte("\n")); whole {
			var said struct{ Control string }
			if err := json.Unmarshal(line, &said); err != nil {
				s.stop()
				return nil, fmt.Errorf("the simulator says %q", line)
			}
			s.control = said.Control
			return s, nil
		}
		select {
		case <-p.Done():
			return nil, fmt.Errorf("the simulator ended:\n%s", p.Tail(10))
		default:
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			s.stop()
			return nil, fmt.Errorf("the simulator does not start: %w", err)
		}
	}
}

func (s *sim) stop() { _ = s.process.Stop(5 * time.Second) } // it has nothing to lose

// ask sends a request to the control endpoint and decodes the answer, if out is not nil.
func (s *sim) ask(ctx context.Context, method, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, s.control+path, http.NoBody)
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

// counters are those of all edges together.
func (s *sim) counters(ctx context.Context) (fleetsim.Counters, error) {
	var c fleetsim.Counters
	err := s.ask(ctx, http.MethodGet, "/edges/all/counters", &c)
	return c, err
}

func (s *sim) forgetWrites(ctx context.Context) error {
	return s.ask(ctx, http.MethodDelete, "/edges/all/writes", nil)
}

// writes are those since they were forgotten, by the name of the edge.
func (s *sim) writes(ctx context.Context) (map[string][]fleetsim.Write, error) {
	all := map[string][]fleetsim.Write{}
	err := s.ask(ctx, http.MethodGet, "/edges/all/writes", &all)
	return all, err
}

// drop lets the edges from first to last fall into a black hole, and restore takes them all out.
func (s *sim) drop(ctx context.Context, first, last int) error {
	query := url.Values{"kind": {string(fleetsim.Dropped)}}
	return s.ask(ctx, http.MethodPut, fmt.Sprintf("/edges/%d-%d/fault?%s", first, last, query.Encode()), nil)
}

func (s *sim) restore(ctx context.Context) error {
	return s.ask(ctx, http.MethodDelete, "/edges/all/fault", nil)
}

// broken returns an error when the simulator itself went wrong or is gone.
func (s *sim) broken(ctx context.Context) error {
	select {
	case <-s.process.Done():
		return fmt.Errorf("the simulator ended:\n%s", s.process.Tail(10))
	default:
	}
	_, err := s.counters(ctx)
	return err
}
