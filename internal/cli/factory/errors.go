package factory

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// ExitCodes is the table of exit codes: what each means, and of which commands alone, where it is not of all.
var ExitCodes = []struct {
	Code    int
	Meaning string
}{
	{ExitOK, "all is well; of status, why and rollout status: everything is ready"},
	{ExitFailed, "something is not ready, was refused or did not work; of diff: there are changes"},
	{ExitUsage, "the command line is wrong, and nothing was done"},
	{ExitUnreachable, "the hub's API server could not be asked, or does not accept the credentials"},
	{ExitDiffFailed, "of diff: it could not be found out, or would be refused"},
	{ExitInterrupted, "interrupted with Ctrl-C"},
	{141, "what read the output has gone (SIGPIPE)"}, // as the shell has it: the process ends by the signal
}

// Exit codes.
const (
	ExitOK          = 0
	ExitFailed      = 1   // something is not ready, was refused or did not work
	ExitUsage       = 2   // the command line is wrong
	ExitUnreachable = 3   // the hub's API server could not be asked
	ExitDiffFailed  = 4   // diff alone: it could not be told, or would be refused; 1 is a change there
	ExitInterrupted = 130 // Ctrl-C
)

// WithCode gives an error an exit code of its own in place of ExitFailed. Wrong command lines and an
// API server that could not be asked keep theirs.
func WithCode(err error, code int) error {
	if err == nil {
		return nil
	}
	return &coded{err, code}
}

type coded struct {
	err  error
	code int
}

func (e *coded) Error() string { return e.err.Error() }
func (e *coded) Unwrap() error { return e.err }

// ErrSilent ends with ExitFailed; what there was to say has been said.
var ErrSilent = errors.New("failed")

// UsageError means that the command line is wrong.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// Usagef returns a *UsageError.
func Usagef(format string, args ...any) error {
	return &UsageError{Err: fmt.Errorf(format, args...)}
}

// NextError is an error that knows what to do about it.
type NextError struct {
	Err  error
	Next string
}

func (e *NextError) Error() string { return e.Err.Error() }
func (e *NextError) Unwrap() error { return e.Err }

// OtherServer marks an error of another server than the hub's, which is then no reason to say that the
// hub could not be asked.
func OtherServer(err error) error { return &otherServerError{err} }

type otherServerError struct{ err error }

func (e *otherServerError) Error() string { return e.err.Error() }
func (e *otherServerError) Unwrap() error { return e.err }

// Next adds the next step to an error.
func Next(err error, format string, args ...any) error {
	return &NextError{Err: err, Next: fmt.Sprintf(format, args...)}
}

// Report writes an error for a person, with the next step, or with the format json for a program, and returns
// the exit code. It is the one place where errors become either.
func Report(s *iostreams.IOStreams, command, format string, err error) int {
	if err == nil {
		return ExitOK
	}
	if errors.Is(err, context.Canceled) {
		s.EraseLine() // of the "^C" that the terminal shows
		s.Progressf("%s", interruption(err))
		return ExitInterrupted
	}
	failed := ExitFailed
	if own, ok := errors.AsType[*coded](err); ok {
		failed = own.code
	}
	if errors.Is(err, ErrSilent) {
		return failed
	}
	code, next := classify(command, err)
	if code == ExitFailed {
		code = failed
	}
	if format == "json" {
		reportJSON(s, code, err, next)
		return code
	}
	s.Progressf("%s %s", s.Red("error:"), strings.TrimSpace(iostreams.Clean(err.Error())))
	if next != "" {
		s.Progressf("%s %s", s.Bold("next:"), iostreams.Clean(next))
	}
	return code
}

// reportJSON writes an error as {"error": {"code": 1, "message": "…", "next": "…"}}, on standard error as any
// other: standard output holds results alone.
func reportJSON(s *iostreams.IOStreams, code int, err error, next string) {
	type body struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Next    string `json:"next,omitempty"`
	}
	of := body{Code: code, Message: iostreams.Line(err.Error()), Next: iostreams.Line(next)}
	_ = Print(s.Err, "json", map[string]body{"error": of}) // there is nowhere else to say that it cannot be written
}

func classify(command string, err error) (code int, next string) {
	var (
		usage   *UsageError
		advised *NextError
		request *url.Error
		network *net.OpError
		lookup  *net.DNSError
		other   *otherServerError
	)
	if errors.As(err, &advised) {
		next = advised.Next
	}
	switch {
	case errors.As(err, &usage):
		return ExitUsage, first(next, "see '"+command+" --help'")
	case errors.As(err, &other):
		return ExitFailed, next
	case meta.IsNoMatchError(err):
		return ExitFailed, first(next, "this cluster has no Skerry yet, or an older one: 'skerry install' or 'skerry bootstrap git' installs it")
	case NamespaceMissing(err):
		return ExitFailed, first(next, "create the namespace first, or name another one with -n; skerry-system is made by 'skerry install'")
	case apierrors.IsUnauthorized(err):
		return ExitUnreachable, first(next, "the API server does not accept these credentials: log in again, or name others with --kubeconfig and --context")
	case apierrors.IsForbidden(err):
		return ExitFailed, first(next, "use credentials that may do this, with --kubeconfig and --context")
	case errors.As(err, &request), errors.As(err, &network), errors.As(err, &lookup):
		return ExitUnreachable, first(next, "check that the API server runs and can be reached from here, and that --kubeconfig and --context name the right one")
	case errors.Is(err, context.DeadlineExceeded):
		return ExitFailed, first(next, "give it longer with --timeout")
	case serverFails(err):
		return ExitUnreachable, first(next, "what answers is no API server, or it fails: check that --kubeconfig and --context name the right one, and try again in a while")
	}
	return ExitFailed, next
}

// NamespaceMissing reports whether something was refused because its namespace is not there.
func NamespaceMissing(err error) bool {
	var status apierrors.APIStatus // no error to errors.AsType
	return errors.As(err, &status) && apierrors.IsNotFound(err) && status.Status().Details != nil && status.Status().Details.Kind == "namespaces"
}

// serverFails reports whether what answered a request was an error of the API server itself, or of what stands in
// front of it, or nothing of an API server at all.
func serverFails(err error) bool {
	return apierrors.IsInternalError(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsServerTimeout(err) ||
		apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) || apierrors.IsUnexpectedServerError(err)
}

func first(options ...string) string {
	for _, o := range options {
		if o != "" {
			return o
		}
	}
	return ""
}
