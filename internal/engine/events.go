package engine

import (
	"fmt"

	"github.com/skerry-dev/skerry/internal/text"
)

// maxEvents bounds the events of one reason that one pass sends, each of which is a write to the hub's
// API server.
const maxEvents = 10

// summarize keeps the first events of each reason, and counts the others in one more.
//
// A Namespace of 300 objects that comes back after its deletion sends 10 events DriftCorrected that name
// an object each, and one for "290 objects more".
func summarize(events []Event) []Event {
	var out []Event
	seen := map[string]int{}
	last := map[string]Event{}
	for _, e := range events {
		if seen[e.Reason]++; seen[e.Reason] <= maxEvents {
			out = append(out, e)
		} else {
			last[e.Reason] = e
		}
	}
	for _, e := range out {
		rest, ok := last[e.Reason]
		if !ok {
			continue
		}
		rest.Message = fmt.Sprintf("%s more", text.Count(seen[e.Reason]-maxEvents, "object"))
		out = append(out, rest)
		delete(last, e.Reason)
	}
	return out
}
