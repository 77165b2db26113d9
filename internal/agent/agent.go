package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/agent/disk"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
)

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

// missing returns the digests of the bundles that are to be fetched.
func (a *agent) missing() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	there := a.bundles.digests()
	return slices.DeleteFunc(wantedDigests(a.assigned), func(d string) bool { return there[d] })
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
