package simulator

import "time"

// Counters are part of what the simulator answers at its control endpoint: what edges have counted since they began. Those of two moments can be subtracted.
type Counters struct {
	// Requests by verb: get, list, watch, create, update, patch, apply, delete and other.
	Requests map[string]int64 `json:"requests"`
	// Writes are creates, updates, patches, applies and deletes, refused ones included.
	Writes int64 `json:"writes"`
	// OpenWatches are those that are open at this moment.
	OpenWatches int64 `json:"openWatches"`
}

// Beyond returns the number of requests that are not watches.
func (c Counters) Beyond() int64 {
	var n int64
	for verb, count := range c.Requests {
		if verb != "watch" {
			n += count
		}
	}
	return n
}

// Sub returns what was counted since an earlier moment. What is open now stays as it is.
func (c Counters) Sub(earlier Counters) Counters {
	d := c
	d.Requests = map[string]int64{}
	for verb, n := range c.Requests {
		d.Requests[verb] = n - earlier.Requests[verb]
	}
	d.Writes -= earlier.Writes
	return d
}

// Write is one write to an edge that it answered, whatever it answered.
type Write struct {
	Time      time.Time `json:"time"`
	Verb      string    `json:"verb"` // create, update, patch, apply or delete
	Group     string    `json:"group,omitempty"`
	Resource  string    `json:"resource"`
	Namespace string    `json:"namespace,omitempty"`
	Name      string    `json:"name"`
	Manager   string    `json:"manager"`
	Agent     string    `json:"agent"` // what the sender calls itself
	Code      int       `json:"code"`  // HTTP status
}
