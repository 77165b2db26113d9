package agent

import (
	"context"
	"errors"
	"time"
)

// finalize takes away what Skerry keeps on the cluster for itself, once: a hub that asks again has not got the answer.
// That it was done is written down before the hub hears of it, since its next answer may be that it knows no such key.
// A hub that does not wait any longer asks with another request while the first is under way: that one waits for it.
func (a *agent) finalize(ctx context.Context, request string) error {
	a.finalizeMu.Lock()
	defer a.finalizeMu.Unlock()
	a.mu.Lock()
	pool, key, done := a.pool, a.key, a.finalized != ""
	a.mu.Unlock()
	if done {
		return nil
	}
	if pool == nil {
		return errors.New("the engine of the agent rests")
	}
	if err := pool.Finalize(ctx, key); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // the link may have gone meanwhile
	if err := a.recordFinalized(ctx, request); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.finalized = request
	a.stopPool(ctx)
	a.assignment, a.assigned, a.held = assignmentState{Hub: a.assignment.Hub, Cluster: a.assignment.Cluster}, nil, nil
	a.disk.Remove(assignmentRecord)
	return nil
}

// finalizeAcknowledged records that the hub knows of a finalization. An agent that is restarted meanwhile is to know it as well.
func (a *agent) finalizeAcknowledged(ctx context.Context, at time.Time) {
	a.setAcknowledged(at)
	if err := a.recordAcknowledged(context.WithoutCancel(ctx), at); err != nil { // then the restart waits for the hub
		a.log.Info("cannot write down that the hub has acknowledged the removal", "error", err.Error())
	}
}

func (a *agent) setAcknowledged(at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.acknowledgedAt = at
}

// releaseTimedOut reports whether the hub has acknowledged a finalization, and had the time to let the Cluster go.
func (a *agent) releaseTimedOut(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.acknowledgedAt.IsZero() && now.Sub(a.acknowledgedAt) >= releaseTimeout
}

// isFinalized reports whether a request for finalization was carried out.
func (a *agent) isFinalized() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.finalized != ""
}

func (p *process) setFinalized(request string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.agent.finalized, p.agent.acknowledgedAt = request, time.Time{}
}

// writeFinalized writes down that a finalization was carried out, or forgets it when it is empty. A session calls it
// while the loop that connects waits for the session, and for one finalization at a time.
func (p *process) writeFinalized(ctx context.Context, request string) (err error) {
	p.identity, err = p.identities.change(ctx, p.identity, map[string][]byte{finalizedField: []byte(request), acknowledgedField: nil})
	return err
}

// writeAcknowledged writes down when the hub has acknowledged a finalization, as writeFinalized does. That was carried out
// before, so that no other is written down meanwhile.
func (p *process) writeAcknowledged(ctx context.Context, at time.Time) (err error) {
	p.identity, err = p.identities.change(ctx, p.identity, map[string][]byte{acknowledgedField: []byte(at.UTC().Format(time.RFC3339))})
	return err
}

// uninstall takes away what runs the agent: the hub has removed the Cluster.
func (p *process) uninstall(ctx context.Context) error {
	p.log.Info("the hub has removed this cluster: the agent takes itself away")
	p.stop(ctx)
	for _, name := range p.disk.List("") {
		p.disk.Remove(name)
	}
	p.disk.DropLog(journalRecord)
	if p.o.KeepInstallation {
		return nil
	}
	return p.identities.uninstall(ctx)
}
