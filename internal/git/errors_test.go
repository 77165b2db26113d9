package git

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// TestExplainIsStable feeds errors that hold ephemeral ports, times and file names.
func TestExplainIsStable(t *testing.T) {
	e, err := parseURL("ssh://git@git.example:2222/r")
	if err != nil {
		t.Fatal(err)
	}
	local := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 54321}
	reset := &net.OpError{Op: "read", Net: "tcp", Source: local, Addr: local, Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	certificate := func(err error) error {
		return &url.Error{Op: "Get", URL: "https://x", Err: &tls.CertificateVerificationError{Err: err}}
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{reset, "unreachable: ssh://git@git.example:2222/r: connection reset by peer"},
		{plumbing.NewUnexpectedError(reset), "unreachable: ssh://git@git.example:2222/r: connection reset by peer"},
		{&net.DNSError{Err: "x", Name: "git.example", Server: "10.0.0.1:53", IsNotFound: true}, "unreachable: ssh://git@git.example:2222/r: no such host"},
		{&net.DNSError{Err: "x", Name: "git.example"}, "unreachable: ssh://git@git.example:2222/r: cannot look up the host"},
		{&net.DNSError{IsTimeout: true}, "timed out: ssh://git@git.example:2222/r gave no complete answer within 5s"},
		{certificate(x509.CertificateInvalidError{Reason: x509.Expired, Detail: "current time " + time.Now().String()}), "unreachable: ssh://git@git.example:2222/r: certificate has expired or is not yet valid"},
		{certificate(x509.HostnameError{Host: "x", Certificate: &x509.Certificate{}}), "unreachable: ssh://git@git.example:2222/r: certificate is for another host"},
		{certificate(x509.UnknownAuthorityError{}), "unreachable: ssh://git@git.example:2222/r: certificate signed by an unknown authority"},
		{certificate(errors.New("else")), "unreachable: ssh://git@git.example:2222/r: certificate is not valid"},
		{fmt.Errorf("x: %w", io.EOF), "unreachable: ssh://git@git.example:2222/r: the server closed the connection"},
		{errors.New("at offset 4711"), "fetch failed: ssh://git@git.example:2222/r does not answer as a Git server does"},
		{errDamaged, "fetch failed: what ssh://git@git.example:2222/r sent lacks parts of the commit"},
		{disk("keep a pack", &os.PathError{Op: "write", Path: "/tmp/tmp_pack_123", Err: syscall.ENOSPC}), "the hub's storage failed: cannot keep a pack: no space left on device: free space below --storage-path, or give it a larger volume"},
		// What is wrong with the hub's own machine is never told as the server's, wherever it comes up.
		{plumbing.NewUnexpectedError(&os.PathError{Op: "write", Path: "/tmp/x1", Err: syscall.EDQUOT}), "the hub's storage failed: cannot fetch ssh://git@git.example:2222/r: disk quota exceeded: free space below --storage-path, or raise the quota"},
		{fmt.Errorf("cannot encode: %w", syscall.ENOSPC), "the hub's storage failed: cannot fetch ssh://git@git.example:2222/r: no space left on device: free space below --storage-path, or give it a larger volume"},
		{&os.LinkError{Op: "rename", Old: "a", New: "b", Err: syscall.EROFS}, "the hub's storage failed: cannot fetch ssh://git@git.example:2222/r: read-only file system: make --storage-path writable for the hub"},
		{&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.EMFILE)}, "the hub's storage failed: cannot fetch ssh://git@git.example:2222/r: too many open files: raise the limit of open files"},
		{&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.EACCES)}, "unreachable: ssh://git@git.example:2222/r: permission denied"},
		{fail(ErrTooLarge, "x"), "too large: x"},
	} {
		if got := explain(t.Context(), e, 5*time.Second, c.err); got.Error() != c.want {
			t.Errorf("%T: got %q, want %q", c.err, got, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := explain(ctx, e, time.Second, io.EOF); !errors.Is(got, context.Canceled) {
		t.Errorf("a cancelled call: %v", got)
	}
}

func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"a\x1b[31mb\r\nc\td":     "a [31mb c d",
		"safe \u202etxt.exe":     "safe txt.exe",
		"\xff\xfe":               "",
		strings.Repeat("x", 600): strings.Repeat("x", 512-len("…")) + "…",
	} {
		if got := oneLine(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
