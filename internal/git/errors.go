package git

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"

	"github.com/skerry-dev/skerry/internal/text"
)

// What can be wrong with a repository, for errors.Is. A message is one line without control
// characters, credentials or words of the server's own, and the same each time the same thing fails.
var (
	// ErrInvalidURL: not http, https or ssh, credentials in the URL, or credentials over plain http.
	ErrInvalidURL = errors.New("invalid URL")
	// ErrInvalidSecret: a key of the Secret is missing, unreadable or in conflict with another.
	ErrInvalidSecret = errors.New("invalid Secret")
	// ErrProviderConfiguration: the provider and the Secret or the URL do not go together.
	ErrProviderConfiguration = errors.New("invalid provider configuration")
	// ErrUnsupportedProvider: credentials of that provider are not supported.
	ErrUnsupportedProvider = errors.New("unsupported provider")
	// ErrAuthenticationFailed: the server wants credentials, or others than these.
	ErrAuthenticationFailed = errors.New("authentication failed")
	// ErrHostKeyRefused: the SSH server's host key is not the one in known_hosts, or none is there.
	ErrHostKeyRefused = errors.New("host key refused")
	// ErrRepositoryNotFound: nothing there, or nothing that these credentials may read.
	ErrRepositoryNotFound = errors.New("repository not found")
	// ErrEmptyRepository: the repository has no commits.
	ErrEmptyRepository = errors.New("repository is empty")
	// ErrReferenceNotFound: the branch, tag or commit does not exist, or not any more.
	ErrReferenceNotFound = errors.New("reference not found")
	// ErrInvalidReference: the name or the range of versions to follow cannot be one.
	ErrInvalidReference = errors.New("invalid reference")
	// ErrUnreachable: no connection, by DNS, TCP or TLS, or the server answers that it is out of order.
	ErrUnreachable = errors.New("unreachable")
	// ErrTimeout: no complete answer within the timeout.
	ErrTimeout = errors.New("timed out")
	// ErrTooLarge: a pack, an object or the tree exceeds a limit (see Limits).
	ErrTooLarge = errors.New("too large")
	// ErrFetchFailed: anything else: a refused redirect, an answer that is not Git's, a malformed pack.
	ErrFetchFailed = errors.New("fetch failed")
	// ErrObjectFormat: the repository names its objects otherwise than by SHA-1.
	ErrObjectFormat = errors.New("object format not supported")
	// ErrStoreFailed: the disk below the store is full, read-only or broken, or the process has no file left to open.
	ErrStoreFailed = errors.New("the hub's storage failed")
	// ErrNotStored: the commit asked for is not in the store.
	ErrNotStored = errors.New("commit is not in the store")
)

// errDamaged means that the store does not hold what it should, for whatever reason; it never leaves
// the package.
var errDamaged = errors.New("store is damaged")

// maxMessage bounds the message of one error, in bytes.
const maxMessage = 512

// fail returns an error of that kind.
func fail(kind error, format string, args ...any) error {
	return fmt.Errorf("%w: %s", kind, oneLine(fmt.Sprintf(format, args...)))
}

// disk returns an error of the store's own files, without their names, which are of the moment.
func disk(doing string, err error) error {
	if err == nil || errors.Is(err, ErrStoreFailed) {
		return err
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return fail(ErrStoreFailed, "cannot %s: %s%s", doing, errno.Error(), remedies[errno])
	}
	return fail(ErrStoreFailed, "cannot %s", doing)
}

// remedies are errors of the hub's own machine, and what helps. None of them is ever the server's
// doing, however it came up.
var remedies = map[syscall.Errno]string{
	syscall.ENOSPC: ": free space below --storage-path, or give it a larger volume",
	syscall.EDQUOT: ": free space below --storage-path, or raise the quota",
	syscall.EROFS:  ": make --storage-path writable for the hub",
	syscall.EACCES: ": make --storage-path writable for the hub",
	syscall.EPERM:  ": make --storage-path writable for the hub",
	syscall.EIO:    ": check the volume of --storage-path",
	syscall.EFBIG:  ": raise the limit on the size of a file",
	syscall.EMFILE: ": raise the limit of open files",
	syscall.ENFILE: ": raise the limit of open files",
}

// local means that an error is one of the hub's own machine: of a file, or for want of a descriptor.
func local(err error) bool {
	if _, ok := errors.AsType[*net.OpError](err); ok {
		errno, ok := errors.AsType[syscall.Errno](err)
		return ok && (errno == syscall.EMFILE || errno == syscall.ENFILE)
	}
	_, path := errors.AsType[*fs.PathError](err)
	_, link := errors.AsType[*os.LinkError](err)
	errno, ok := errors.AsType[syscall.Errno](err)
	return path || link || ok && remedies[errno] != ""
}

// oneLine makes text from a repository or a server fit for a terminal and a condition.
func oneLine(s string) string { return text.Line(s, maxMessage) }

