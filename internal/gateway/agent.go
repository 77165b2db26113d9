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

	mu   sync.Mutex // guards what follows
	conn engine.Connection
	// public is the key in conn, nil for none, and print its fingerprint: both are asked for every second.
	public []byte
	print  string
	// What is assigned: encoded, its digests, the bundles that it names, sorted, and the state that is signed.
	assigned bool
	entries  []link.Entry
	have     link.Have
	bundles  []string
	signed   link.Assignment
	// What was reported. published says that it is complete.
	statuses  []v1alpha1.AssignmentEntryStatus
	baseline  bool // statuses were read from the Assignment
	published bool
	emptyFor  string // uid of the cluster for which statuses that were of another one were forgotten
	state     *link.State
	disk      link.Disk
	// held and heldDisk were reported, and wait until they are shown as state and disk; nil for none.
	held     *link.State
	heldDisk *link.Disk
	carried  link.Carried
	time     hubTime
	version  string
	eventSeq uint64
	// heard is the time of the last word, streamEnd that of the end of the last stream.
	heard, streamEnd time.Time
	since            time.Time
	session          *session
	instance         string   // of the last session
	replaced         []string // instances that another one has taken the place of
	refused          *refusal
	verify           int // counts the requests for a verification
	finalize         string
	finalizing       chan error // of the finalization under way, buffered
	finalized        chan error // the same, until it was answered
	told             engine.State
	// requests and downloads are under way, of whichever session.
	requests, downloads int

	recording sync.Mutex // guards what follows, and is held while it is written
	recorded  time.Time  // of the exports, on the Cluster
}

// session is one proof of an agent.
type session struct {
	agent    *agent
	token    tokenHash
	public   []byte // the key that was proven
	nonce    []byte // of the agent, which what is signed for this session is bound to
	instance string
	uid      string // of the cluster, as the proof says; what the session reports is of no other one
	signs    bool   // its reports: none without a signature counts
	remote   string

	done chan struct{} // closed when the session ends

	// guarded by the agent's mutex
	began  time.Time
	stream *stream
	told   link.Settings // when it began: what has changed since goes down the stream
	acked  uint64        // of reports
	sent   uint64        // frames of the stream
	ended  bool
}

// stream is one connection on which an agent waits for what changes.
type stream struct {
	wake chan struct{} // buffered: a signal that there may be something to send
	bye  *link.Bye     // guarded by the agent's mutex
	has  link.Have     // what the agent has of the Assignment, as are the following
	full bool          // nothing of the Assignment was sent yet
	// what was sent of the settings and requests
	settings link.Settings
	verify   int
	finalize string
}

// refusal is why an agent that has proven its key gets no session.
type refusal struct {
	reason, message string
	at              time.Time
	// over is set when a report counted after one that is refused: it is shown until a change of the Cluster may be.
	over bool
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
	s := link.Settings{Suspend: a.conn.Suspend, TakeOver: a.conn.TakeOver}
	if spec := a.conn.Agent; spec != nil {
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
	a.conn, a.public = c, nil
	if c.Agent != nil {
		a.public = link.DecodeKey(c.Agent.PublicKey)
	}
	a.print = fingerprint(a.public)
}

// forgetOther forgets what is reported of the entries where that is of another cluster than the one that has joined: else
// they would count as ready on it before it has anything. It is told as a report of nothing, so that a hub which starts
// meanwhile does not find it in the Assignment. It returns false where there is nothing to forget; the mutex is held.
func (a *agent) forgetOther() bool {
	uid := a.conn.Agent.ClusterUID
	if uid == "" || a.conn.KnownUID == "" || uid == a.conn.KnownUID || uid == a.emptyFor {
		return false
	}
	a.emptyFor, a.statuses, a.baseline, a.published = uid, nil, true, true
	return true
}

// errNoAssignment says that entries are to be assigned by an Assignment that is not there any more.
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
	if a.isAssigned(state) {
		return nil
	}
	state.Signature = ed25519.Sign(hubKey, link.AssignmentTranscript(a.hubID, a.key.String(), state))
	bundles := bundlesOf(entries)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.assigned, a.entries, a.have, a.bundles, a.signed = true, encoded, link.HaveEntries(encoded), bundles, state
	a.statuses = slices.DeleteFunc(slices.Clone(a.statuses), func(s v1alpha1.AssignmentEntryStatus) bool { return !a.has(s.Name) })
	a.wake()
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

// has reports whether an entry is assigned; the mutex is held.
func (a *agent) has(name string) bool {
	_, there := a.have.Entries[name]
	return there
}

func (a *agent) isAssigned(state link.Assignment) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.assigned && a.signed.UID == state.UID && a.signed.Generation == state.Generation && a.signed.Digest == state.Digest
}

