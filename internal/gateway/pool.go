package gateway

import (
	"context"
	"maps"
	"math/bits"
	"slices"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
)

var _ engine.Pooled = (*Gateway)(nil)

// Connect implements engine.Pooled: it takes over the spec of a Cluster. A session of another key ends at once, and one whose
// cluster another Cluster has got a better right to.
func (g *Gateway) Connect(key engine.Key, c engine.Connection) {
	g.mu.Lock()
	if g.stopped {
		g.mu.Unlock()
		return
	}
	a := g.agents[key]
	if a == nil {
		a = &agent{key: key, hubID: g.o.Hub.ID, created: g.o.Now()}
		g.agents[key] = a
	}
	g.mu.Unlock()
	a.mu.Lock()
	before := a.publicKey
	a.setConnection(c)
	var revoked *session
	if !slices.Equal(before, a.publicKey) || c.Agent.Approval == v1alpha1.AgentApprovalManual && c.ApprovedKey != a.fingerprint {
		revoked, a.version, a.carried = a.session, "", link.Carried{}
		a.forgetState()
	}
	if a.refused != nil && a.refused.reason == v1alpha1.AgentNotApprovedReason && c.ApprovedKey == a.fingerprint {
		a.refused = nil
	}
	a.wakeStream() // the settings may have changed
	other := a.clearReplacedStatuses()
	a.mu.Unlock()
	if other {
		g.o.OnChange(key)
	}
	if revoked != nil {
		g.o.Log.Info("the key of an agent is revoked", "cluster", key)
		g.endSession(revoked, &link.GoAway{Reason: link.GoAwayRevoked, RetryAfter: 60})
	}
	g.endIfDisplaced(a)
}

func fingerprint(key []byte) string {
	if key == nil {
		return ""
	}
	return link.Fingerprint(key)
}

// Disconnect implements engine.Pooled.
func (g *Gateway) Disconnect(key engine.Key) {
	g.disconnect(key, link.GoAway{Reason: link.GoAwayElsewhere, RetryAfter: 2})
}

// disconnect removes a Cluster, and ends its stream with goAway.
func (g *Gateway) disconnect(key engine.Key, goAway link.GoAway) {
	g.mu.Lock()
	a := g.agents[key]
	delete(g.agents, key)
	g.mu.Unlock()
	if a == nil {
		return
	}
	a.mu.Lock()
	s := a.session
	a.mu.Unlock()
	g.endSession(s, &goAway)
	g.limits.forget(key)
}

// HandedOver returns for how many agents that have joined the controllers have handed over what is assigned to them. The
// others are refused with a time to retry.
func (g *Gateway) HandedOver() int {
	g.mu.Lock()
	agents := slices.Collect(maps.Values(g.agents))
	g.mu.Unlock()
	n := 0
	for _, a := range agents {
		a.mu.Lock()
		if a.assignmentKnown && a.publicKey != nil {
			n++
		}
		a.mu.Unlock()
	}
	return n
}

// Assign implements engine.Pooled.
func (g *Gateway) Assign(key engine.Key, entries []v1alpha1.AssignmentEntry) {
	a := g.agentOf(key)
	if a == nil {
		return
	}
	stored, err := g.o.Assignment(context.Background(), key) //nolint:forbidigo // a look into the cache
	if err == nil {
		err = a.assign(entries, stored, g.o.Key)
	}
	if err != nil { // what was assigned before stands
		g.o.Log.Error(err, "cannot send an Assignment", "cluster", key)
		g.o.OnChange(key) // its controller tries again
	}
}

// Report implements engine.Pooled. It returns false until the agent has reported everything to this process.
func (g *Gateway) Report(key engine.Key) ([]v1alpha1.AssignmentEntryStatus, bool) {
	a := g.agentOf(key)
	if a == nil {
		return nil, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.statuses, a.reportComplete
}

// State implements engine.Pooled.
func (g *Gateway) State(key engine.Key) (engine.State, bool) {
	a := g.agentOf(key)
	if a == nil {
		return engine.State{}, false
	}
	if g.o.DisabledReason != "" {
		return engine.State{Known: true, Reason: v1alpha1.AgentNotConnectedReason, Message: g.o.DisabledReason, Agent: link.AgentInfo{Pending: true}}, true
	}
	now := g.o.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stateAt(now), true
}

// Verify implements engine.Pooled.
func (g *Gateway) Verify(key engine.Key) {
	if a := g.agentOf(key); a != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.verify++
		a.wakeStream()
	}
}

// Finalize implements engine.Pooled. The agent goes on when ctx is done; the next call waits for the same.
func (g *Gateway) Finalize(ctx context.Context, key engine.Key) error {
	a := g.agentOf(key)
	if a == nil {
		return engine.ErrNotConnected
	}
	done, ok := a.beginFinalize()
	if !ok {
		return engine.ErrNotConnected
	}
	select {
	case err := <-done:
		a.mu.Lock()
		defer a.mu.Unlock()
		if err != nil {
			a.finalize = "" // the next call asks anew
		} else {
			done <- nil // for a call whose answer was lost
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *agent) beginFinalize() (chan error, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.finalize == "" {
		if a.session == nil || a.session.stream == nil {
			return nil, false
		}
		a.finalize = randomText()
		a.finalizing = make(chan error, 1)
		a.finalized = a.finalizing
		a.wakeStream()
	}
	return a.finalizing, true
}

// Stop implements engine.Pooled: it ends all streams with a time to retry, each with its own, so that a hub which starts at
// once has agents at once and is not overloaded.
func (g *Gateway) Stop(context.Context) {
	g.mu.Lock()
	g.stopped = true
	sessions := make([]*session, 0, len(g.sessions))
	for _, s := range g.sessions {
		sessions = append(sessions, s)
	}
	g.mu.Unlock()
	for i, s := range sessions { // in the order of a map, which is another one each time
		g.endSession(s, &link.GoAway{Reason: link.GoAwayStopping, RetryAfter: returnAfter(i)})
	}
}

// returnsPerSecond is how many agents come back in a second. A TLS handshake and a proof cost about a millisecond of a
// processor, and what follows, the Assignment and the report, several.
const returnsPerSecond = 200

// returnAfter returns how many seconds the session number i, from 0 on, is to stay away (GoAway.RetryAfter). One second each has
// returnsPerSecond sessions, and an agent waits between one and two times that. So those of the seconds from
// 1 to 2, from 2 to 4, from 4 to 8 and so on get the first of these, and come back evenly over all of them.
//
// Example: 10,000 sessions are those of 50 seconds. 200 get 1 s, 400 2 s, 800 4 s, 1,600 8 s and 3,200 16 s; 200
// of them are back in each second from the first to the 32nd. 3,800 get 32 s, and 119 are back in each second from
// the 32nd to the 64th.
func returnAfter(i int) int64 {
	second := uint(1 + i/returnsPerSecond)
	return 1 << (bits.Len(second) - 1)
}
