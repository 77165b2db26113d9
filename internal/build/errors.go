package build

import (
	"fmt"
	"strings"
	"unicode"
)

// Reason says in one word why a render failed. Reasons are stable: people and programs match them.
type Reason string

const (
	// PathNotFound: the path, or a file that a kustomization names, is not there or of the wrong sort.
	PathNotFound Reason = "PathNotFound"
	// PathOutsideRoot: a reference is absolute, climbs out of the repository, or a link leads out of it.
	PathOutsideRoot Reason = "PathOutsideRoot"
	// RemoteReference: a reference that kustomize would fetch over the network.
	RemoteReference Reason = "RemoteReference"
	// PluginRefused: a generator or transformer that would run a program, a container or helm.
	PluginRefused Reason = "PluginRefused"
	// SchemaRefused: an openapi field, which would change the schema of every other build.
	SchemaRefused Reason = "SchemaRefused"
	// InvalidKustomization: a kustomization file that kustomize cannot read.
	InvalidKustomization Reason = "InvalidKustomization"
	// InvalidYAML: a file that does not parse.
	InvalidYAML Reason = "InvalidYAML"
	// YAMLBomb: a file that contains itself, or grows or nests beyond what anybody writes by hand.
	YAMLBomb Reason = "YAMLBomb"
	// TooLarge: more files, objects or bytes than one render takes.
	TooLarge Reason = "TooLarge"
	// InvalidObject: a manifest without apiVersion, kind or name, or one that JSON cannot hold.
	InvalidObject Reason = "InvalidObject"
	// ReservedObject: an object that Skerry keeps for itself.
	ReservedObject Reason = "ReservedObject"
	// DuplicateObject: the same object twice.
	DuplicateObject Reason = "DuplicateObject"
	// SubstitutionFailed: a variable without a value where it needs one, or an expression that is none.
	SubstitutionFailed Reason = "SubstitutionFailed"
	// BuildFailed: kustomize refused; the message is what it said.
	BuildFailed Reason = "BuildFailed"
	// Timeout: the render was not done when the caller's deadline passed.
	Timeout Reason = "Timeout"
)

// Error says why a render failed. The same failure is the same Error: the message is one line, holds
// no time, and never a value of a Secret or of a variable.
type Error struct {
	Reason Reason
	// Path of the file at fault, relative to the root of the repository, or empty.
	Path string
	// Line in that file, from 1, or 0 where it is not known.
	Line    int
	Message string

	// The object at fault, as its manifest names it; its file is looked for by them.
	kind, name string
}

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

// printable replaces what could move the cursor of a terminal: messages and paths have parts that come
// from files.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// in returns the error as one of a file.
func (e *Error) in(path string) *Error {
	e.Path = path
	return e
}
