package hub

import "golang.org/x/sys/unix"

// forbidCoreDumps keeps the memory of the process, in which there are Secrets and keys, off the disk when it
// crashes: neither the kernel nor a handler that it pipes to gets it. What cannot be set is left.
func forbidCoreDumps() {
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}
