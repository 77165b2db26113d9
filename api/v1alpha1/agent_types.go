package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Agent is for a cluster that pulls: an agent on it dials the hub's gateway.
type Agent struct {
	// PublicKey of the agent, ed25519, in base64. The gateway writes it when an agent joins with the token of join;
	// it may also be given beforehand. A connection is accepted from who proves to have the private key, which never
	// leaves the edge. Removing or changing the field ends a live connection at once.
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9+/]{43}=$`
	// +optional
	PublicKey string `json:"publicKey,omitempty"`

	// ClusterUID is the uid of kube-system on the cluster that joined. An agent that connects from another one is
	// refused (ClusterReplaced). The gateway writes it when an agent joins.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	ClusterUID string `json:"clusterUID,omitempty"`

	// Join lets an agent join once. The gateway removes it when one has.
	// +optional
	Join *AgentJoin `json:"join,omitempty"`

	// Approval is Automatic when an agent that joined with the token is accepted, and Manual when it also needs the
	// annotation skerry.dev/agent-approved with the fingerprint of its key.
	// +kubebuilder:default=Automatic
	// +optional
	Approval AgentApproval `json:"approval,omitempty"`

	// KeepAlive is how often the hub sends on an idle connection, which keeps proxies and carriers from closing it;
	// an agent that receives nothing for two and a half times as long connects anew. 140 bytes each.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('10s') && duration(self) <= duration('1h')",message="keepAlive must be between 10s and 1h"
	// +kubebuilder:default="1m"
	// +optional
	KeepAlive *metav1.Duration `json:"keepAlive,omitempty"`

	// Heartbeat is how often an agent reports at least; one that the hub has not heard from for two and a half times
	// as long counts as unreachable, even though its connection stands. 450 bytes each.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('10s') && duration(self) <= duration('24h')",message="heartbeat must be between 10s and 24h"
	// +kubebuilder:default="5m"
	// +optional
	Heartbeat *metav1.Duration `json:"heartbeat,omitempty"`
}

// AgentJoin is a one-time token, by its hash: who reads the Cluster cannot join with it.
type AgentJoin struct {
	// TokenHash is the SHA-256 of the token, in hexadecimal.
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	TokenHash string `json:"tokenHash"`
	// Expires is when the token stops to serve, by the hub's clock.
	Expires metav1.Time `json:"expires"`
}

// AgentApproval decides whether an agent that joined is accepted.
// +kubebuilder:validation:Enum=Automatic;Manual
type AgentApproval string

const (
	// AgentApprovalAutomatic accepts who joined with the token.
	AgentApprovalAutomatic AgentApproval = "Automatic"
	// AgentApprovalManual waits for the annotation AgentApprovedAnnotation.
	AgentApprovalManual AgentApproval = "Manual"
)

// AgentApprovedAnnotation of a Cluster holds the fingerprint of the key of an agent that a person has approved.
const AgentApprovedAnnotation = "skerry.dev/agent-approved"

// GatewayConfigMap is where a hub with a gateway writes down, in its own namespace, what agents are installed with:
// hubID, hubKey (base64), url, version, ca.crt where the gateway shows a certificate of its own authority, and agentImage
// where the hub knows the image of the agent that goes with it.
const GatewayConfigMap = "skerry-gateway"

// AgentStatus is what is known of the agent of a Cluster.
type AgentStatus struct {
	// Version of the agent.
	// +optional
	Version string `json:"version,omitempty"`
	// KeyFingerprint of its public key, as ssh-keygen shows that of one: "SHA256:" and base64.
	// +optional
	KeyFingerprint string `json:"keyFingerprint,omitempty"`
	// ConnectedSince is when the connection that stands began; absent while none does.
	// +optional
	ConnectedSince *metav1.Time `json:"connectedSince,omitempty"`
	// DisconnectedAt is when the hub last heard from the agent over the connection before the one that stands, or
	// over the last one while none does. What the agent did between then and connectedSince, it did on its own.
	// +optional
	DisconnectedAt *metav1.Time `json:"disconnectedAt,omitempty"`
	// Disk says what is wrong with the agent's disk: a reason and a message. The agent goes on without it.
	// +optional
	Disk string `json:"disk,omitempty"`
	// CarriedReport is the last report of the agent that was carried to the hub by medium.
	// +optional
	CarriedReport *CarriedReport `json:"carriedReport,omitempty"`
}

// CarriedReport is a report of an agent that came by medium.
type CarriedReport struct {
	// Number of the report; one with a lower number is refused.
	Number int64 `json:"number"`
	// MadeAt is when the agent made it, by the edge's clock; absent when the agent has told of it over a link since.
	// +optional
	MadeAt *metav1.Time `json:"madeAt,omitempty"`
	// ImportedAt is when the hub took it.
	// +optional
	ImportedAt *metav1.Time `json:"importedAt,omitempty"`
}

// MediumTicketAnnotation of a Cluster lets who has the token fetch an update for the Cluster's agent from the gateway,
// or hand in a report of it: the SHA-256 of the token in hexadecimal, a full stop, and the end of its life in seconds
// since 1970, at most an hour from when it is shown. "skerry bundle" writes and removes it: who may change a Cluster may do this.
const MediumTicketAnnotation = "skerry.dev/medium-ticket"

// MediumExportedAnnotation of a Cluster is the time, in RFC 3339, that the last update for its agent carries: the hub's
// clock, or a moment after the one before where that was ahead. The gateway writes it before the file leaves the hub, and
// every later one carries a later time.
const MediumExportedAnnotation = "skerry.dev/medium-exported"

// What keeps agents at the version of their hub.
const (
	// AgentSourceURL as the url of a GitRepository stands for the manifests of the agent that goes with the hub's
	// version, which the hub holds itself.
	AgentSourceURL = "builtin://agent"
	// AgentsName is that of the GitRepository and the Kustomization by which the hub keeps the agents of a namespace.
	AgentsName = "skerry-agents"
	// AgentLabel of a Cluster, with the value AgentManaged, is what that Kustomization selects.
	AgentLabel   = "skerry.dev/agent"
	AgentManaged = "managed"
)
