package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/rest"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/agent/disk"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/object"
)

// assignmentRecord is what the agent goes on from without its hub.
const assignmentRecord = "assignment"

// assignmentState is the record: what is assigned, and what the engine was given of it.
type assignmentState struct {
	// Hub and Cluster are those that it is of: a record of another hub is none.
	Hub     string `json:"hub"`
	Cluster string `json:"cluster"`
	// UID and Generation are those of the Assignment on the hub, Entries its entries as they came.
	UID        string       `json:"uid,omitempty"`
	Generation int64        `json:"generation,omitempty"`
	Entries    []link.Entry `json:"entries,omitempty"`
	// EngineEntries are those that the engine was given last: they differ from Entries while a bundle is missing.
	EngineEntries []v1alpha1.AssignmentEntry `json:"told,omitempty"`
	Settings      link.Settings              `json:"settings"`
	// SettingsAt is the latest time by the hub's clock at which the hub said Settings, over a link or by medium; zero
	// where that is not known.
	SettingsAt time.Time `json:"settingsAt,omitzero"`
	// Inactive is set while the engine must not work: the hub reaches the cluster itself, or knows another one.
	Inactive bool `json:"resting,omitempty"`
	// Exported is when the last update was made that came by medium, by the hub's clock.
	Exported time.Time `json:"exported,omitzero"`
	// AsOf is the time by the hub's clock at which the Assignment held, over a link or by medium; zero where the hub did
	// not sign it.
	AsOf time.Time `json:"asOf,omitzero"`
}

// matches reports whether a change leads to what the agent has.
func (m assignmentState) matches(change link.Assignment) bool {
	return change.UID == m.UID && change.Generation == m.Generation && change.Digest == link.Digest(m.Entries)
}

// latest is the latest time by the hub's clock of which the agent has anything; zero for none.
func (m assignmentState) latest() time.Time { return latest(m.SettingsAt, latest(m.Exported, m.AsOf)) }

// agent is one process that works on one cluster.
type agent struct {
	log      logr.Logger
	now      func() time.Time
	version  string
	instance string
	started  time.Time

	config     *rest.Config
	lease      *lease
	disk       *disk.Store
	bundles    bundles
	fresh      fresh
	journal    *journal
	clusterUID string
	namespaces []string // that the account reaches; all when empty
	delays     timings
	// newPool makes the engine's pool.
	newPool func(engine.PoolOptions) engine.Pooled
	// recordFinalized writes down, where it survives a restart, that a request was carried out, and recordAcknowledged when
	// the hub has acknowledged that.
	recordFinalized    func(ctx context.Context, request string) error
	recordAcknowledged func(ctx context.Context, at time.Time) error

	// reportDue and fetchDue wake the session, and maintenanceDue maintainDisk; each holds one.
	reportDue, fetchDue, maintenanceDue chan struct{}

	// finalizeMu is held while a finalization is carried out, so that one writes it down.
	finalizeMu sync.Mutex

	mu         sync.Mutex // guards what follows
	pool       engine.Pooled
	key        engine.Key
	hub        link.HubIdentity
	assignment assignmentState
	assigned   []v1alpha1.AssignmentEntry // assignment.Entries, decoded
	held       []string
	failures   map[string]failure
	// finalized is the request that was carried out: nothing of Skerry's is on the cluster since, and the engine rests.
	// acknowledgedAt is when the hub has acknowledged that; zero for not.
	finalized      string
	acknowledgedAt time.Time
	// diverged is set when a change does not follow from what the agent has, so that it asks for all of the Assignment.
	diverged bool
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

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

// loadAssignment reads the record of the disk; an empty one where there is none, or one of another Cluster.
func (a *agent) loadAssignment(hub, cluster string) assignmentState {
	var m assignmentState
	data, err := a.disk.Read(assignmentRecord)
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil || m.Hub != hub || m.Cluster != cluster {
		return assignmentState{Hub: hub, Cluster: cluster}
	}
	return m
}

func (a *agent) saveAssignment() {
	data, err := json.Marshal(a.assignment)
	if err != nil { // these are strings and numbers
		a.log.Error(err, "cannot encode what is assigned")
		return
	}
	_ = a.disk.Write(assignmentRecord, data) // the disk names its problem itself
}

// afterAllHubs is the start time that the agent's engine has in the claim. Of two processes of a hub that work on a cluster the older
// one goes on. An agent that was cut off when the hub began to reach its cluster itself is never told to stop, since its
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

// missing returns the digests of the bundles that are to be fetched.
func (a *agent) missing() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	there := a.bundles.digests()
	return slices.DeleteFunc(wantedDigests(a.assigned), func(d string) bool { return there[d] })
}

