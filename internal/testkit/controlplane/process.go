package controlplane

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// process is a running child. It ends at the latest when this process does:
// the child reads its standard input and leaves at end of file, and the only
// writing end of that pipe is ours, which the kernel closes for us.
type process struct {
	name string
	log  string // path of what the child writes
	cmd  *exec.Cmd
	done chan struct{} // closed once the child is gone and waited for
	// lifeline is never written to. It is kept so that the garbage collector
	// does not close the pipe.
	lifeline io.WriteCloser
}

// launch starts binary in dir, where it also writes <name>.log.
func launch(dir, name, binary string, args ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	defer log.Close()

	p.cmd = exec.Command(binary, args...)
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// Nothing of the caller's environment: a proxy, a KUBECONFIG or a file in
	// the home directory would change what the programs do.
	p.cmd.Env = []string{"HOME=" + dir, "TMPDIR=" + dir, "SKERRY_LIFELINE=stdin"}
	// A group of its own keeps Ctrl-C at a terminal from reaching the children
	// before the parent had its chance to stop them in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.lifeline, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // how it ended is in its log
	}()
	return p, nil
}

// kill ends the process and returns when it is gone. It may be called on nil
// and more than once.
func (p *process) kill() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Kill() // fails only if it is gone already
	<-p.done
}

func (p *process) signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("cannot signal %s: %w", p.name, err)
	}
	return nil
}

// pause stops the child and returns when it has really stopped: the signal is taken thread by thread,
// and one of them might still answer.
func (p *process) pause() error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for range 1000 {
		if p.paused() {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("%s does not stop", p.name)
}

// paused reports whether every thread of the child stands still, as far as this system tells.
func (p *process) paused() bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
	for _, path := range threads {
		stat, err := os.ReadFile(path)
		// "pid (name) state ...", where the name may hold anything
		if at := bytes.LastIndex(stat, []byte(") ")); err == nil && at >= 0 && stat[at+2] != 'T' {
			return false
		}
	}
	return true
}

// tail returns the last lines of the log, which is where a program that gave
// up says why.
func (p *process) tail() []byte {
	const size = 2000
	log, err := os.ReadFile(p.log)
	if err != nil {
		return nil
	}
	return bytes.TrimSpace(log[max(0, len(log)-size):])
}

// portTaken reports whether the program gave up because another process listens on
// its port.
func (p *process) portTaken() bool {
	select {
	case <-p.done:
		return bytes.Contains(p.tail(), []byte("address already in use"))
	default:
		return false
	}
}
