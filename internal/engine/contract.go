package engine

import (
	"context"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine/machine"
	"github.com/skerry-dev/skerry/internal/fence/guard"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/object"
)

// Key names one Cluster on the hub.
type Key = types.NamespacedName

// Bundles hands out rendered bundles by digest.
type Bundles interface {
	// Get returns the bundle, which must not be changed. An unknown digest is an error that wraps
	// fs.ErrNotExist.
	Get(ctx context.Context, digest string) (*object.Bundle, error)
}

// BreakerState is the state of the circuit breaker of a cluster.
type BreakerState = machine.BreakerState

// Event is something that happened on a cluster and is worth telling a person.
type Event struct {
	Cluster       Key
	Kustomization string // in the namespace of the Cluster
	Warning       bool
	Reason        string
	Message       string // one line, no values of Secrets, stripped of control characters
	// Object is what on the cluster the event is about; the zero value where it is about all.
	Object Object
}

// Object names one object on a cluster, as it was at one time.
type Object struct {
	ID              object.ID
	Version         string // of the API, "v1"
	UID             string
	ResourceVersion string
}

// Counter is what an engine counts.
type Counter string

// Counters.
const (
	Applied        Counter = "applied"
	Pruned         Counter = "pruned"
	DriftCorrected Counter = "drift_corrected"
	Requests       Counter = "requests"
)

// PoolOptions are what every engine of a pool shares.
type PoolOptions struct {
	// Hub is the identity of the hub, in owner labels and on every cluster.
	Hub string
	// HubNamespace is the namespace that the hub is installed in, on its own cluster.
	HubNamespace string
	// RequireServiceAccount refuses entries of other namespaces without a ServiceAccount where the cluster is the
	// hub's own or that of another namespace.
	RequireServiceAccount bool
	// HubUID is the uid of kube-system on the hub's own cluster. It also keeps hubs of one identity
	// apart.
	HubUID string
	// Process names this process, and Since is when it began: two processes with one HubUID are a hub
	// and a copy of it, or its agent, of which the older one goes on. Chosen by NewPool when empty.
	Process string
	Since   time.Time
	// ClaimGrace is how long a hub that holds the claim on a cluster has to answer another one that asks
	// whether it still works; 10s when zero.
	ClaimGrace time.Duration
	// OrphanedAfter is how long an inventory is there that no Kustomization claims until State reports
	// so: a hub that is set up anew learns of its Kustomizations one by one; 2m when zero.
	OrphanedAfter time.Duration
	// BetterClaim returns another Cluster that has a better claim to the cluster with a uid (sharding.BetterClaim); nil when
	// nothing is known of other Clusters.
	BetterClaim func(key Key, uid string) (Key, bool)
	// Holds reports whether a Cluster has a right to the cluster with a uid, and has not lost it; nil where nothing is
	// known of other Clusters.
	Holds func(key Key, uid string) bool
	// Bundles hands out what is to be applied.
	Bundles Bundles
	// OnChange is called, never concurrently for one key and without blocking long, when Report or
	// State of a cluster has changed.
	OnChange func(Key)
	// OnEvent is called for each event; nil drops them.
	OnEvent func(Event)
	// Count is called for metrics; nil drops them.
	Count func(Key, Counter, int)
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	// OnPass and OnBreaker are called for metrics at the end of each pass, and when the circuit breaker of a
	// cluster has changed its state; nil drops them. They must not block.
	OnPass    func(PassResult)
	OnBreaker func(Key, BreakerState)
	// Random returns numbers of 0 to 1, which spread waits; those of math/rand/v2 when nil.
	Random func() float64
	Log    logr.Logger
	// Fence is asked before anything is written to a cluster; nil lets everything through.
	Fence guard.Fence
	// UserAgent is what the hub calls itself to its clusters.
	UserAgent string
	// Inflight bounds the requests under way to one cluster; 8 when zero.
	Inflight int
	// RequestTimeout bounds one request that is not a watch; 15s when zero.
	RequestTimeout time.Duration
	// PassTimeout bounds one pass over one Kustomization: what is not done by then is left to the
	// next pass, so that a cluster which answers ever so slowly does not hold one for ever; 2m when
	// zero.
	PassTimeout time.Duration
}

