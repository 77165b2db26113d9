package engine

import (
	"errors"
	"testing"
	"time"
)

// Of a cluster that is lost, lastSeen is the time of its last answer, be it an answer to a request or an event on a
// watch, and not when the hub asked last.
func TestLastSeenOfALostClusterIsItsLastAnswer(t *testing.T) {
	dialled := time.Unix(1_700_000_000, 0)
	heard := dialled.Add(26 * time.Second)
	e := newEngine(Key{Name: "edge"}, PoolOptions{Now: func() time.Time { return heard }}, newLimits(), nil, siblings{})
	e.conn.state = State{Reachable: true, Known: true, LastSeen: dialled}
	e.recordAnswer(nil)
	e.connectionFailed(errors.New("connection refused"), heard.Add(7*time.Second))
	if s := e.conn.state; s.Reachable || !s.LastSeen.Equal(heard) {
		t.Errorf("%+v", s)
	}
}
