package edge

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/object"
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
	return both.sorted()
}

// Owner reports whether the object belongs to another Kustomization or hub, and names its manager.
func (e *ConflictError) Owner() bool { return slices.Contains(e.Fields, ownerField) }

// conflict turns a field conflict into a ConflictError and leaves other errors as they are.
func conflict(err error) error {
	var status apierrors.APIStatus
	if !apierrors.IsConflict(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return err
	}
	c := &ConflictError{}
	for _, cause := range status.Status().Details.Causes {
		if cause.Type != metav1.CauseTypeFieldManagerConflict {
			continue
		}
		c.Fields = append(c.Fields, "."+health.Clean(content{}.path(cause.Field)))
		if _, rest, ok := strings.Cut(cause.Message, `"`); ok {
			name, _, _ := strings.Cut(rest, `"`)
			c.Managers = append(c.Managers, cleanName(name))
		}
	}
	if len(c.Fields) == 0 {
		return err
	}
	return c.sorted()
}

func (e *ConflictError) sorted() *ConflictError {
	slices.Sort(e.Fields)
	slices.Sort(e.Managers)
	e.Fields, e.Managers = slices.Compact(e.Fields), slices.Compact(e.Managers)
	return e
}

// cleanName makes the name of a field manager fit for a message: an edge may send anything.
func cleanName(manager string) string { return health.Clean(manager) }

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
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// OfCollection reports whether an error is about all objects of a kind and not about one.
func OfCollection(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && (status.Status().Details == nil || status.Status().Details.Name == "")
}

// Unexpected names what is wrong with an answer that no API server gives; "" when nothing is.
func Unexpected(err error) string {
	for _, e := range []error{ErrRedirect, ErrWebPage, ErrNotAPI, ErrTooLarge, ErrTooMany} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	return ""
}

// Unauthorized reports whether the cluster does not accept the credentials.
func Unauthorized(err error) bool { return apierrors.IsUnauthorized(err) }

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
