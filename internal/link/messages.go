package link

import (
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
)

// ChallengeRequest requests a nonce.
type ChallengeRequest struct {
	// Versions of the protocol that the agent speaks.
	Versions []int `json:"versions"`
}

// ChallengeResponse holds a nonce that serves one proof, for a minute.
type ChallengeResponse struct {
	// Version to speak; 0 when the hub speaks none of those asked for. Versions are those of the hub.
	Version  int    `json:"version"`
	Versions []int  `json:"versions"`
	Nonce    []byte `json:"nonce"`
}

// JoinRequest binds an agent's public key to a Cluster.
type JoinRequest struct {
	// Cluster is "namespace/name" on the hub.
	Cluster string `json:"cluster"`
	// Token was made for the Cluster by "skerry cluster join", and serves once.
	Token string `json:"token"`
	// Key is the ed25519 public key that the agent made.
	Key []byte `json:"key"`
	// ClusterUID is the uid of kube-system on the edge.
	ClusterUID string `json:"clusterUID"`
	// Nonce is the gateway's, AgentNonce 32 random bytes of the agent's.
	Nonce      []byte `json:"nonce"`
	AgentNonce []byte `json:"agentNonce"`
	// Signature is over JoinTranscript, by Key.
	Signature []byte `json:"signature"`
}

// JoinResponse confirms that the key is bound.
type JoinResponse struct {
	Hub HubIdentity `json:"hub"`
	// Signature is over HubTranscript, by Hub.Key.
	Signature []byte `json:"signature"`
}

// HubIdentity names a hub to its agents: they write its identity into owner labels, inventories and claims as the
// hub itself does where it pushes, so that a Cluster moves between the two without a write to a workload.
type HubIdentity struct {
	// ID is the identity of the hub, UID that of kube-system on its own cluster, Namespace the one it is installed in.
	ID        string `json:"id"`
	UID       string `json:"uid"`
	Namespace string `json:"namespace"`
	Version   string `json:"version"`
	// Key is the hub's ed25519 public key, which agents pin.
	Key []byte `json:"key"`
}

// SessionRequest proves possession of the key of a Cluster.
type SessionRequest struct {
	Cluster    string `json:"cluster"`
	Key        []byte `json:"key"`
	Nonce      []byte `json:"nonce"`
	AgentNonce []byte `json:"agentNonce"`
	Agent      Agent  `json:"agent"`
	// Signature is over SessionTranscript, by Key.
	Signature []byte `json:"signature"`
}

// Agent is how an agent describes itself.
type Agent struct {
	Version string `json:"version"`
	// Instance is random, and another one in each process: an instance that comes back after another one had its
	// place means that two agents have one key. That of an agent which signs its reports begins with SigningInstance.
	Instance string `json:"instance"`
	// ClusterUID is the uid of kube-system on the edge.
	ClusterUID string `json:"clusterUID"`
	// StartedAt is by the edge's clock, which may be wrong.
	StartedAt metav1.Time `json:"startedAt"`
	// Carried is the number of the last report that the agent made to be carried to the hub: it is older than what
	// the agent reports from now on.
	Carried uint64 `json:"carried,omitempty"`
}

// SigningInstance begins Agent.Instance of an agent that signs its reports. The instance is signed with the proof of the
// key, so that nothing on the way can take the agent for one of an earlier version, whose reports count as they are.
const SigningInstance = "signs-"

// SignsReports reports whether the agent signs its reports (EncodeUp): none without counts.
func (a Agent) SignsReports() bool { return strings.HasPrefix(a.Instance, SigningInstance) }

// SessionResponse opens a session.
type SessionResponse struct {
	// Token is the bearer token of all further requests. It is short-lived, random, and in memory only.
	Token    string      `json:"token"`
	Hub      HubIdentity `json:"hub"`
	Settings Settings    `json:"settings"`
	// Reported is what the hub knows of earlier reports: only what differs from it need be reported, if it is signed:
	// ReportedSignature is that of the hub over ReportedTranscript. Earlier hubs send none.
	Reported          Have   `json:"reported"`
	ReportedSignature []byte `json:"reportedSignature,omitempty"`
	// GoAway refuses a session to an agent that has proven its key; Token is empty then.
	GoAway *GoAway `json:"bye,omitempty"`
	// Signature is over HubTranscript, by Hub.Key.
	Signature []byte `json:"signature"`
	// At is Down.At, and FirstSignature that of the hub over DownTranscript of FirstFrame. Hubs of the first version send
	// neither.
	At             int64  `json:"at,omitempty"`
	FirstSignature []byte `json:"firstSignature,omitempty"`
}

// FirstFrame returns the settings and the refusal of the answer as the frame of the stream before the first one.
func (a SessionResponse) FirstFrame() Down {
	return Down{Settings: &a.Settings, GoAway: a.GoAway, At: a.At, Signature: a.FirstSignature}
}

