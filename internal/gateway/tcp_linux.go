package gateway

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// boundUnacknowledged lets the kernel end a connection on which what was sent is not acknowledged: without it, an edge
// that was switched off is noticed after a quarter of an hour of retransmissions.
func boundUnacknowledged(_, _ string, conn syscall.RawConn) error {
	var failed error
	err := conn.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unacknowledged.Milliseconds()))
	})
	if err != nil {
		return err
	}
	return failed
}
