package gateway

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/text"
)

// maxReplaced bounds the instances that are remembered as replaced.
const maxReplaced = 8

// agent is what the gateway knows of one Cluster with spec.agent.
type agent struct {
	key     engine.Key
	hubID   string
	created time.Time

	mu         sync.Mutex // guards what follows
	connection engine.Connection
	// publicKey is the key in connection, nil for none, with its fingerprint: both are read every second.
	publicKey   []byte
	fingerprint string
	// The Assignment, once the controllers have handed it over: its encoded entries, their digests, the bundles that they
	// name, sorted, and the state that is signed.
	assignmentKnown  bool
	entries          []link.Entry
	have             link.Have
	bundles          []string
	signedAssignment link.Assignment
	// What was reported.
	statuses       []v1alpha1.AssignmentEntryStatus
	statusesLoaded bool // statuses holds what earlier processes wrote to the Assignment
	reportComplete bool
	clearedForUID  string // uid of the cluster for which the statuses of the one before it were cleared
	state          *link.State
	disk           link.Disk
	// pendingState and pendingDisk were reported, and become state and disk when a change is allowed; nil for none.
	pendingState *link.State
	pendingDisk  *link.Disk
	carried      link.Carried
	clock        hubTime
	version      string
	eventSeq     uint64
	// lastSeen is when the agent last sent something, streamEnd when the last stream ended.
	lastSeen, streamEnd time.Time
	connectedSince      time.Time
	session             *session
	instance            string   // of the last session
	replacedInstances   []string // instances that another one has replaced
	refused             *refusal
	verify              int // counts the requests for a verification
	finalize            string
	finalizing          chan error // of the finalization in flight, buffered
	finalized           chan error // the same, until it was answered
	lastState           engine.State
	// requests and downloads are in flight, of all sessions.
	requests, downloads int

	exportMu   sync.Mutex // guards lastExport, and is held while that is written
	lastExport time.Time  // of the exports, on the Cluster
}

// session is opened by an agent that has proven its key, and ends with the next one, or when the agent is silent.
type session struct {
	agent        *agent
	token        tokenHash
	publicKey    []byte // the key that was proven
	nonce        []byte // of the agent; every signature of this session covers it
	instance     string
	clusterUID   string // as signed by the agent; reports on another cluster are refused
	signsReports bool   // its reports, and those without a signature are refused
	remote       string

	done chan struct{} // closed when the session ends

	// guarded by the agent's mutex
	began           time.Time
	stream          *stream
	initialSettings link.Settings // sent when it began; changes are sent on the stream
	acked           uint64        // of reports
	sent            uint64        // frames of the stream
	ended           bool
}

// stream is a request on which an agent receives changes.
type stream struct {
	wake    chan struct{} // buffered: a signal that there may be something to send
	goAway  *link.GoAway  // guarded by the agent's mutex
	known   link.Have     // what the agent has of the Assignment
	sendAll bool          // nothing of the Assignment was sent yet: send it even if it is empty
	// the settings and requests that were sent last
	settings link.Settings
	verify   int
	finalize string
}

// refusal is why an agent that has proven its key gets no session.
type refusal struct {
	reason, message string
	at              time.Time
	// over is set when a report counted after one that is refused: it is shown until a change of the Cluster may be.
	superseded bool
}

// keyReplaced is the reason of a refusal that is not shown: the key was replaced while its proof was judged.
const keyReplaced = "KeyReplaced"

func (s *stream) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// settings of the Cluster; the agent's mutex is held.
func (a *agent) settings() link.Settings {
	s := link.Settings{Suspend: a.connection.Suspend, TakeOver: a.connection.TakeOver}
	if spec := a.connection.Agent; spec != nil {
		if spec.KeepAlive != nil {
			s.KeepAlive = int64(spec.KeepAlive.Seconds())
		}
		if spec.Heartbeat != nil {
			s.Heartbeat = int64(spec.Heartbeat.Seconds())
		}
	}
	return s
}

// setConnection takes over what the Cluster's spec holds; the mutex is held.
func (a *agent) setConnection(c engine.Connection) {
	a.connection, a.publicKey = c, nil
	if c.Agent != nil {
		a.publicKey = link.DecodeKey(c.Agent.PublicKey)
	}
	a.fingerprint = fingerprint(a.publicKey)
}

// clearReplacedStatuses clears the statuses of the entries when another cluster has joined than the one they are of: the
// entries would count as ready on a cluster on which nothing was applied. The empty report is published, so that it also
// replaces the statuses in the Assignment, which a hub that starts would read. It returns false when nothing is to be
// cleared; the mutex is held.
func (a *agent) clearReplacedStatuses() bool {
	uid := a.connection.Agent.ClusterUID
	if uid == "" || a.connection.KnownUID == "" || uid == a.connection.KnownUID || uid == a.clearedForUID {
		return false
	}
	a.clearedForUID, a.statuses, a.statusesLoaded, a.reportComplete = uid, nil, true, true
	return true
}

