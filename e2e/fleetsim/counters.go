package fleetsim

import (
	"sync/atomic"
	"time"
	"unique"
)

// Counters are what one edge, or all together, have counted since they began. Those of two moments
// can be subtracted.
type Counters struct {
	// Requests by verb: get, list, watch, create, update, patch, apply, delete, and other for
	// discovery and versions. Those that a fault answered count under their verb if it could be
	// told, else under other.
	Requests map[string]int64 `json:"requests"`
	// Failed requests are those answered with 400 or more.
	Failed int64 `json:"failed"`
	// Faulty requests are those that a fault answered, or swallowed.
	Faulty int64 `json:"faulty"`
	// Writes are creates, updates, patches, applies and deletes, refused ones included.
	Writes int64 `json:"writes"`
	// Events that watches were sent, bookmarks not included.
	Events int64 `json:"events"`
	// Connections that were accepted.
	Connections int64 `json:"connections"`
	// Open connections and watches, and objects kept, at this moment.
	OpenConnections int64 `json:"openConnections"`
	OpenWatches     int64 `json:"openWatches"`
	Objects         int64 `json:"objects"`
}

// Beyond returns the number of requests that are not watches.
func (c Counters) Beyond() int64 {
	var n int64
	for verb, count := range c.Requests {
		if verb != verbWatch.String() {
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
	d.Failed -= earlier.Failed
	d.Faulty -= earlier.Faulty
	d.Writes -= earlier.Writes
	d.Events -= earlier.Events
	d.Connections -= earlier.Connections
	return d
}

func (c *Counters) add(d Counters) {
	for verb, n := range d.Requests {
		c.Requests[verb] += n
	}
	c.Failed += d.Failed
	c.Faulty += d.Faulty
	c.Writes += d.Writes
	c.Events += d.Events
	c.Connections += d.Connections
	c.OpenConnections += d.OpenConnections
	c.OpenWatches += d.OpenWatches
	c.Objects += d.Objects
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

// logSize bounds the writes that an edge remembers.
const logSize = 1024

type counters struct {
	Requests    [verbs]atomic.Int64
	Failed      atomic.Int64
	Faulty      atomic.Int64
	Events      atomic.Int64
	Connections atomic.Int64
}

func (c *counters) request(v verb, code int) {
	c.Requests[v].Add(1)
	if code >= 400 {
		c.Failed.Add(1)
	}
}

// Counters returns what the edge has counted.
func (e *Edge) Counters() Counters {
	c := Counters{
		Requests: make(map[string]int64, verbs),
		Failed:   e.count.Failed.Load(), Faulty: e.count.Faulty.Load(),
		Events: e.count.Events.Load(), Connections: e.count.Connections.Load(),
	}
	for v := range verbs {
		n := e.count.Requests[v].Load()
		c.Requests[v.String()] = n
		if v.writes() {
			c.Writes += n
		}
	}
	e.net.Lock()
	c.OpenConnections = int64(len(e.net.conns))
	e.net.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, col := range e.store {
		c.OpenWatches += int64(len(col.watchers))
		c.Objects += int64(len(col.objects))
	}
	return c
}

// noted is a Write in little space.
type noted struct {
	at                       int64 // nanoseconds since 1970
	kind                     *kind
	namespace, name, manager string
	agent                    unique.Handle[string] // one text for all edges
	verb                     verb
	code                     uint16
}

func (e *Edge) note(c *call, code int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.log) == logSize {
		e.log = append(e.log[:0], e.log[logSize/2:]...)
	}
	e.log = append(e.log, noted{time.Now().UnixNano(), c.kind, c.namespace, c.name, c.manager(), unique.Make(c.userAgent), c.verb, uint16(code)})
}

// Writes returns the writes that came since the last ForgetWrites, the last 1,024 of them at most,
// in their order.
func (e *Edge) Writes() []Write {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]Write, len(e.log))
	for i, n := range e.log {
		out[i] = Write{
			Time: time.Unix(0, n.at), Verb: n.verb.String(), Group: n.kind.gvk.Group, Resource: n.kind.resource,
			Namespace: n.namespace, Name: n.name, Manager: n.manager, Agent: n.agent.Value(), Code: int(n.code),
		}
	}
	return out
}

// ForgetWrites empties the list that Writes returns; the counters stay.
func (e *Edge) ForgetWrites() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.log = nil
}
