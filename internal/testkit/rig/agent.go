package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/skerry-dev/skerry/internal/sleep"
)

// AgentOptions say how to run an agent.
type AgentOptions struct {
	// Kubeconfig is the file by which the agent reaches its own cluster.
	Kubeconfig string
	// Dir holds the agent's disk and log, and exists; Name tells the agents in it apart.
	Dir, Name string
}

// Agent is bin/skerry-agent as a process beside its cluster. It is not safe for concurrent use.
type Agent struct {
	options AgentOptions
	process *Process
	health  string
}

// agentProgram is bin/skerry-agent, or what $SKERRY_TEST_AGENT names in its place: a program and its first arguments, an
// emulator say and an agent of another architecture.
func agentProgram() (program string, args []string, err error) {
	if words := strings.Fields(os.Getenv("SKERRY_TEST_AGENT")); len(words) > 0 {
		return words[0], words[1:], nil
	}
	program, err = Binary("skerry-agent")
	return program, nil, err
}

// NewAgent returns an agent that is not running.
func NewAgent(o AgentOptions) *Agent { return &Agent{options: o} }

// Storage is the folder of the agent's disk.
func (a *Agent) Storage() string { return filepath.Join(a.options.Dir, "agent-"+a.options.Name) }

// LogFile is the file that the agent writes its log to.
func (a *Agent) LogFile() string {
	return filepath.Join(a.options.Dir, "agent-"+a.options.Name+".log")
}

// LogTail returns the last lines of the log.
func (a *Agent) LogTail(lines int) string { return tail(a.LogFile(), lines) }

// Running reports whether the process is there.
func (a *Agent) Running() bool {
	if a.process == nil {
		return false
	}
	select {
	case <-a.process.done:
		return false
	default:
		return true
	}
}

// Start runs the agent, with variables of the form NAME=VALUE beside those of this process and flags of the form
// --NAME=VALUE, and returns when it works from its disk: the hub need not be there.
func (a *Agent) Start(ctx context.Context, words ...string) error {
	if a.Running() {
		return nil
	}
	program, args, err := agentProgram()
	if err != nil {
		return err
	}
	var env []string
	for _, word := range words {
		if strings.HasPrefix(word, "--") {
			args = append(args, word)
		} else {
			env = append(env, word)
		}
	}
	if a.health, err = FreeAddress(); err != nil {
		return err
	}
	a.process, err = start(a.LogFile(), program, env, append(args, "--kubeconfig", a.options.Kubeconfig, "--storage-path", a.Storage(), "--health-probe-bind-address", a.health))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		if _, err := get(ctx, "http://"+a.health+"/readyz"); err == nil {
			return nil
		}
		select {
		case <-a.process.done:
			return fmt.Errorf("the agent ended: %w\n%s", errors.Join(errEnded, a.process.err), a.LogTail(20))
		default:
		}
		if sleep.For(ctx, 10*time.Millisecond) != nil {
			return fmt.Errorf("the agent is not ready: %w\n%s", ctx.Err(), a.LogTail(20))
		}
	}
}

// Ended waits until the agent has ended by itself.
func (a *Agent) Ended(ctx context.Context) error {
	select {
	case <-a.process.done:
		return a.process.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stop ends the agent as an orchestrator does.
func (a *Agent) Stop() error {
	if !a.Running() {
		return nil
	}
	if err := a.process.Stop(15 * time.Second); err != nil {
		return fmt.Errorf("cannot stop the agent: %w", err)
	}
	return nil
}

// Kill ends the agent at once, wherever it is.
func (a *Agent) Kill() {
	if a.Running() {
		a.process.kill()
	}
}

// Command runs the program beside the agent, for a command that meets the agent on its disk. The error holds what the
// command wrote.
func (a *Agent) Command(ctx context.Context, args ...string) error {
	program, before, err := agentProgram()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, slices.Concat(before, args, []string{"--storage-path", a.Storage()})...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("skerry-agent %s: %w: %s", args[0], err, bytes.TrimSpace(out))
	}
	return nil
}

// Wipe removes the disk of an agent that does not run.
func (a *Agent) Wipe() error {
	if a.Running() {
		return errors.New("the agent is running")
	}
	return os.RemoveAll(a.Storage())
}

// Usage is what the agent's process has used.
func (a *Agent) Usage() (Usage, error) { return a.process.Usage() }