// errNoAssignment is returned for entries of an Assignment that does not exist any more.
var errNoAssignment = errors.New("the Assignment of the entries is not there")

// assign takes over what is assigned, and wakes the stream. Without a stored Assignment there can be no entries.
func (a *agent) assign(entries []v1alpha1.AssignmentEntry, stored *v1alpha1.Assignment, hubKey ed25519.PrivateKey) error {
	encoded, err := link.NewEntries(entries)
	if err != nil {
		return err
	}
	state := link.Assignment{Digest: text.Shared(link.Digest(encoded))}
	switch {
	case stored != nil:
		state.UID, state.Generation = string(stored.UID), stored.Generation
	case len(entries) > 0:
		return errNoAssignment
	}
	if a.isCurrentAssignment(state) {
		return nil
	}
	state.Signature = ed25519.Sign(hubKey, link.AssignmentTranscript(a.hubID, a.key.String(), state))
	bundles := bundlesOf(entries)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.assignmentKnown, a.entries, a.have, a.bundles, a.signedAssignment = true, encoded, link.HaveEntries(encoded), bundles, state
	a.statuses = slices.DeleteFunc(slices.Clone(a.statuses), func(s v1alpha1.AssignmentEntryStatus) bool { return !a.isAssigned(s.Name) })
	a.wakeStream()
	return nil
}

// bundlesOf returns the digests of the bundles that entries name, sorted.
func bundlesOf(entries []v1alpha1.AssignmentEntry) []string {
	var digests []string
	for i := range entries {
		e := &entries[i]
		digests = append(append(digests, e.Digest, e.Undone), e.KeepFor...)
		if e.Fallback != nil {
			digests = append(digests, e.Fallback.Digest)
		}
	}
	digests = slices.DeleteFunc(digests, func(d string) bool { return d == "" })
	slices.Sort(digests)
	return slices.Clone(slices.Compact(digests)) // without the room for more
}

// isAssigned reports whether an entry is assigned; the mutex is held.
func (a *agent) isAssigned(name string) bool {
	_, there := a.have.Entries[name]
	return there
}

func (a *agent) isCurrentAssignment(state link.Assignment) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.assignmentKnown && a.signedAssignment.UID == state.UID && a.signedAssignment.Generation == state.Generation && a.signedAssignment.Digest == state.Digest
}

// wakeStream has the stream look for changes; the mutex is held.
func (a *agent) wakeStream() {
	if a.session != nil && a.session.stream != nil {
		a.session.stream.signal()
	}
}

// nextFrame returns the next frame to send, without its signature, or nil; last is true when the stream ends after it. Its
// time is that at which it holds, so that of two states of the Assignment the later one has the later time, as in assignedUpdate.
func (a *agent) nextFrame(s *session, st *stream, now func() time.Time) (frame *link.Down, last bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if st.goAway != nil {
		return &link.Down{Seq: s.sent + 1, GoAway: st.goAway, At: a.clock.next(now(), 1).UnixNano()}, true
	}
	if s.ended || s.stream != st {
		return nil, true
	}
	down := link.Down{}
	if a.assignmentKnown {
		none := a.signedAssignment.UID == "" // nothing is sent to an agent that has nothing
		if change := link.Diff(st.known, a.entries); st.sendAll && !none || len(change.Entries)+len(change.Dropped) > 0 {
			change.UID, change.Generation, change.Signature = a.signedAssignment.UID, a.signedAssignment.Generation, a.signedAssignment.Signature
			down.Assignment = &change
			st.known, st.sendAll = a.have, none
		}
	}
	if settings := a.settings(); settings != st.settings {
		down.Settings, st.settings = &settings, settings
	}
	if st.verify != a.verify {
		down.Verify, st.verify = true, a.verify
	}
	if st.finalize != a.finalize {
		down.Finalize, st.finalize = a.finalize, a.finalize
	}
	if down.Assignment == nil && down.Settings == nil && !down.Verify && down.Finalize == "" {
		return nil, false
	}
	s.sent++
	down.Seq, down.At = s.sent, a.clock.next(now(), 1).UnixNano()
	return &down, false
}

