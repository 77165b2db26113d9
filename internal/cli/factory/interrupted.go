package factory

import (
	"context"
	"errors"
)

// Interrupted is the error of a command that was ended with Ctrl-C. It says what goes on without the command, or how
// to go on with it; "" when there is neither.
func Interrupted(continues string) error { return &interrupted{continues} }

type interrupted struct{ continues string }

func (e *interrupted) Error() string {
	if e.continues == "" {
		return "interrupted"
	}
	return "interrupted; " + e.continues
}

func (e *interrupted) Unwrap() error { return context.Canceled }

// interruption is what is said of a command that was interrupted.
func interruption(err error) string {
	if own, ok := errors.AsType[*interrupted](err); ok {
		return own.Error()
	}
	return Interrupted("").Error()
}