// Settings of the Cluster that concern the agent.
type Settings struct {
	// KeepAlive and Heartbeat in seconds; the defaults when 0.
	KeepAlive int64 `json:"keepAlive,omitempty"`
	Heartbeat int64 `json:"heartbeat,omitempty"`
	// Suspend leaves the cluster as it is.
	Suspend bool `json:"suspend,omitempty"`
	// TakeOver is the ID of the hub from which a user has this one take the cluster over.
	TakeOver string `json:"takeOver,omitempty"`
}

// KeepAliveInterval is how often the gateway sends at least.
func (s Settings) KeepAliveInterval() time.Duration { return seconds(s.KeepAlive, DefaultKeepAlive) }

// HeartbeatInterval is how often the agent sends at least.
func (s Settings) HeartbeatInterval() time.Duration { return seconds(s.Heartbeat, DefaultHeartbeat) }

func seconds(n int64, otherwise time.Duration) time.Duration {
	if n <= 0 {
		return otherwise
	}
	return time.Duration(min(n, 86400)) * time.Second
}

// Hello begins a stream.
type Hello struct {
	// Assignment is what the agent has; only what differs from it is sent.
	Assignment Have `json:"assignment"`
}

// Have is a state by its digests: short ones of each entry, by name. An empty one has nothing.
type Have struct {
	Entries map[string]ShortDigest `json:"entries,omitempty"`
}

// Names returns what has the same entries, of which nothing is known.
func (h Have) Names() Have {
	names := Have{Entries: make(map[string]ShortDigest, len(h.Entries))}
	for name := range h.Entries {
		names.Entries[name] = ""
	}
	return names
}

// Down is a frame of the stream. What is nil or zero has not changed. An empty frame keeps the connection alive.
type Down struct {
	// Seq counts the frames of a stream that are not empty, from 1.
	Seq        uint64      `json:"seq"`
	Assignment *Assignment `json:"assignment,omitempty"`
	Settings   *Settings   `json:"settings,omitempty"`
	// Verify asks for a probe and a full verification now.
	Verify bool `json:"verify,omitempty"`
	// Finalize asks the agent to take away what Skerry keeps on the cluster for itself, once every entry is removed,
	// and to answer with Up.Finalized of the same value. The agent forgets its Assignment and key after that.
	Finalize string `json:"finalize,omitempty"`
	// FinalizeSignature is that of the hub over FinalizeTranscript. An agent refuses a request without it.
	FinalizeSignature []byte `json:"finalizeSignature,omitempty"`
	// GoAway is the last frame.
	GoAway *GoAway `json:"bye,omitempty"`
	// At is the hub's clock, in nanoseconds since 1970: the content of the frame was valid at that time.
	At int64 `json:"at,omitempty"`
	// Signature is that of the hub over DownTranscript: an agent that has seen one takes no frame of the session
	// without, and none twice or in another order. Hubs of the first version send none.
	Signature []byte `json:"signature,omitempty"`
}

// IsEmpty reports whether the frame only keeps the connection alive.
func (d Down) IsEmpty() bool {
	return d.Seq == 0 && d.Assignment == nil && d.Settings == nil && !d.Verify && d.Finalize == "" && d.GoAway == nil
}

// GoAway ends a stream, as HTTP/2's frame of that name ends a connection. Its key in messages is "bye".
type GoAway struct {
	// Reason is one of those below.
	Reason string `json:"reason"`
	// RetryAfter is how many seconds the agent waits at least, with up to as much again at random.
	RetryAfter int64 `json:"retryAfter"`
}

// Reasons of a GoAway.
const (
	// GoAwayStopping is sent when the hub stops, or another replica leads.
	GoAwayStopping = "Stopping"
	// GoAwayRevoked is sent when the key is not, or not any more, that of the Cluster. The agent keeps what stands, as when
	// it is cut off, and tries seldom.
	GoAwayRevoked = "Revoked"
	// GoAwayReplaced is sent when another stream of the Cluster has begun.
	GoAwayReplaced = "Replaced"
	// GoAwayDuplicate is sent when another agent with the same key is connected, or another Cluster has the cluster.
	GoAwayDuplicate = "DuplicateAgent"
	// GoAwayClusterReplaced is sent when the cluster is not the one that joined, by the uid of kube-system.
	GoAwayClusterReplaced = "ClusterReplaced"
	// GoAwayNotApproved is sent while the agent is not approved.
	GoAwayNotApproved = "NotApproved"
	// GoAwayElsewhere is sent when another shard of a divided hub has the Cluster.
	GoAwayElsewhere = "Elsewhere"
	// GoAwayPushed is sent when the hub reaches the cluster itself now: the agent stops its engine, and waits.
	GoAwayPushed = "Pushed"
)

