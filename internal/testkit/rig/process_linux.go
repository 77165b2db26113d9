package rig

import "syscall"

// childAttributes let the kernel kill a child whose parent has died, and keep the terminal's Ctrl-C
// from it: the parent stops its children in order.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
