package rig

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Root returns the folder of the module's go.mod, at or above the working directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("cannot find go.mod: run inside the repository")
		}
		dir = filepath.Dir(dir)
	}
}

// Binary returns the path of a program that `make build` leaves in bin/.
func Binary(name string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "bin", name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("cannot find bin/%s, `make build` makes it: %w", name, err)
	}
	return path, nil
}

// FreeAddress returns a free address of the loopback interface.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Process is a child whose output goes to a file.
type Process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // of Wait, once done is closed
}

// Start runs a program whose output is appended to the file log. The child is killed by the kernel
// when this process dies without having stopped it.
func Start(log, program string, args ...string) (*Process, error) {
	return start(log, program, nil, args)
}

// start is Start with variables beside those of this process.
func start(log, program string, env, args []string) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(cmd.Environ(), env...)
	cmd.SysProcAttr = childAttributes()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", filepath.Base(program), err)
	}
	p := &Process{cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
	}()
	return p, nil
}

// Done is closed once the process is gone.
func (p *Process) Done() <-chan struct{} { return p.done }

// Stop asks the process to end, waits for grace, and kills it then, which is an error.
func (p *Process) Stop(grace time.Duration) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.err
	case <-timer.C:
		p.kill()
		return fmt.Errorf("did not stop within %s", grace)
	}
}

func (p *Process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Tail returns the last lines of what the process wrote.
func (p *Process) Tail(lines int) string { return tail(p.log, lines) }

// Usage is what the process has used.
func (p *Process) Usage() (Usage, error) { return UsageOf(p.cmd.Process.Pid) }

// Usage is what a process has used up to now.
type Usage struct {
	CPU     time.Duration // user and system
	RSS     int64         // resident bytes
	Anon    int64         // of those, bytes that are in no file: heap and stacks
	PeakRSS int64         // the most that RSS ever was
}

// UsageOf is what a process has used, by its ID: it reads /proc, as Linux has it.
func UsageOf(pid int) (Usage, error) {
	var u Usage
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	// Fields count from behind the command's name, which may hold anything; utime is the 14th of
	// the line and stime the 15th. The clock ticks 100 times a second on every Linux.
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(fields) < 13 {
		return u, fmt.Errorf("cannot read /proc/%d/stat", pid)
	}
	for _, f := range fields[11:13] {
		ticks, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return u, fmt.Errorf("cannot read /proc/%d/stat: %w", pid, err)
		}
		u.CPU += time.Duration(ticks) * 10 * time.Millisecond
	}
	raw, err = os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(raw)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 {
			u.PeakRSS = kib << 10
		}
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 {
			u.RSS = kib << 10
		}
		if n, _ := fmt.Sscanf(line, "RssAnon: %d kB", &kib); n == 1 {
			u.Anon = kib << 10
		}
	}
	return u, nil
}

// alive reports whether there is a process of that ID.
func alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// longLine is where tail cuts a line: an API server's refusal can be screens long.
const longLine = 500

// tail returns the last lines of a file.
func tail(path string, lines int) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
	all = all[max(0, len(all)-lines):]
	for i, line := range all {
		if len(line) > longLine {
			all[i] = line[:longLine] + " …"
		}
	}
	return strings.Join(all, "\n")
}