// Connection is how to reach one cluster. A Connect with another Fingerprint or Suspend connects
// anew; with equal ones it changes nothing.
type Connection struct {
	// Config reaches the cluster; it is checked already (no exec, no files).
	Config *rest.Config
	// Fingerprint changes when the credentials or the address do.
	Fingerprint string
	// Account is a fingerprint that stays the same when a token takes the place of another one of the same
	// ServiceAccount: then the session goes on with it. Empty where there is no such token.
	Account string
	// Local means that this is the hub's own cluster, on purpose.
	Local bool
	// KnownUID is the uid in the Cluster's status; it is claimed before any other Cluster may.
	KnownUID string
	// Namespaces are those that the credentials reach; all when empty.
	Namespaces []string
	// Shared means that other Clusters of this hub, and other hubs, may have a part of the cluster as well.
	Shared bool
	// Suspend keeps the connection but changes nothing on the cluster.
	Suspend bool
	// Agent is set for a cluster whose agent dials the hub's gateway: there is no Config then. ApprovedKey is the
	// fingerprint of the agent's key that a user has approved.
	Agent       *v1alpha1.Agent
	ApprovedKey string
	// TakeOver names the hub that a user ordered to give way to this one: the instance or process
	// that a DuplicateHub message names.
	TakeOver string
}

// sameSettings reports whether two connections differ in nothing but how the cluster is reached.
func (c *Connection) sameSettings(o *Connection) bool {
	return c.Suspend == o.Suspend && c.Local == o.Local && c.TakeOver == o.TakeOver && slices.Equal(c.Namespaces, o.Namespaces) && c.Shared == o.Shared
}

// renews reports whether a connection differs from an earlier one in nothing but the token of its account.
func (c *Connection) renews(o *Connection) bool {
	return o != nil && c.Account != "" && c.Account == o.Account && c.sameSettings(o)
}

// State is what is known of a cluster's connection.
type State struct {
	// Reachable is True, False, or Unknown before the first answer.
	Reachable bool
	Known     bool // an answer, or its absence, was seen at least once
	// Usable is false when the cluster answers but must not be worked on: Reason is then
	// Unauthorized, HubItself, DuplicateCluster or OwnedByAnotherHub.
	Usable  bool
	Reason  string
	Message string // stable between repeats of the same failure
	UID     string
	Version string
	// LastSeen is the time of the last answer.
	LastSeen time.Time
	// Orphaned names inventories that no Kustomization claims, once they are Examined; empty when there
	// are none.
	Orphaned string
	Examined bool
	// Agent is what is known of the agent, where one works on the cluster.
	Agent link.AgentInfo
}

// Pooled is the part of a Pool that controllers use.
type Pooled interface {
	// Connect starts or updates the engine of a cluster.
	Connect(key Key, c Connection)
	// Disconnect stops the engine of a cluster and releases all that it holds, within a second or
	// so. What stands on the cluster stays.
	Disconnect(key Key)
	// Assign hands the engine what it is to bring about. The entries replace the earlier ones; an
	// entry that is missing is forgotten, not pruned (that is what Remove is for).
	Assign(key Key, entries []v1alpha1.AssignmentEntry)
	// Report returns the status of every assigned entry, sorted by name; false for an unknown key.
	Report(key Key) ([]v1alpha1.AssignmentEntryStatus, bool)
	// State returns what is known of the connection; false for an unknown key.
	State(key Key) (State, bool)
	// Verify asks for a probe and a full verification of the cluster now.
	Verify(key Key)
	// Finalize takes away what Skerry keeps on the cluster for itself, and as the last act the account
	// that was made for the hub. It does nothing, and returns ErrNotRemoved, unless every entry is
	// removed, and ErrNotConnected when there is no session. After it the engine sends nothing more.
	Finalize(ctx context.Context, key Key) error
	// Stop stops all engines at an object boundary and waits until ctx is done.
	Stop(ctx context.Context)
}
