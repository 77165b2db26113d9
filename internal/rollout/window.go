package rollout

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // zones are the same wherever this runs, a bare image included

	"github.com/robfig/cron/v3"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// window is a time in which clusters may be started.
type window struct {
	schedule cron.Schedule
	length   time.Duration
	zone     *time.Location
}

type windows []window

// reference is a moment from which a schedule that ever opens opens within five years.
var reference = time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC)

func readWindows(specs []v1alpha1.RolloutWindow) (windows, error) {
	var all windows
	for i, spec := range specs {
		w, err := readWindow(spec)
		if err != nil {
			return nil, fmt.Errorf("window %d: %w", i+1, err)
		}
		all = append(all, w)
	}
	return all, nil
}

func readWindow(spec v1alpha1.RolloutWindow) (window, error) {
	// The parser takes descriptors and zones in the schedule as well, and panics at some of them.
	if len(strings.Fields(spec.Schedule)) != 5 || strings.ContainsAny(spec.Schedule, "=@") {
		return window{}, fmt.Errorf("schedule %q does not have the five fields of cron", spec.Schedule)
	}
	schedule, err := cron.ParseStandard(spec.Schedule)
	if err != nil {
		return window{}, fmt.Errorf("cannot read schedule %q: %w", spec.Schedule, err)
	}
	if schedule.Next(reference).IsZero() {
		return window{}, fmt.Errorf("schedule %q never opens", spec.Schedule)
	}
	zone, err := time.LoadLocation(spec.TimeZone)
	if err != nil || strings.EqualFold(spec.TimeZone, "local") { // which would be where the hub runs
		return window{}, fmt.Errorf("there is no time zone %q", spec.TimeZone)
	}
	if spec.Duration.Duration <= 0 {
		return window{}, fmt.Errorf("duration must be more than 0s")
	}
	return window{schedule, spec.Duration.Duration, zone}, nil
}

// open reports whether one of the windows is open at t, as none at all are.
func (ws windows) open(t time.Time) bool {
	for _, w := range ws {
		if !w.opening(t.Add(-w.length)).After(t) {
			return true
		}
	}
	return len(ws) == 0
}

// next is when the first window opens after t, in its zone.
func (ws windows) next(t time.Time) time.Time {
	var first time.Time
	for _, w := range ws {
		if at := w.opening(t); first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

// opening is when the window opens first after t. The schedule is read as the clock on the wall shows
// it: an hour that happens twice opens the window once, and one that is skipped as much later, so that
// no day goes without.
func (w window) opening(t time.Time) time.Time {
	wall := wallClock(t.In(w.zone))
	if back := offset(t, w.zone) - offset(t.Add(-24*time.Hour), w.zone); back != 0 {
		wall = wall.Add(-back.Abs()) // what was skipped, or was shown before, is behind on the wall only
	}
	for {
		if wall = w.schedule.Next(wall); wall.IsZero() {
			return t.AddDate(100, 0, 0) // only for a schedule that is out of the parser's sight
		}
		if at := w.moment(wall); at.After(t) {
			return at
		}
	}
}

// wallClock is what the clock shows, as if it did so in UTC, where no hour is skipped or comes twice.
func wallClock(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// moment is when the clock in the zone of the window shows what is on the wall: the first time that
// it does, or, if it never does, where it would be if it had not been changed.
func (w window) moment(wall time.Time) time.Time {
	before, after := offset(wall.Add(-24*time.Hour), w.zone), offset(wall.Add(24*time.Hour), w.zone)
	first, other := wall.Add(-before).In(w.zone), wall.Add(-after).In(w.zone)
	if wallClock(first).Equal(wall) || !wallClock(other).Equal(wall) {
		return first
	}
	return other
}

func offset(t time.Time, zone *time.Location) time.Duration {
	_, seconds := t.In(zone).Zone()
	return time.Duration(seconds) * time.Second
}
