package hubapi

import (
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// isPatchTestFailed reports whether an API server refused a JSON patch because an operation "test" of it failed. It
// answers that with the reason Invalid, as it does an object that its schema forbids; but of that one it names the fields.
// The first is a conflict, and the second is refused again however often it is tried.
func isPatchTestFailed(err error) bool {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok || !apierrors.IsInvalid(err) {
		return false
	}
	details := status.Status().Details
	return details == nil || len(details.Causes) == 0
}
