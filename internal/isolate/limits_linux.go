package isolate

import (
	"errors"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// runtimeData is what the runtime of Go maps for data and does not use, in bytes.
const runtimeData = 192 << 20

// niceness of the process: every other process gets the processor first.
const niceness = 10

// limitProcess lets the kernel refuse what the process must not have. What it cannot set is left: the
// process watches itself, and its parent ends it at the deadline.
func limitProcess(memory int64, seconds uint64) {
	data := uint64(memory) + runtimeData
	_ = unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: data, Max: data})
	_ = unix.Setrlimit(unix.RLIMIT_CPU, &unix.Rlimit{Cur: seconds + 1, Max: seconds + 2})
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, niceness)
}

// attributes end the process with the hub.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

func signalOf(err error) syscall.Signal {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return status.Signal()
		}
	}
	return 0
}

// isKilled reports whether the kernel killed the process: nothing else does, but its parent at the
// deadline.
func isKilled(err error) bool { return signalOf(err) == syscall.SIGKILL }

// isDeadline reports whether the process used up its time on the processor.
func isDeadline(err error) bool { return signalOf(err) == syscall.SIGXCPU }