// isTyped means that an error already has one of the kinds above.
func isTyped(err error) bool {
	for _, kind := range []error{
		ErrInvalidURL, ErrInvalidSecret, ErrProviderConfiguration, ErrUnsupportedProvider, ErrAuthenticationFailed, ErrHostKeyRefused, ErrRepositoryNotFound,
		ErrEmptyRepository, ErrReferenceNotFound, ErrInvalidReference, ErrUnreachable, ErrTimeout, ErrTooLarge, ErrFetchFailed,
		ErrObjectFormat, ErrStoreFailed, ErrNotStored,
		ErrHistoryRewritten, ErrCommitSignature, ErrTagSignature, ErrNotATag, ErrLayout, ErrSubmodule,
	} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// explain gives an error of a conversation with the server its kind and a message that is stable.
func explain(ctx context.Context, e endpoint, timeout time.Duration, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("cannot fetch %s: %w", e, context.Canceled)
	case isTyped(err):
		return err
	case local(unexpected(err)):
		return disk("fetch "+e.String(), unexpected(err))
	case ctx.Err() != nil, isTimeout(err):
		if timeout == 0 {
			return outOfTime{fail(ErrTimeout, "%s gave no complete answer in time", e)}
		}
		return fail(ErrTimeout, "%s gave no complete answer within %s", e, timeout)
	case errors.Is(err, transport.ErrAuthenticationRequired):
		return fail(ErrAuthenticationFailed, "%s does not accept the credentials, or wants some", e)
	case errors.Is(err, transport.ErrAuthorizationFailed):
		return fail(ErrAuthenticationFailed, "%s forbids access with these credentials", e)
	case errors.Is(err, transport.ErrRepositoryNotFound):
		return fail(ErrRepositoryNotFound, "%s does not exist, or these credentials may not read it", e)
	case errors.Is(err, transport.ErrEmptyRemoteRepository):
		return fail(ErrEmptyRepository, "%s has no commits", e)
	}
	if answer := new(githttp.Err); errors.As(unexpected(err), &answer) {
		return explainStatus(e, answer.StatusCode())
	}
	if line := new(pktline.ErrorLine); errors.As(err, &line) {
		return fail(ErrFetchFailed, "%s refuses to serve the repository", e)
	}
	if errors.Is(err, errDamaged) {
		return fail(ErrFetchFailed, "what %s sent lacks parts of the commit", e)
	}
	if alert := remoteAlert(err); strings.Contains(alert, "certificate") {
		return fail(ErrAuthenticationFailed, "%s refuses the client certificate, or wants one (%s)", e, alert)
	}
	if reason := networkReason(err); reason != "" {
		return fail(ErrUnreachable, "%s: %s", e, reason)
	}
	return fail(ErrFetchFailed, "%s does not answer as a Git server does", e)
}

// outOfTime is ErrTimeout where the deadline is that of the caller's context.
type outOfTime struct{ error }

func (o outOfTime) Unwrap() []error { return []error{o.error, context.DeadlineExceeded} }

func explainStatus(e endpoint, code int) error {
	if code >= http.StatusInternalServerError || code == http.StatusTooManyRequests {
		return fail(ErrUnreachable, "%s answers %d %s", e, code, http.StatusText(code))
	}
	return fail(ErrFetchFailed, "%s answers %d %s", e, code, http.StatusText(code))
}

// unexpected looks into go-git's wrapper, which has no Unwrap.
func unexpected(err error) error {
	if wrapped := new(plumbing.UnexpectedError); errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(unexpected(err), &timeout) && timeout.Timeout()
}

// remoteAlert is the name, one of RFC 8446, by which a server refused a TLS connection; empty if it did not.
func remoteAlert(err error) string {
	op, ok := errors.AsType[*net.OpError](unexpected(err))
	if !ok || op.Op != "remote error" || op.Err == nil {
		return ""
	}
	return strings.TrimPrefix(op.Err.Error(), "tls: ")
}

// networkReason explains why a connection failed, without the addresses and times that standard errors
// hold; it is empty if err is not about the connection.
func networkReason(err error) string {
	err = unexpected(err)
	if reason := certificateReason(err); reason != "" {
		return reason
	}
	var (
		dns    *net.DNSError
		errno  syscall.Errno
		op     *net.OpError
		record tls.RecordHeaderError
		alert  tls.AlertError
	)
	switch {
	case errors.As(err, &op) && (op.Op == "proxyconnect" || strings.HasPrefix(op.Op, "socks ")):
		// What is behind the proxy is not known, and must not be blamed for what the proxy is or does.
		if errors.As(err, &dns) {
			return "the proxy: cannot look up the host"
		}
		if errors.As(err, &errno) {
			return "the proxy: " + errno.Error()
		}
		return "the proxy does not connect to it, or not with these credentials"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "no such host"
	case errors.As(err, &dns):
		return "cannot look up the host"
	case errors.As(err, &record):
		return "the server does not speak TLS"
	case errors.As(err, &alert):
		return alert.Error()
	case remoteAlert(err) != "":
		return "the server refuses the TLS connection (" + remoteAlert(err) + ")"
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "the server closed the connection"
	case errors.As(err, &op):
		return "connection failed"
	}
	return ""
}

func certificateReason(err error) string {
	var (
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		other     *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &authority):
		return "certificate signed by an unknown authority"
	case errors.As(err, &name):
		return "certificate is for another host"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "certificate has expired or is not yet valid"
	case errors.As(err, &invalid), errors.As(err, &other):
		return "certificate is not valid"
	}
	return ""
}
