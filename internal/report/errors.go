package report

import (
	"errors"
	"time"
)

// Transient is an error that may go away by itself: it is tried again with growing pauses. An error
// that is neither Transient nor Waiting nor Stalled is one of the hub's own API: it is logged and
// tried again, and nothing is reported of it, for it is no fact about the object.
type Transient struct {
	Reason string
	Err    error
}

func (e *Transient) Error() string { return e.Err.Error() }
func (e *Transient) Unwrap() error { return e.Err }

// Waiting means that something else has to happen first.
type Waiting struct {
	Reason string
	// After is the time until the next look; zero when a watch shows it.
	After time.Duration
	Err   error
}

func (e *Waiting) Error() string { return e.Err.Error() }
func (e *Waiting) Unwrap() error { return e.Err }

// Stalled means that only a change of the input can help.
type Stalled struct {
	Reason string
	Err    error
}

func (e *Stalled) Error() string { return e.Err.Error() }
func (e *Stalled) Unwrap() error { return e.Err }

// IsReportable reports whether conditions speak of the error: whether it is one of the three kinds above.
func IsReportable(err error) bool { return explain(err) != nil }

// problem is an error as conditions speak of it.
type problem struct {
	reason, message  string
	stalled, waiting bool
	after            time.Duration
}

// explain returns nil for an error of which nothing is said.
func explain(err error) *problem {
	var transient *Transient
	var waiting *Waiting
	var stalled *Stalled
	switch {
	case errors.As(err, &stalled):
		return &problem{reason: stalled.Reason, message: Line(err.Error()), stalled: true}
	case errors.As(err, &waiting):
		return &problem{reason: waiting.Reason, message: Line(err.Error()), waiting: true, after: waiting.After}
	case errors.As(err, &transient):
		return &problem{reason: transient.Reason, message: Line(err.Error())}
	}
	return nil
}
