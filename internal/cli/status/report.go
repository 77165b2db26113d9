package status

import (
	"time"

	"github.com/skerry-dev/skerry/internal/cli/drift"
)

// State is how a thing stands, in one word.
type State string

// States. Suspended is what a user asked for; all others but Ready are not ready.
const (
	Ready     State = "ready"
	NotReady  State = "not ready"
	Working   State = "working"
	Suspended State = "suspended"
	Deleting  State = "deleting"
	Unknown   State = "unknown"
)

// Report is the whole hub at a glance. Its lists are sorted by namespace and name; its texts are
// clean for a terminal.
type Report struct {
	// Ready is true when there is no problem.
	Ready          bool            `json:"ready"`
	Hub            Hub             `json:"hub"`
	Sources        []Source        `json:"sources"`
	Kustomizations []Kustomization `json:"kustomizations"`
	Clusters       []Cluster       `json:"clusters"`
	// Problems is everything that is not ready, the causes before what follows from them.
	Problems []Problem `json:"problems"`
	// Drift is what was changed on clusters beside Git: all that differs now, and what was put back in the
	// last hour, at most MaxDrift of them.
	Drift []drift.Found `json:"drift,omitempty"`
	// MoreDrift counts the others.
	MoreDrift int `json:"moreDrift,omitempty"`
}

// DriftTime is how far back a report looks for drift that was put back.
const DriftTime = time.Hour

// MaxDrift bounds the drift of a report.
const MaxDrift = 100

// Hub is where the hub is and whether it is at work.
type Hub struct {
	Server string `json:"server"`
	// State is Ready when the hub holds its lease, NotReady when it let it expire, and Unknown when
	// there is none to report.
	State  State  `json:"state"`
	Reason string `json:"reason,omitempty"`
	// Heard is when the hub renewed its lease last.
	Heard *time.Time `json:"heard,omitempty"`
}

// Source is a GitRepository.
type Source struct {
	Namespace string     `json:"namespace"`
	Name      string     `json:"name"`
	State     State      `json:"state"`
	Reason    string     `json:"reason,omitempty"`
	Message   string     `json:"message,omitempty"`
	URL       string     `json:"url"`
	Revision  string     `json:"revision,omitempty"`
	Fetched   *time.Time `json:"fetched,omitempty"`
}

// Kustomization sums up what its clusters report.
type Kustomization struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	State     State  `json:"state"`
	Reason    string `json:"reason,omitempty"`
	Message   string `json:"message,omitempty"`
	Source    string `json:"source"`
	Path      string `json:"path"`
	// Revision is the last that was ready on every cluster counted as ready, Attempted the last that
	// was rendered.
	Revision  string `json:"revision,omitempty"`
	Attempted string `json:"attempted,omitempty"`
	// Head is the last commit that the source has fetched.
	Head     string `json:"head,omitempty"`
	Clusters Counts `json:"clusters"`
	// Rollout is where a change stands that is not on every cluster; nil when the last one is.
	Rollout *Rollout `json:"rollout,omitempty"`
}

// Rollout is a change on its way, held, halted or taken back.
type Rollout struct {
	Revision string `json:"revision"`
	Phase    string `json:"phase"`
	Stage    string `json:"stage,omitempty"`
	Message  string `json:"message,omitempty"`
	// Updated and Ready count the clusters of all stages.
	Updated  int32 `json:"updated"`
	Ready    int32 `json:"ready"`
	Clusters int32 `json:"clusters"`
	// Failed means that the change goes no further because it did harm, or was undone.
	Failed bool `json:"failed,omitempty"`
}

// Counts counts clusters.
type Counts struct {
	Desired     int32 `json:"desired"`
	Ready       int32 `json:"ready"`
	Progressing int32 `json:"progressing"`
	Failed      int32 `json:"failed"`
	Unreachable int32 `json:"unreachable"`
}

// Cluster is one cluster, and what runs there.
type Cluster struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	State     State  `json:"state"`
	Reason    string `json:"reason,omitempty"`
	Message   string `json:"message,omitempty"`
	// Reachable is Ready while the cluster is heard from.
	Reachable State      `json:"reachable"`
	Version   string     `json:"version,omitempty"`
	LastSeen  *time.Time `json:"lastSeen,omitempty"`
	// Agent is nil for a cluster that the hub reaches itself.
	Agent *Agent `json:"agent,omitempty"`
	// Runs holds one entry for each Kustomization that is assigned to the cluster, or was.
	Runs []Run `json:"runs"`
}

// Run is one Kustomization on one cluster.
type Run struct {
	Kustomization string `json:"kustomization"`
	State         State  `json:"state"`
	Reason        string `json:"reason,omitempty"`
	Message       string `json:"message,omitempty"`
	// Revision is what was applied there as a whole, Wanted what the hub wants there.
	Revision string `json:"revision,omitempty"`
	Wanted   string `json:"wanted,omitempty"`
	// Objects are those that stand as wanted, of all that are wanted.
	Applied int32 `json:"applied"`
	Total   int32 `json:"total"`
	// Drift counts the corrections since the hub started.
	Drift int64 `json:"drift,omitempty"`
	// Verified is when all objects were last known to stand as wanted.
	Verified *time.Time `json:"verified,omitempty"`
	// Assigned is when the hub sent what it wants there.
	Assigned *time.Time `json:"assigned,omitempty"`

	behind bool // what is wanted is not applied there as a whole
}

// Problem is one thing that is not ready, and what to do about it where that is known.
type Problem struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// Cluster is set when a Kustomization is not ready on that one.
	Cluster string `json:"cluster,omitempty"`
	State   State  `json:"state"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	Next    string `json:"next,omitempty"`
}