// wake signals the stream; the mutex is held.
func (a *agent) wake() {
	if a.session != nil && a.session.stream != nil {
		a.session.stream.signal()
	}
}

// next returns the frame that is to be sent, without its signature, or nil; last says that the stream ends after it. Its
// time is that at which it holds, so that of two states of the Assignment the later one has the later time, as in update.
func (a *agent) next(s *session, st *stream, now func() time.Time) (frame *link.Down, last bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if st.bye != nil {
		return &link.Down{Seq: s.sent + 1, Bye: st.bye, At: a.time.next(now(), 1).UnixNano()}, true
	}
	if s.ended || s.stream != st {
		return nil, true
	}
	down := link.Down{}
	if a.assigned {
		none := a.signed.UID == "" // then only an agent that has something is told
		if change := link.Diff(st.has, a.entries); st.full && !none || len(change.Entries)+len(change.Dropped) > 0 {
			change.UID, change.Generation, change.Signature = a.signed.UID, a.signed.Generation, a.signed.Signature
			down.Assignment = &change
			st.has, st.full = a.have, none
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
	down.Seq, down.At = s.sent, a.time.next(now(), 1).UnixNano()
	return &down, false
}

// attach begins a stream of a session, in place of an earlier one.
func (a *agent) attach(s *session, has link.Have, now time.Time) *stream {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.ended {
		return nil
	}
	if s.stream != nil {
		s.stream.bye = &link.Bye{Reason: link.ByeReplaced, RetryAfter: 1}
		s.stream.signal()
	}
	st := &stream{wake: make(chan struct{}, 1), has: has, full: true, settings: s.told, verify: a.verify}
	s.stream, a.since = st, now // s.sent goes on: a number serves once in a session
	if !s.signs {               // else it may be anyone's on the way, who has the token
		a.heard = now
	}
	return st
}

// detach says that a stream has ended.
func (a *agent) detach(s *session, st *stream, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.stream == st {
		s.stream, a.streamEnd = nil, now
	}
}

// drop ends a session. The stream gets bye as its last frame.
func (a *agent) drop(s *session, bye *link.Bye, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !s.ended {
		s.ended = true
		close(s.done)
	}
	if s.stream != nil {
		s.stream.bye = bye
		s.stream.signal()
		s.stream = nil
		a.streamEnd = now
	}
	if a.session == s {
		a.session = nil
	}
}

// expired returns the session when the agent has been silent for too long.
func (a *agent) expired(now time.Time) *session {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.session == nil {
		return nil
	}
	silent := time.Duration(link.SilentAfter * float64(a.settings().HeartbeatInterval()))
	heard := latest(a.heard, a.session.began)
	if a.session.stream == nil && now.Sub(latest(heard, a.streamEnd)) >= min(silent, reconnectGrace) || now.Sub(heard) >= silent {
		return a.session
	}
	return nil
}

func latest(times ...time.Time) time.Time {
	return slices.MaxFunc(times, time.Time.Compare)
}

// changed shows what waits for its turn, and reports whether State has changed since it was asked last time.
func (a *agent) changed(now time.Time, mayShow func() bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.show(mayShow)
	state := a.stateAt(now)
	state.LastSeen = time.Time{}
	if state == a.told {
		return false
	}
	a.told = state
	return true
}

// stateAt returns what is known of the cluster; the mutex is held.
func (a *agent) stateAt(now time.Time) engine.State {
	state := engine.State{Known: true, LastSeen: a.heard, Agent: a.info()}
	connected := a.session != nil && (a.session.stream != nil || now.Sub(latest(a.streamEnd, a.session.began)) < reconnectGrace)
	if a.refused != nil && now.Sub(a.refused.at) < refusalShown {
		state.Reason, state.Message = a.refused.reason, a.refused.message
		if a.refused.reason == v1alpha1.AgentNotApprovedReason {
			state.Agent.Pending = true
			return state
		}
		state.Reachable = true
		if connected && a.state != nil {
			state.UID, state.Version = a.conn.KnownUID, a.state.Version
		}
		return state
	}
	switch {
	case a.public == nil:
		state.Agent.Pending, state.Reason, state.Message = true, v1alpha1.AgentNotConnectedReason, a.waitsForJoin(now)
	case !connected && a.heard.IsZero() && now.Sub(a.created) < startGrace:
		return engine.State{Agent: a.info()} // it may not have noticed yet that the hub has started
	case !connected:
		state.Message = "The agent is not connected"
	case a.state == nil:
		return engine.State{LastSeen: a.heard, Agent: a.info()} // it is about to report
	case a.state.UID != "" && a.state.UID != a.session.uid:
		state.Reachable, state.Reason, state.Message = true, v1alpha1.ClusterReplacedReason, a.reportsOnAnother()
		state.UID = a.session.uid
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

// forgetState forgets what an agent has said of its cluster, its disk and its events: another one says its own. The mutex
// is held.
func (a *agent) forgetState() {
	a.state, a.held, a.disk, a.heldDisk, a.eventSeq = nil, nil, link.Disk{}, nil, 0
}

// reportsOnAnother says that the report of an agent names a cluster that is not the one of its session. Which cluster a
// Cluster leads to decides which other Clusters are refused, so that a report does not change it; the mutex is held.
func (a *agent) reportsOnAnother() string {
	return fmt.Sprintf(`The agent reports on the cluster with uid %s, and has joined from the one with %s. If the cluster was replaced, let it join with "skerry cluster join %s --agent"`,
		a.state.UID, a.session.uid, a.key.Name)
}

// waitsForJoin says why there is no agent yet; the mutex is held.
func (a *agent) waitsForJoin(now time.Time) string {
	spec := a.conn.Agent
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
		Version: a.version, Fingerprint: a.print, Idle: a.assigned && len(a.entries) == 0,
		DiskReason: a.disk.Reason, DiskMessage: a.disk.Message, Carried: a.carried,
	}
	if a.session != nil && a.session.stream != nil {
		info.Connected, info.Since = true, a.since
	}
	return info
}

// admit judges a session that has proven the key: it returns why it is refused, and the session that it replaces.
// The mutex is not held.
func (a *agent) admit(s *session, who link.Agent, now time.Time, duplicate func(uid string) string, hubUID string) (*refusal, *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	known := a.conn.KnownUID
	if a.conn.Agent.ClusterUID != "" {
		known = a.conn.Agent.ClusterUID
	}
	refused := func(reason, message string) (*refusal, *session) {
		a.refused = &refusal{reason: reason, message: message, at: now}
		return a.refused, nil
	}
	switch {
	case !bytes.Equal(a.public, s.public): // since it was looked at, so that Connect had no session to end
		return &refusal{reason: keyReplaced}, nil
	case a.conn.Agent.Approval == v1alpha1.AgentApprovalManual && a.conn.ApprovedKey != a.print:
		return refused(v1alpha1.AgentNotApprovedReason, fmt.Sprintf(
			`The agent with the key %s has joined and waits; "skerry cluster approve %s" accepts it, which annotates the Cluster with %s=%s`,
			a.print, a.key.Name, v1alpha1.AgentApprovedAnnotation, a.print))
	case who.ClusterUID == hubUID:
		return refused(v1alpha1.HubItselfReason, "the agent runs on the hub's own cluster, which is the Cluster named "+v1alpha1.HubCluster)
	case known != "" && known != who.ClusterUID:
		return refused(v1alpha1.ClusterReplacedReason, fmt.Sprintf(
			`The agent connects from the cluster with uid %s, and the one that joined has %s. It is given nothing to apply; if the cluster was replaced, let it join with "skerry cluster join %s --agent"`,
			who.ClusterUID, known, a.key.Name))
	case slices.Contains(a.replaced, s.instance) && (a.session != nil || now.Sub(a.heard) < refusalShown):
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
		a.replaced = append(slices.DeleteFunc(a.replaced, func(one string) bool { return one == s.instance }), a.instance)
		a.replaced = a.replaced[max(0, len(a.replaced)-maxReplaced):]
		a.forgetState() // of another process; this one reports its own first
	}
	a.session, a.instance, a.heard, a.version = s, s.instance, now, who.Version
	s.told = a.settings()
	if a.carried.Number != who.Carried { // it knows best which report is older than this session
		a.carried = link.Carried{Number: who.Carried}
	}
	return nil, former
}
