//go:build !linux

package rig

import "syscall"

// childAttributes keep the terminal's Ctrl-C from a child: the parent stops its children in order.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
