package rig

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// CLI is bin/skerry with the hub's kubeconfig in its environment.
type CLI struct {
	// Dir is the working directory of commands; that of this process when empty.
	Dir string

	program string
	env     []string
}

// NewCLI returns the CLI of a hub whose kubeconfig is in that file.
func NewCLI(kubeconfig string) (*CLI, error) {
	program, err := Binary("skerry")
	if err != nil {
		return nil, err
	}
	env := []string{"KUBECONFIG=" + kubeconfig, "NO_COLOR=1"}
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); name != "KUBECONFIG" && !strings.HasPrefix(name, "SKERRY_") {
			env = append(env, kv)
		}
	}
	return &CLI{program: program, env: env}, nil
}

// Result is how one command went.
type Result struct {
	Stdout, Stderr string
	Code           int
	Took           time.Duration
}

// Run runs `skerry args...`. That it ends with another code than 0 is no error; that it could not
// be run is.
func (c *CLI) Run(ctx context.Context, stdin string, args ...string) (Result, error) {
	var out, errs bytes.Buffer
	cmd := c.Command(ctx, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	started := time.Now()
	err := cmd.Run()
	r := Result{Stdout: out.String(), Stderr: errs.String(), Took: time.Since(started)}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() >= 0 {
		r.Code = exit.ExitCode()
		return r, nil
	}
	return r, err
}

// Command is `skerry args...` before it runs, without streams.
func (c *CLI) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.program, args...)
	cmd.Dir, cmd.Env = c.Dir, slices.Clone(c.env)
	return cmd
}
