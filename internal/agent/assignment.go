package agent

import (
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/link"
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
