package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/object"
)

// startEngineFor starts the engine for a Cluster of a hub, with what the disk has of it. Called again with the same, it does
// nothing; for another identity of the hub, it starts another engine. The settings that came count, if any did: those that
// are known may be of another Cluster.
func (a *agent) startEngineFor(ctx context.Context, e link.Enrollment, hub link.HubIdentity, came *link.Settings) error {
	key := v1alpha1.ResolveName("", e.Cluster)
	a.mu.Lock()
	defer a.mu.Unlock()
	hub.Version = "" // the engine does not mind
	if a.pool != nil && a.key == key && equality.Semantic.DeepEqual(a.hub, hub) {
		return nil
	}
	a.stopPool(ctx)
	if a.key != key || a.hub.ID != hub.ID {
		a.assignment, a.assigned, a.held, a.failures = a.loadAssignment(hub.ID, e.Cluster), nil, nil, map[string]failure{}
		entries, err := link.DecodeEntries(a.assignment.Entries)
		if err != nil {
			return err
		}
		a.assigned = entries
		a.journal.setOwner(hub.ID, e.Cluster)
	}
	a.key, a.hub = key, hub
	if came != nil {
		a.assignment.Settings, a.assignment.Inactive = *came, false
		a.saveAssignment()
	}
	a.startPool()
	return nil
}

// afterAllHubs is the start time that the agent's engine has in the claim. Of two processes of a hub that work on a cluster the older
// one goes on. An agent that was cut off when the hub began to reach its cluster itself never receives the request to stop, since its
// key has gone; it gives way to the hub when it sees it write, however often the hub is restarted, and whatever its own
// clock says. One agent alone has the lease, so that two of them never ask this of one another.
var afterAllHubs = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// startPool starts the engine with what is known.
func (a *agent) startPool() {
	if a.assignment.Inactive || a.finalized != "" {
		return
	}
	a.pool = a.newPool(engine.PoolOptions{
		Hub: a.hub.ID, HubUID: a.hub.UID, HubNamespace: a.hub.Namespace,
		Bundles: engineBundles{a}, Fence: a.lease, UserAgent: "skerry-agent/" + a.version, Since: afterAllHubs,
		OnChange: func(engine.Key) { wake(a.reportDue) },
		OnEvent:  func(e engine.Event) { a.journal.add(e); wake(a.reportDue) },
		Now:      a.now, Log: a.log.WithName("engine"),
	})
	a.connect()
	if len(a.assignment.Entries) > 0 || a.assignment.UID != "" {
		a.assignToEngine()
	}
}

func (a *agent) connect() {
	a.pool.Connect(a.key, engine.Connection{
		Config: a.config, Fingerprint: "agent", KnownUID: a.clusterUID,
		Suspend: a.assignment.Settings.Suspend, TakeOver: a.assignment.Settings.TakeOver, Namespaces: a.namespaces,
	})
}

// stopEngine ends the engine, for startEngineFor to start another one: what it has given way to does not keep back one that the hub
// has invited since.
func (a *agent) stopEngine(ctx context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopPool(ctx)
}

// stopPool ends the engine at an object boundary, also when ctx is done already.
func (a *agent) stopPool(ctx context.Context) {
	if a.pool == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer cancel()
	a.pool.Stop(ctx)
	a.pool = nil
}

// stopGrace is how long the engine has to get to the end of the object at hand.
const stopGrace = 5 * time.Second

// assignToEngine gives the engine the entries that it can apply with the bundles that are on the disk. The mutex is held.
func (a *agent) assignToEngine() {
	there := a.bundles.digests()
	now, held := effective(a.assigned, a.assignment.EngineEntries, func(d string) bool { return there[d] })
	a.held = held
	if !equality.Semantic.DeepEqual(now, a.assignment.EngineEntries) {
		a.assignment.EngineEntries = now
		a.saveAssignment()
	}
	if a.pool != nil {
		a.pool.Assign(a.key, now)
	}
	wake(a.reportDue)
}

// reassign gives the engine the entries that it can apply with the bundles that are on the disk now. Where a bundle came back
// that it was given before, and the disk had lost, the engine verifies all. Where complete is set, no bundle is missing:
// those that nothing needs are removed.
func (a *agent) reassign(arrived []string, complete bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.assignment.UID == "" {
		return
	}
	recovered := slices.ContainsFunc(wantedDigests(a.assignment.EngineEntries), func(d string) bool { return slices.Contains(arrived, d) })
	a.assignToEngine()
	if a.pool == nil {
		return
	}
	if recovered {
		a.pool.Verify(a.key)
	}
	if !complete {
		return
	}
	report, reported := a.pool.Report(a.key)
	if !reported || len(a.held) > 0 {
		return
	}
	a.bundles.collect(digestsToKeep(a.assigned, a.assignment.EngineEntries, report))
}

// verify asks for a full verification.
func (a *agent) verify() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pool != nil {
		a.pool.Verify(a.key)
	}
}

// deactivate ends the engine until the hub wants the agent again: it works on the cluster itself, or the cluster is
// another one than the hub knows.
func (a *agent) deactivate(ctx context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.assignment.Inactive || a.key.Name == "" {
		return
	}
	a.assignment.Inactive = true
	a.saveAssignment()
	a.stopPool(ctx)
}

// reported returns what the hub is to know.
func (a *agent) reported() (*link.State, []v1alpha1.AssignmentEntryStatus, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.finalized != "" { // a hub that has not got the answer asks only a cluster that it can work on
		return &link.State{Reachable: true, Usable: true, UID: a.clusterUID}, nil, false
	}
	if a.pool == nil {
		return nil, nil, false
	}
	entries, reported := a.pool.Report(a.key)
	s, known := a.pool.State(a.key)
	var state *link.State
	if known && s.Known {
		state = stateOf(s)
	}
	if !reported {
		return state, nil, false
	}
	return state, withHeld(entries, a.assigned, a.held, a.failures), true
}

// engineBundles hands bundles to the engine. One that was on the disk and is not whole any more is fetched again.
type engineBundles struct{ a *agent }

// Get implements engine.Bundles.
func (v engineBundles) Get(ctx context.Context, digest string) (*object.Bundle, error) {
	if b := v.a.fresh.take(digest); b != nil {
		return b, nil
	}
	b, err := v.a.bundles.Get(ctx, digest)
	if err != nil {
		wake(v.a.fetchDue)
		return nil, fmt.Errorf("cannot read a bundle from the agent's disk: %w", err)
	}
	return b, nil
}