// startStream starts the stream of a session, and ends an earlier one; nil when the session has ended.
func (a *agent) startStream(s *session, has link.Have, now time.Time) *stream {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.ended {
		return nil
	}
	if s.stream != nil {
		s.stream.goAway = &link.GoAway{Reason: link.GoAwayReplaced, RetryAfter: 1}
		s.stream.signal()
	}
	st := &stream{wake: make(chan struct{}, 1), known: has, sendAll: true, settings: s.initialSettings, verify: a.verify}
	s.stream, a.connectedSince = st, now // s.sent goes on: a number serves once in a session
	if !s.signsReports {                 // else it may be anyone's on the way, who has the token
		a.lastSeen = now
	}
	return st
}

// endStream is called when a stream has ended.
func (a *agent) endStream(s *session, st *stream, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.stream == st {
		s.stream, a.streamEnd = nil, now
	}
}

// endSession ends a session. The stream sends goAway as its last frame.
func (a *agent) endSession(s *session, goAway *link.GoAway, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !s.ended {
		s.ended = true
		close(s.done)
	}
	if s.stream != nil {
		s.stream.goAway = goAway
		s.stream.signal()
		s.stream = nil
		a.streamEnd = now
	}
	if a.session == s {
		a.session = nil
	}
}

// silentSession returns the session when the agent was silent for too long, or nil.
func (a *agent) silentSession(now time.Time) *session {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.session == nil {
		return nil
	}
	silent := time.Duration(link.SilentAfter * float64(a.settings().HeartbeatInterval()))
	lastHeard := latest(a.lastSeen, a.session.began)
	if a.session.stream == nil && now.Sub(latest(lastHeard, a.streamEnd)) >= min(silent, reconnectGrace) || now.Sub(lastHeard) >= silent {
		return a.session
	}
	return nil
}

func latest(times ...time.Time) time.Time {
	return slices.MaxFunc(times, time.Time.Compare)
}

// stateChanged publishes a pending state if that is allowed, and reports whether State has changed since the last call.
func (a *agent) stateChanged(now time.Time, mayShow func() bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.publishState(mayShow)
	state := a.stateAt(now)
	state.LastSeen = time.Time{}
	if state == a.lastState {
		return false
	}
	a.lastState = state
	return true
}

// stateAt returns what is known of the cluster; the mutex is held.
func (a *agent) stateAt(now time.Time) engine.State {
	state := engine.State{Known: true, LastSeen: a.lastSeen, Agent: a.info()}
	connected := a.session != nil && (a.session.stream != nil || now.Sub(latest(a.streamEnd, a.session.began)) < reconnectGrace)
	if a.refused != nil && now.Sub(a.refused.at) < refusalShown {
		state.Reason, state.Message = a.refused.reason, a.refused.message
		if a.refused.reason == v1alpha1.AgentNotApprovedReason {
			state.Agent.Pending = true
			return state
		}
		state.Reachable = true
		if connected && a.state != nil {
			state.UID, state.Version = a.connection.KnownUID, a.state.Version
		}
		return state
	}
	switch {
	case a.publicKey == nil:
		state.Agent.Pending, state.Reason, state.Message = true, v1alpha1.AgentNotConnectedReason, a.notJoinedMessage(now)
	case !connected && a.lastSeen.IsZero() && now.Sub(a.created) < startGrace:
		return engine.State{Agent: a.info()} // it may not have noticed yet that the hub has started
	case !connected:
		state.Message = "The agent is not connected"
	case a.state == nil:
		return engine.State{LastSeen: a.lastSeen, Agent: a.info()} // it is about to report
	case a.state.UID != "" && a.state.UID != a.session.clusterUID:
		state.Reachable, state.Reason, state.Message = true, v1alpha1.ClusterReplacedReason, a.otherClusterMessage()
		state.UID = a.session.clusterUID
	case !a.state.Reachable:
		state.Message = "The agent is connected, and its API server does not answer"
		if a.state.Message != "" {
			state.Message += ": " + a.state.Message
		}
		state.UID, state.Version = a.state.UID, a.state.Version
	default:
		state.Reachable, state.Usable, state.Reason, state.Message = true, a.state.Usable, a.state.Reason, a.state.Message
		state.UID, state.Version, state.Orphaned, state.Examined = a.state.UID, a.state.Version, a.state.Orphaned, a.state.Examined
	}
	return state
}

// forgetState clears what an agent reported of its cluster, its disk and its events: another one reports its own. The
// mutex is held.
func (a *agent) forgetState() {
	a.state, a.pendingState, a.disk, a.pendingDisk, a.eventSeq = nil, nil, link.Disk{}, nil, 0
}

// otherClusterMessage is for an agent that reports on a cluster that is not the one of its session. Which cluster a
// Cluster leads to decides which other Clusters are refused, so that a report does not change it; the mutex is held.
func (a *agent) otherClusterMessage() string {
	return fmt.Sprintf(`The agent reports on the cluster with uid %s, and has joined from the one with %s. If the cluster was replaced, let it join with "skerry cluster join %s --agent"`,
		a.state.UID, a.session.clusterUID, a.key.Name)
}