// errAssignedAgain is returned when the hub, which had the cluster removed, assigns something: it was restored from a backup.
var errAssignedAgain = errors.New("the hub has removed this cluster, and assigns something to it again")

// takeAssignment takes what the hub has changed of the Assignment. After link.ErrDiverged the agent must begin with
// nothing, after errAssignedAgain it must begin a session in which the finalization is forgotten.
func (a *agent) takeAssignment(e link.Enrollment, change link.Assignment, o order) error {
	if !link.Verify(e.HubKey, link.AssignmentTranscript(e.HubID, e.Cluster, change), change.Signature) {
		return errors.New("an Assignment came that the hub did not sign")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if o.leadsOn {
		if err := checkNotOlder(a.assignment, change); err != nil {
			return err
		}
	}
	before := a.assignment.Entries
	if a.diverged {
		before = nil
	}
	entries, err := change.Apply(before)
	if err != nil {
		return err
	}
	if err := a.storeAssignment(change, entries, o.asOf); err != nil {
		return err
	}
	there := a.bundles.digests()
	for _, d := range wantedDigests(a.assigned) {
		if !there[d] { // the session fetches it, and assigns to the engine then
			wake(a.fetchDue)
			return nil
		}
	}
	a.assignToEngine()
	return nil
}

// storeAssignment makes the entries what is assigned; asOf is the time by the hub's clock at which they were, zero where that is not
// known. The mutex is held.
func (a *agent) storeAssignment(change link.Assignment, entries []link.Entry, asOf time.Time) error {
	assigned, err := link.DecodeEntries(entries)
	if err != nil {
		return err
	}
	if a.finalized != "" && slices.ContainsFunc(assigned, func(e v1alpha1.AssignmentEntry) bool { return !e.Remove }) {
		return errAssignedAgain
	}
	if a.assignment.matches(change) { // what held later is known to have held
		asOf = latest(a.assignment.AsOf, asOf)
	}
	a.assignment.UID, a.assignment.Generation, a.assignment.Entries, a.assigned = change.UID, change.Generation, entries, assigned
	a.assignment.AsOf, a.diverged = asOf, false
	a.failures = map[string]failure{}
	a.saveAssignment() // before the engine acts on it: a restart goes on from here
	return nil
}

// have is what the agent has of the Assignment.
func (a *agent) have() link.Have {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.assignment.UID == "" || a.diverged {
		return link.Have{}
	}
	return link.HaveEntries(a.assignment.Entries)
}

// latestSeen is the latest time by the hub's clock that the agent has seen; zero for none.
func (a *agent) latestSeen() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.assignment.latest()
}

// forgetAssignment makes the next stream begin with nothing. The engine keeps what it was given, and what it is remains
// known: what leads on from nothing is not older than what is forgotten.
func (a *agent) forgetAssignment() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.diverged = true
}

// settingsOr returns the settings that came, or those that hold where none did.
func (a *agent) settingsOr(came *link.Settings) link.Settings {
	if came != nil {
		return *came
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.assignment.Settings
}

// adoptSettings takes the settings of the Cluster; at is the time by the hub's clock at which they held, zero where that is not
// known. A session begins with the settings, and writes the time down with the Assignment that follows.
func (a *agent) adoptSettings(s link.Settings, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.assignment.SettingsAt = latest(a.assignment.SettingsAt, at)
	if a.assignment.Settings == s && !a.assignment.Inactive {
		return
	}
	wasInactive := a.assignment.Inactive
	a.assignment.Settings, a.assignment.Inactive = s, false
	a.saveAssignment()
	if wasInactive && a.pool == nil {
		a.startPool()
		return
	}
	if a.pool != nil {
		a.connect()
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

// recordFetch records how the download of a bundle ended.
func (a *agent) recordFetch(digest string, f *failure) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f == nil {
		delete(a.failures, digest)
		return
	}
	if a.failures[digest] != *f {
		a.failures[digest] = *f
		a.log.Info("cannot fetch a bundle", "digest", digest, "reason", f.reason, "message", f.message)
	}
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

// verify asks for a full verification.
func (a *agent) verify() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pool != nil {
		a.pool.Verify(a.key)
	}
}

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
