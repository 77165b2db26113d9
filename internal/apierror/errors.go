// Package apierror decides what an error means that an API server has answered with, or that stands in place of an
// answer: whether trying again helps, whose a field is, what to tell a person. It is pure: errors in, decisions out, and
// no decision holds a value that was sent. What real API servers answer is recorded in testdata/refusals.
package apierror

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/text"
)

// ownerField is how a conflict names the owner label.
const ownerField = ".metadata.labels." + v1alpha1.OwnerLabel

// ConflictError means that something else owns fields that an apply would have changed.
type ConflictError struct {
	// Fields are paths, sorted: ".spec.replicas".
	Fields []string
	// Managers own them, sorted.
	Managers []string
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s owned by %s", firstThree(e.Fields), firstThree(e.Managers))
}

// firstThree names three of a list.
func firstThree(list []string) string {
	if len(list) <= 3 {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:3], ", "), len(list)-3)
}

// By names the managers and the fields: "kubectl-edit (.data.key)".
func (e *ConflictError) By() string {
	return fmt.Sprintf("%s (%s)", firstThree(e.Managers), firstThree(e.Fields))
}

// And joins two conflicts about one object, either of which may be nil.
func (e *ConflictError) And(other *ConflictError) *ConflictError {
	if e == nil || other == nil {
		return cmp.Or(e, other)
	}
	both := &ConflictError{Fields: slices.Concat(e.Fields, other.Fields), Managers: slices.Concat(e.Managers, other.Managers)}
	return both.Sorted()
}

// Owner reports whether the object belongs to another Kustomization or hub, and names its manager.
func (e *ConflictError) Owner() bool { return slices.Contains(e.Fields, ownerField) }

// Add adds a manager and fields that it owns, which are paths without the dot that they begin with.
func (e *ConflictError) Add(manager string, fields ...string) {
	e.Managers = append(e.Managers, Clean(manager))
	for _, f := range fields {
		e.Fields = append(e.Fields, "."+Path(f))
	}
}

// Sorted sorts fields and managers, names each once, and returns the error.
func (e *ConflictError) Sorted() *ConflictError {
	slices.Sort(e.Fields)
	slices.Sort(e.Managers)
	e.Fields, e.Managers = slices.Compact(e.Fields), slices.Compact(e.Managers)
	return e
}

// Conflict turns a field conflict into a ConflictError and leaves other errors as they are.
func Conflict(err error) error {
	var status apierrors.APIStatus
	if !apierrors.IsConflict(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return err
	}
	c := &ConflictError{}
	for _, cause := range status.Status().Details.Causes {
		if cause.Type != metav1.CauseTypeFieldManagerConflict {
			continue
		}
		c.Fields = append(c.Fields, "."+Clean(Path(cause.Field)))
		if _, rest, ok := strings.Cut(cause.Message, `"`); ok {
			name, _, _ := strings.Cut(rest, `"`)
			c.Managers = append(c.Managers, Clean(name))
		}
	}
	if len(c.Fields) == 0 {
		return err
	}
	return c.Sorted()
}

// KindNotFoundError means that the cluster answered, and does not know a kind.
type KindNotFoundError struct{ GVK schema.GroupVersionKind }

func (e *KindNotFoundError) Error() string {
	return fmt.Sprintf("the cluster does not know %s of %s", e.GVK.Kind, e.GVK.GroupVersion())
}

// UncertainKindError means that a kind is not served, and that it is not certain that it is gone: its
// objects may be there, and be in sight again a moment later.
type UncertainKindError struct {
	GVK schema.GroupVersionKind
	// Why is a phrase: "is defined, but not served".
	Why string
}

func (e *UncertainKindError) Error() string {
	return fmt.Sprintf("%s of %s %s", e.GVK.Kind, e.GVK.GroupVersion(), e.Why)
}

// Clean makes a string from an edge fit for a message: one line of printable characters.
func Clean(s string) string { return text.Line(s, text.MessageLimit) }

// Unanswered reports whether an error means that the cluster did not answer at all, rather than that it
// said no.
func Unanswered(err error) bool {
	if err == nil {
		return false
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return false
	}
	var c *ConflictError
	var k *KindNotFoundError
	var d *UncertainKindError
	return !errors.As(err, &c) && !errors.As(err, &k) && !errors.As(err, &d)
}

// Overloaded reports whether the cluster asks to be left alone for a while.
func Overloaded(err error) bool {
	return apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err) || apierrors.IsServiceUnavailable(err)
}

// Refused reports whether a list or a watch was refused for good: for want of a permission, or because the
// kind offers none.
func Refused(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsMethodNotSupported(err)
}

// Unavailable reports whether a server behind the API server did not answer.
func Unavailable(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	switch status.Status().Code {
	case 502, 503, 504: // bad gateway, service unavailable, gateway timeout
		return true
	}
	return false
}

// OfCollection reports whether an error is about all objects of a kind and not about one.
func OfCollection(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && (status.Status().Details == nil || status.Status().Details.Name == "")
}

// Unauthorized reports whether the cluster does not accept the credentials.
func Unauthorized(err error) bool { return apierrors.IsUnauthorized(err) }

var (
	cannotImpersonate = regexp.MustCompile(`\bcannot impersonate\b`)
	// denied matches how the API server writes that a user has no right to what was asked for, or may not grant
	// rights that it has not itself. Other refusals are "forbidden" as well: quotas, policies, namespaces that
	// are being deleted.
	denied = regexp.MustCompile(`(?i)\buser "[^"]*" (\(groups=\[[^\]]*\]\) )?(cannot |is attempting to grant RBAC permissions)`)
)

// MayNotImpersonate reports whether an error means that the credentials have no right to ask in another name.
func MayNotImpersonate(err error) bool {
	return apierrors.IsForbidden(err) && cannotImpersonate.MatchString(err.Error())
}

// Denied reports whether a request was refused for want of a right.
func Denied(err error) bool { return apierrors.IsForbidden(err) && denied.MatchString(err.Error()) }

// NamespaceMissing reports whether an object was refused because its namespace does not exist.
func NamespaceMissing(err error, id object.ID) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	d := status.Status().Details
	return d.Kind == "namespaces" && d.Name == id.Namespace
}

// KindGone reports whether the path of a request is not served any more.
func KindGone(err error) bool {
	var status apierrors.APIStatus
	return apierrors.IsNotFound(err) && errors.As(err, &status) &&
		(status.Status().Details == nil || status.Status().Details.Name == "" || strings.Contains(err.Error(), "could not find the requested resource"))
}

// Reason names the reason of the API for an error of one object.
func Reason(err error, id object.ID) string {
	var c *ConflictError
	var k *KindNotFoundError
	switch {
	case errors.As(err, &c) && c.Owner():
		return v1alpha1.OwnershipConflictReason
	case errors.As(err, &k), KindGone(err):
		return v1alpha1.KindNotFoundReason
	case NamespaceMissing(err, id):
		return v1alpha1.NamespaceNotFoundReason
	case Immutable(err):
		return v1alpha1.ImmutableFieldReason
	}
	return v1alpha1.ApplyFailedReason
}
