// Package kubeconfig turns the kubeconfig of one edge cluster into a connection to it.
//
// It promises that nothing in a kubeconfig makes the hub run a program, read a file of its own,
// talk to a proxy or impersonate a user, and that no error of it holds a value of the kubeconfig:
// errors name fields.
package kubeconfig

import "fmt"

// FieldError describes which field of a kubeconfig is not accepted, and why. It never holds the value.
type FieldError struct {
	// Field is a path such as "users[0].user.exec"; empty when it is the document as a whole.
	Field string
	// Problem is a phrase such as "is not allowed".
	Problem string
}

func (e *FieldError) Error() string {
	if e.Field == "" {
		return "kubeconfig " + e.Problem
	}
	return fmt.Sprintf("kubeconfig: %s %s", e.Field, e.Problem)
}

func refuse(problem, field string, args ...any) error {
	return &FieldError{Field: fmt.Sprintf(field, args...), Problem: problem}
}
