// Package report turns what is known into what is said: facts into conditions, counts, events and
// the time of the next look.
//
// It promises that the same facts give the same report; that a report which repeats an earlier one
// changes nothing in it, not even a time; that conditions hold no times, no control characters and
// nothing that differs from one try to the next; and that Ready is True only when everything asked
// for is known to hold. What is not known is Unknown.
package report

import "time"

// Event is something worth telling a person once.
type Event struct {
	Warning bool
	Reason  string
	Message string
}

// Report is what is to be written and done about one object.
type Report[Status any] struct {
	// Status replaces the status of the object.
	Status Status
	// Events are new with this report.
	Events []Event
	// Requeue is the time until the next look, besides what watches wake; zero for none.
	Requeue time.Duration
}
