// Package gitserver runs real Git servers on the loopback interface, for tests, the demo and the
// benchmarks: git http-backend behind net/http, and git-upload-pack and git-receive-pack behind an
// SSH server. It promises that the Git binary never sees the configuration of the user who runs it.
//
// A Host holds bare repositories; any number of HTTP and SSH servers serve them, each of which can
// be stopped and started again on its port, and told to fail in a chosen way (see Fault).
package gitserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Host is a folder of bare repositories and the servers that serve it. It is safe for concurrent use.
type Host struct {
	dir     string
	backend string

	mu      sync.Mutex
	closers []func() error
}

// execPath is where Git has its programs.
var execPath = sync.OnceValues(func() (string, error) { return run(context.Background(), "", nil, "--exec-path") })

// NewHost returns a host whose bare repositories lie in dir, which exists.
func NewHost(dir string) (*Host, error) {
	out, err := execPath()
	if err != nil {
		return nil, fmt.Errorf("cannot find git http-backend: %w", err)
	}
	backend := filepath.Join(strings.TrimSpace(out), "git-http-backend")
	if _, err := os.Stat(backend); err != nil {
		return nil, fmt.Errorf("cannot find git http-backend: %w", err)
	}
	return &Host{dir: dir, backend: backend}, nil
}

// TB is what New needs of a *testing.T or *testing.B.
type TB interface {
	Helper()
	TempDir() string
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// New returns a host in a temporary folder of the test; its servers stop when the test ends.
func New(t TB) *Host {
	t.Helper()
	h, err := NewHost(t.TempDir())
	if err != nil {
		t.Fatalf("cannot start a Git host: %v", err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// Close stops every server of the host. The repositories stay.
func (h *Host) Close() error {
	h.mu.Lock()
	closers := h.closers
	h.closers = nil
	h.mu.Unlock()
	var errs []error
	for _, stop := range closers {
		errs = append(errs, stop())
	}
	return errors.Join(errs...)
}

func (h *Host) onClose(stop func() error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closers = append(h.closers, stop)
}

// Env is the environment in which the package runs git, and in which a demo should: no user or
// system configuration, no prompt, a fixed author.
func Env() []string {
	env := []string{
		"GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Skerry", "GIT_AUTHOR_EMAIL=skerry@example.com",
		"GIT_COMMITTER_NAME=Skerry", "GIT_COMMITTER_EMAIL=skerry@example.com",
		"LC_ALL=C",
	}
	for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// run runs git in dir with stdin and returns its standard output.
func run(ctx context.Context, dir string, stdin []byte, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Env = dir, Env()
	cmd.Stdin = strings.NewReader(string(stdin))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}