// notJoinedMessage returns why no agent has joined yet; the mutex is held.
func (a *agent) notJoinedMessage(now time.Time) string {
	spec := a.connection.Agent
	switch {
	case spec == nil || spec.Join == nil:
		return fmt.Sprintf(`No agent has joined; "skerry cluster join %s --agent" makes what one is installed with`, a.key.Name)
	case !now.Before(spec.Join.Expires.Time):
		return fmt.Sprintf(`The token that was made for its agent has expired before one joined; "skerry cluster join %s --agent" makes another`, a.key.Name)
	}
	return "It waits for an agent to join with the token that was made for it"
}

// info is what is known of the agent itself; the mutex is held.
func (a *agent) info() link.AgentInfo {
	info := link.AgentInfo{
		Version: a.version, Fingerprint: a.fingerprint, Idle: a.assignmentKnown && len(a.entries) == 0,
		DiskReason: a.disk.Reason, DiskMessage: a.disk.Message, Carried: a.carried,
	}
	if a.session != nil && a.session.stream != nil {
		info.Connected, info.Since = true, a.connectedSince
	}
	return info
}

// startSession starts a session that has proven the key, and returns the one that it replaces, or why it is refused.
// The mutex is not held.
func (a *agent) startSession(s *session, who link.Agent, now time.Time, duplicate func(uid string) string, hubUID string) (*refusal, *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	known := a.connection.KnownUID
	if a.connection.Agent.ClusterUID != "" {
		known = a.connection.Agent.ClusterUID
	}
	refused := func(reason, message string) (*refusal, *session) {
		a.refused = &refusal{reason: reason, message: message, at: now}
		return a.refused, nil
	}
	switch {
	case !bytes.Equal(a.publicKey, s.publicKey): // since it was looked at, so that Connect had no session to end
		return &refusal{reason: keyReplaced}, nil
	case a.connection.Agent.Approval == v1alpha1.AgentApprovalManual && a.connection.ApprovedKey != a.fingerprint:
		return refused(v1alpha1.AgentNotApprovedReason, fmt.Sprintf(
			`The agent with the key %s has joined and waits; "skerry cluster approve %s" accepts it, which annotates the Cluster with %s=%s`,
			a.fingerprint, a.key.Name, v1alpha1.AgentApprovedAnnotation, a.fingerprint))
	case who.ClusterUID == hubUID:
		return refused(v1alpha1.HubItselfReason, "the agent runs on the hub's own cluster, which is the Cluster named "+v1alpha1.HubCluster)
	case known != "" && known != who.ClusterUID:
		return refused(v1alpha1.ClusterReplacedReason, fmt.Sprintf(
			`The agent connects from the cluster with uid %s, and the one that joined has %s. It is given nothing to apply; if the cluster was replaced, let it join with "skerry cluster join %s --agent"`,
			who.ClusterUID, known, a.key.Name))
	case slices.Contains(a.replacedInstances, s.instance) && (a.session != nil || now.Sub(a.lastSeen) < refusalShown):
		return refused(v1alpha1.DuplicateAgentReason, fmt.Sprintf(
			`Two agents have the key of this Cluster: instances %s and %s take turns, as a copy of a cluster and its original do. Stop one of them, or give the key to one alone with "skerry cluster rotate %s"`,
			a.instance, s.instance, a.key.Name))
	}
	if other := duplicate(who.ClusterUID); other != "" {
		return refused(v1alpha1.DuplicateClusterReason, other)
	}
	if a.refused != nil && a.refused.reason != v1alpha1.DuplicateAgentReason && a.refused.reason != v1alpha1.AgentReportRefusedReason {
		a.refused = nil // a duplicate is shown until it has been silent for a while, and a forgery until a report counts
	}
	former := a.session
	if a.instance != "" && a.instance != s.instance {
		// The other one of two may be stopped for good: then this one is back, and is the one that counts.
		a.replacedInstances = append(slices.DeleteFunc(a.replacedInstances, func(one string) bool { return one == s.instance }), a.instance)
		a.replacedInstances = a.replacedInstances[max(0, len(a.replacedInstances)-maxReplaced):]
		a.forgetState() // of another process; this one reports its own first
	}
	a.session, a.instance, a.lastSeen, a.version = s, s.instance, now, who.Version
	s.initialSettings = a.settings()
	if a.carried.Number != who.Carried { // it knows best which report is older than this session
		a.carried = link.Carried{Number: who.Carried}
	}
	return nil, former
}
