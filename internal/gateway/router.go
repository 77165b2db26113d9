package gateway

import (
	"context"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
)

// Router passes the calls of controllers for a Cluster to the engines of this process, or to the gateway for one with
// spec.agent. A Cluster that moves from one to the other keeps what is on it: both work under the same identity.
type Router struct {
	Push engine.Pooled
	Pull *Gateway
}

var _ engine.Pooled = Router{}

func (r Router) engineFor(key engine.Key) engine.Pooled {
	if r.Pull.agentOf(key) != nil {
		return r.Pull
	}
	return r.Push
}

// Connect implements engine.Pooled. An engine that worked on the cluster has ended before an agent is given anything,
// and the stream of an agent ends with GoAwayPushed before an engine begins.
func (r Router) Connect(key engine.Key, c engine.Connection) {
	if c.Agent == nil {
		r.Pull.disconnect(key, link.GoAway{Reason: link.GoAwayPushed, RetryAfter: 300})
		r.Push.Connect(key, c)
		return
	}
	if _, pushed := r.Push.State(key); pushed {
		r.Push.Disconnect(key)
	}
	r.Pull.Connect(key, c)
}

// Disconnect implements engine.Pooled.
func (r Router) Disconnect(key engine.Key) {
	r.Pull.Disconnect(key)
	r.Push.Disconnect(key)
}

// Assign implements engine.Pooled.
func (r Router) Assign(key engine.Key, entries []v1alpha1.AssignmentEntry) {
	r.engineFor(key).Assign(key, entries)
}

// Report implements engine.Pooled.
func (r Router) Report(key engine.Key) ([]v1alpha1.AssignmentEntryStatus, bool) {
	return r.engineFor(key).Report(key)
}

// State implements engine.Pooled.
func (r Router) State(key engine.Key) (engine.State, bool) { return r.engineFor(key).State(key) }

// Verify implements engine.Pooled.
func (r Router) Verify(key engine.Key) { r.engineFor(key).Verify(key) }

// Finalize implements engine.Pooled.
func (r Router) Finalize(ctx context.Context, key engine.Key) error {
	return r.engineFor(key).Finalize(ctx, key)
}

// Stop implements engine.Pooled.
func (r Router) Stop(ctx context.Context) {
	r.Pull.Stop(ctx)
	r.Push.Stop(ctx)
}
