package apply

import (
	"context"
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

// ConflictError says that somebody else owns fields that an apply would have changed.
type ConflictError struct {
	// Fields are paths, sorted: ".spec.replicas".
	Fields []string
	// Managers are those who own them, sorted.
	Managers []string
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s owned by %s", some(e.Fields), some(e.Managers))
}

// some names three of a list.
func some(list []string) string {
	if len(list) <= 3 {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:3], ", "), len(list)-3)
}

// Owner says whether the object belongs to another Kustomization or hub, and names its manager.
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
		c.Fields = append(c.Fields, health.Clean(cause.Field))
		if _, rest, ok := strings.Cut(cause.Message, `"`); ok {
			name, _, _ := strings.Cut(rest, `"`)
			c.Managers = append(c.Managers, health.Clean(name))
		}
	}
	if len(c.Fields) == 0 {
		return err
	}
	slices.Sort(c.Fields)
	slices.Sort(c.Managers)
	c.Fields, c.Managers = slices.Compact(c.Fields), slices.Compact(c.Managers)
	return c
}

// Unanswered says whether an error means that the cluster did not answer at all, rather than that it
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
	var d *InDoubtError
	return !errors.As(err, &c) && !errors.As(err, &k) && !errors.As(err, &d)
}

// Overloaded says whether the cluster asks to be left alone for a while.
func Overloaded(err error) bool {
	return apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err) || apierrors.IsServiceUnavailable(err)
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

// Unauthorized says whether the cluster does not accept the credentials.
func Unauthorized(err error) bool { return apierrors.IsUnauthorized(err) }

// Immutable says whether a change was refused because a field must not change.
func Immutable(err error) bool {
	return apierrors.IsInvalid(err) && strings.Contains(err.Error(), "immutable") ||
		apierrors.IsForbidden(err) && strings.Contains(err.Error(), "updates to statefulset spec")
}

// NamespaceMissing says whether an object was refused because its namespace does not exist.
func NamespaceMissing(err error, id object.ID) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	d := status.Status().Details
	return d.Kind == "namespaces" && d.Name == id.Namespace
}

// KindGone says whether the path of a request is not served any more.
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

// Explain says in one line why an object was refused: paths and rules, never a value. What the API
// server wrote in its own words can hold values of the object, so for a Secret none of them is kept.
func Explain(err error, id object.ID) string {
	var c *ConflictError
	var k *KindNotFoundError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &c) && c.Owner():
		return health.Clean("is owned by " + some(c.Managers))
	case errors.As(err, &c):
		return health.Clean("conflicts on " + c.Error())
	case errors.As(err, &k):
		return k.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "the cluster did not answer in time"
	case NamespaceMissing(err, id):
		return fmt.Sprintf("namespace %q does not exist", id.Namespace)
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return health.Clean(err.Error())
	}
	s := status.Status()
	if fields := invalidFields(s, id); fields != "" {
		return fields
	}
	if id.Kind == "Secret" {
		return fmt.Sprintf("refused: %s (%d)", s.Reason, s.Code)
	}
	if s.Code == http.StatusUnprocessableEntity {
		return "refused as invalid"
	}
	return health.Clean(s.Message)
}

// invalidFields says which fields are invalid and by which rule. The API server's message quotes the
// value between the type of the error and the rule, so what stands there is cut out.
func invalidFields(s metav1.Status, id object.ID) string {
	if s.Reason != metav1.StatusReasonInvalid || s.Details == nil {
		return ""
	}
	var out []string
	for _, cause := range s.Details.Causes {
		text := cause.Field
		rule := cause.Message
		if i := strings.LastIndex(rule, ": "); i >= 0 {
			rule = rule[i+2:]
		}
		if id.Kind != "Secret" && cause.Type != metav1.CauseTypeFieldValueNotSupported && rule != "" && !strings.ContainsAny(rule, `"{`) {
			text += ": " + rule
		}
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	if len(out) > 3 {
		out = append(out[:3], fmt.Sprintf("and %d more", len(out)-3))
	}
	return health.Clean(strings.Join(out, "; "))
}
