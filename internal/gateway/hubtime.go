package gateway

import (
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// exportGap is by how much an export is later than the last one where the hub's clock does not say so. What is said over
// the link in between is later by a nanosecond each, so that a hub which is started anew, and knows of exports alone,
// goes on behind that.
const exportGap = time.Second

// lastHubTime bounds the times that an agent can name.
var lastHubTime = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// hubTime orders what one agent is sent, over the link and by medium: it is the hub's clock, and goes on behind what the
// agent may have seen already where that clock was set back. So a hub whose clock once was ahead is heard again, and what
// it made meanwhile stays older than what it makes now.
//
// Example: the clock shows 2030 for an hour, and a file is made. It is put right, to 2026: the next file is one of 2030
// and a second, and the next frame one of a nanosecond after that.
type hubTime struct {
	last time.Time
}

// observe makes later times later than one that the agent has seen.
func (t *hubTime) observe(seen time.Time) {
	if seen.After(t.last) && seen.Before(lastHubTime) {
		t.last = seen
	}
}

// next returns the time of what is sent now, which is later than all before by the gap at least.
func (t *hubTime) next(now time.Time, gap time.Duration) time.Time {
	now = now.Round(0) // what a monotonic clock says does not go back with the clock
	if earliest := t.last.Add(gap); now.Before(earliest) {
		now = earliest
	}
	t.last = now
	return now
}

// exportedAt returns the time of the last export that is written down on a Cluster; zero for none.
func exportedAt(c *v1alpha1.Cluster) time.Time {
	at, err := time.Parse(time.RFC3339Nano, c.Annotations[v1alpha1.MediumExportedAnnotation])
	if err != nil { // a person has changed it
		return time.Time{}
	}
	return at
}
