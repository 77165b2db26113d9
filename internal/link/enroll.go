package link

import (
	"crypto/ed25519"
	"encoding/base64"
	"time"
)

// Enrollment is what an agent is installed with: the key EnrollmentKey of the Secret EnrollmentSecret in the namespace
// skerry-system of its own cluster, as JSON. "skerry cluster join --agent" makes it. The agent keeps it, and needs the
// token once.
type Enrollment struct {
	// Gateway is the URL of the gateway: "https://host[:port][/prefix]", to which the paths are added.
	Gateway string `json:"gateway"`
	// CA is the certificate, in PEM, that signed the gateway's own: the agent accepts a certificate that is signed by
	// it for ServerName, whatever the host is called and whatever the edge's clock shows. When it is empty, an ingress
	// terminates TLS: the certificate is checked by the edge's system roots for the host of the URL. In both cases the
	// hub proves its key.
	CA string `json:"ca,omitempty"`
	// HubID is the identity of the hub, and HubKey its ed25519 public key; both are pinned.
	HubID  string `json:"hubID"`
	HubKey []byte `json:"hubKey"`
	// Cluster is "namespace/name" on the hub.
	Cluster string `json:"cluster"`
	// Token serves for one join.
	Token string `json:"token,omitempty"`
}

// Where the agent finds its Enrollment on its own cluster.
const (
	EnrollmentSecret = "skerry-agent-enrollment" //nolint:gosec // the name of a Secret, not its value
	EnrollmentKey    = "enrollment.json"
)

// ServerName is the name in the certificate that the gateway makes for itself. The CA signs nothing else, so a host
// name would add nothing, and the address of a gateway may change.
const ServerName = "skerry-gateway"

// AgentInfo is what is known of the agent of a Cluster. It is a value that can be compared.
type AgentInfo struct {
	// Connected is true while its stream is open, since Since.
	Connected bool
	Since     time.Time
	Version   string
	// Fingerprint of its public key.
	Fingerprint string
	// DiskReason and DiskMessage describe what is wrong with its disk; empty for nothing.
	DiskReason, DiskMessage string
	// Pending is true until it has joined and is approved.
	Pending bool
	// Idle is true when nothing is assigned to its Cluster.
	Idle bool
	// Carried is the last report that came by medium.
	Carried Carried
}

// EncodeKey and DecodeKey are the form of a public key in spec.agent of a Cluster.
func EncodeKey(key []byte) string { return base64.StdEncoding.EncodeToString(key) }

// DecodeKey returns nil for what is no key.
func DecodeKey(text string) []byte {
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil
	}
	return key
}
