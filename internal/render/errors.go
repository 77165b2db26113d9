package render

import (
	"fmt"
	"strings"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/recovery"
	"github.com/skerry-dev/skerry/internal/text"
)

// Reason describes in one word why a render failed. Reasons are stable: people and programs match them.
type Reason string

const (
	// PathNotFound: the path, or a file that a kustomization names, is not there or of the wrong sort.
	PathNotFound Reason = v1alpha1.PathNotFoundReason
	// PathOutsideRoot: a reference is absolute, climbs out of the repository, or a link leads out of it.
	PathOutsideRoot Reason = v1alpha1.PathOutsideRootReason
	// RemoteReference: a reference that kustomize would fetch over the network.
	RemoteReference Reason = v1alpha1.RemoteReferenceReason
	// PluginRefused: a generator or transformer that would run a program, a container or helm.
	PluginRefused Reason = v1alpha1.PluginRefusedReason
	// SchemaRefused: an openapi field, which would change the schema of every other build.
	SchemaRefused Reason = v1alpha1.SchemaRefusedReason
	// InvalidKustomization: a kustomization file that kustomize cannot read.
	InvalidKustomization Reason = v1alpha1.InvalidKustomizationReason
	// InvalidYAML: a file that does not parse.
	InvalidYAML Reason = v1alpha1.InvalidYAMLReason
	// LFSPointer: a file whose content Git LFS keeps elsewhere.
	LFSPointer Reason = v1alpha1.LFSPointerReason
	// YAMLBomb: a file that contains itself, or grows or nests beyond what is written by hand.
	YAMLBomb Reason = v1alpha1.YAMLBombReason
	// TooLarge: more files, objects or bytes than one render takes.
	TooLarge Reason = v1alpha1.TooLargeReason
	// InvalidObject: a manifest without apiVersion, kind or name, or one that JSON cannot hold.
	InvalidObject Reason = v1alpha1.InvalidObjectReason
	// ReservedObject: an object that Skerry keeps for itself.
	ReservedObject Reason = v1alpha1.ReservedObjectReason
	// DuplicateObject: the same object twice.
	DuplicateObject Reason = v1alpha1.DuplicateObjectReason
	// SubstitutionFailed: a variable without a value where it needs one, or an expression that is none.
	SubstitutionFailed Reason = v1alpha1.SubstitutionFailedReason
	// DecryptionFailed: a file is encrypted, and cannot or must not be decrypted.
	DecryptionFailed Reason = v1alpha1.DecryptionFailedReason
	// BuildFailed: kustomize refused; the message is what it said.
	BuildFailed Reason = v1alpha1.BuildFailedReason
	// Failed: something else than the input kept the render from being done.
	Failed Reason = v1alpha1.FailedReason
	// InternalError: a panic of the program was recovered. Cause is the *recovery.Panic, which is not logged yet.
	InternalError Reason = v1alpha1.InternalErrorReason
	// Timeout: the render was not done when the caller's deadline passed.
	Timeout Reason = v1alpha1.TimeoutReason
)

// Error explains why a render failed. The same failure is the same Error: the message is one line, holds
// no time, and never a value of a Secret or of a variable.
type Error struct {
	Reason Reason
	// Path of the file at fault, relative to the root of the repository, or empty.
	Path string
	// Line in that file, from 1, or 0 where it is not known.
	Line    int
	Message string

	// transient reports that another try may succeed. Such a failure is not remembered by a Cache.
	transient bool
	// The object at fault, as its manifest names it; its file is looked for by them.
	kind, name string
	// Cause is why a part of the tree could not be read, or a *recovery.Panic; nil for what is wrong with the files
	// themselves.
	// Such an error is not remembered: the next attempt may find everything readable.
	Cause error
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Error returns "apps/web.yaml: line 7: message", without the parts that are not known.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	if e.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", e.Line)
	}
	b.WriteString(e.Message)
	return b.String()
}

func errorf(reason Reason, format string, args ...any) *Error {
	return &Error{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// panicked returns the error of a render that panicked. It is not remembered: it says nothing of the input.
func panicked(p *recovery.Panic) *Error {
	return &Error{Reason: InternalError, Message: p.Error(), Cause: p}
}

// Transient returns an error that is not remembered: the renderer that runs processes knows
// when another try may be made.
func Transient(reason Reason, message string) *Error {
	return &Error{Reason: reason, Message: message, transient: true}
}

// Decrypting returns the error of a file that cannot be decrypted. transient reports that another try may
// succeed with the same keys: a service did not answer.
func Decrypting(message string, transient bool) *Error {
	return &Error{Reason: DecryptionFailed, Message: message, transient: transient}
}

// IsTransient reports whether another try may succeed although the input is the same.
func (e *Error) IsTransient() bool { return e.transient }

// printable makes messages and paths fit for a terminal, which have parts that come from files.
func printable(s string) string { return text.Visible(s) }

// in returns the error as one of a file.
func (e *Error) in(path string) *Error {
	e.Path = path
	return e
}