// Assignment is what changed in the Assignment of the Cluster (Assignment.Apply).
type Assignment struct {
	// Generation and UID are those of the Assignment on the hub.
	Generation int64  `json:"generation"`
	UID        string `json:"uid"`
	// Entries are those that are new or changed, Dropped the names of those that are gone.
	Entries []Entry  `json:"entries,omitempty"`
	Dropped []string `json:"dropped,omitempty"`
	// Digest is that of all entries after the change, Signature that of the hub over AssignmentTranscript.
	Digest    string `json:"digest"`
	Signature []byte `json:"signature"`
}

// Up reports what changed. An empty one is a heartbeat.
type Up struct {
	// Seq counts the reports of a session, from 1. A report that is not answered is sent again with the same number.
	Seq uint64 `json:"seq,omitempty"`
	// State of the agent's connection to its API server, when it has changed, and in the first report.
	State *State `json:"state,omitempty"`
	// Entries are those whose status has changed, in more than VerifiedAt; Dropped the names of those that are gone.
	Entries []v1alpha1.AssignmentEntryStatus `json:"entries,omitempty"`
	Dropped []string                         `json:"dropped,omitempty"`
	// Verified is VerifiedAt of those in which nothing else has changed, in seconds since 1970, by name.
	Verified map[string]int64 `json:"verified,omitempty"`
	// Complete is set when the hub knows the statuses of all entries with this report: until then, one that is absent may
	// exist.
	Complete bool `json:"complete,omitempty"`
	// Events in the order in which they happened; those that were not answered are sent again.
	Events []Event `json:"events,omitempty"`
	// Disk is the state of the agent's disk; the agent goes on without one.
	Disk *Disk `json:"disk,omitempty"`
	// Received is Down.Seq of the last frame that was handled.
	Received uint64 `json:"received,omitempty"`
	// Finalized is the value of Down.Finalize that was answered; FinalizeError why it was not carried out. Agents of
	// the first version leave Finalized empty when there is an error.
	Finalized     string `json:"finalized,omitempty"`
	FinalizeError string `json:"finalizeError,omitempty"`
	// Now is the edge's clock, in seconds since 1970: the hub corrects the times of a clock that is wrong.
	Now int64 `json:"now,omitempty"`
	// Latest is the latest time by the hub's clock that the agent has seen, of a frame or of an update by medium, in
	// nanoseconds since 1970; in the first report of a session, and in those that are carried. A hub whose own clock is
	// behind goes on from there.
	Latest int64 `json:"latest,omitempty"`
}

// UpResponse acknowledges a report.
type UpResponse struct {
	Seq uint64 `json:"seq,omitempty"`
	// Sent is Down.Seq of the last frame that was sent. An agent that does not receive it, and nothing else for ten
	// seconds, begins a new session: something between the two holds it back.
	Sent uint64 `json:"sent,omitempty"`
}

// State is what an agent knows of its API server; see engine.State.
type State struct {
	Reachable bool         `json:"reachable,omitempty"`
	Usable    bool         `json:"usable,omitempty"`
	Reason    string       `json:"reason,omitempty"`
	Message   string       `json:"message,omitempty"`
	UID       string       `json:"uid,omitempty"`
	Version   string       `json:"version,omitempty"`
	LastSeen  *metav1.Time `json:"lastSeen,omitempty"`
	Orphaned  string       `json:"orphaned,omitempty"`
	Examined  bool         `json:"examined,omitempty"`
}

// Disk is the state of the agent's disk.
type Disk struct {
	// Reason is empty when there is nothing wrong.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// Event is something that happened on the cluster; see engine.Event.
type Event struct {
	// Seq counts the events of an agent, over restarts, from 1.
	Seq uint64 `json:"seq"`
	// At is by the edge's clock.
	At            metav1.Time `json:"at"`
	Kustomization string      `json:"kustomization,omitempty"`
	Warning       bool        `json:"warning,omitempty"`
	Reason        string      `json:"reason"`
	Message       string      `json:"message"`
	// Object is absent where the event is about all.
	Object *Object `json:"object,omitempty"`
}

// Object names an object on the edge; see engine.Object.
type Object struct {
	Group           string `json:"group,omitempty"`
	Version         string `json:"version,omitempty"`
	Kind            string `json:"kind"`
	Namespace       string `json:"namespace,omitempty"`
	Name            string `json:"name"`
	UID             string `json:"uid,omitempty"`
	ResourceVersion string `json:"resourceVersion,omitempty"`
}

// ID of the object.
func (o Object) ID() object.ID {
	return object.ID{Group: o.Group, Kind: o.Kind, Namespace: o.Namespace, Name: o.Name}
}
