// Package cluster connects each Cluster to its engine and reports what is known of the connection.
package cluster

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/kubeconfig"
	"github.com/skerry-dev/skerry/internal/pacing"
	"github.com/skerry-dev/skerry/internal/removal"
	"github.com/skerry-dev/skerry/internal/report"
)

// answerWithin is how long a request for a probe waits for the answer before it counts as handled:
// a cluster that is switched off has none.
const answerWithin = 15 * time.Second

// answerPollInterval is the time between two looks for that answer, which no event announces.
const answerPollInterval = 250 * time.Millisecond

// Options are what a Reconciler works with.
type Options struct {
	Hub      hubapi.Hub
	Direct   hubapi.Direct
	Recorder hubapi.Recorder
	Pool     engine.Pooled
	// Local reaches the hub's own cluster.
	Local *rest.Config
	Now   func() time.Time
	// Holder decides which Clusters this process works on; nil for all.
	Holder Holder
	// TearDown distinguishes a Cluster that goes with the hub from one that is removed.
	TearDown hubapi.TearDown
	// RemovalTimeout is how long a deleted Cluster waits for one that does not answer; 5 minutes when zero.
	RemovalTimeout time.Duration
	// Connected is told that there is a new engine, which has nothing assigned yet; may be nil.
	Connected func(engine.Key)
	// Ahead returns how many decisions and reports wait to be written, or are about to, as while a hub that has started
	// verifies its fleet; nil for none. A status that differs in lastSeen alone yields to them.
	Ahead func() int
	// Reachable is told what is known of a cluster, and false for known when it is gone; may be nil.
	Reachable func(key engine.Key, reachable, known bool)
}

// Reconciler reconciles Clusters.
type Reconciler struct {
	Options
	trigger  hubapi.Trigger
	secrets  secrets
	statuses *hubapi.Committer[v1alpha1.Cluster, *v1alpha1.Cluster]
	renewals *renewals
	purges   sync.WaitGroup // of what is asked of an engine beside the reconciles

	mu       sync.Mutex
	reported map[engine.Key]uint64 // digest of what the last reconcile saw
	requests map[engine.Key]request
	yielding map[engine.Key]time.Time // since when a status that differs in lastSeen alone yields
	removals map[engine.Key]time.Time // when this process began with the removal
}

// request is a probe that a person asked for.
type request struct {
	value string
	at    time.Time
}

// New returns a Reconciler.
func New(o Options) *Reconciler {
	if o.Connected == nil {
		o.Connected = func(engine.Key) {}
	}
	if o.TearDown == nil {
		o.TearDown = func(context.Context, hubapi.Subject) (string, error) { return "", nil }
	}
	if o.Ahead == nil {
		o.Ahead = func() int { return 0 }
	}
	if o.RemovalTimeout == 0 {
		o.RemovalTimeout = removal.DefaultTimeout
	}
	if o.Reachable == nil {
		o.Reachable = func(engine.Key, bool, bool) {}
	}
	r := &Reconciler{Options: o, reported: map[engine.Key]uint64{}, renewals: newRenewals(), requests: map[engine.Key]request{}, yielding: map[engine.Key]time.Time{}, removals: map[engine.Key]time.Time{}, secrets: newSecrets(o.Hub, o.Direct)}
	r.statuses = hubapi.NewCommitter(o.Hub, &r.trigger, o.Now, func(c *v1alpha1.Cluster) any { return &c.Status })
	return r
}

// Changed is called when what the engine knows of a cluster has changed. It does not block, and wakes
// no controller for news that are not of the connection.
func (r *Reconciler) Changed(key engine.Key) {
	state, _ := r.Pool.State(key)
	digest := digestOf(state)
	r.mu.Lock()
	requested := r.requests[key].value != ""
	same := r.reported[key] == digest
	r.mu.Unlock()
	if requested || !same {
		r.trigger.Enqueue(key)
	}
}

// Reconcile connects one Cluster and reports on it. It waits for no write of a status, but for those of a removal.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	return r.statuses.Reconcile(ctx, req, r.begin)
}

// begin reconciles up to the write of the status.
func (r *Reconciler) begin(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	before := &v1alpha1.Cluster{}
	if err := r.Hub.Get(ctx, req.NamespacedName, before); err != nil {
		if apierrors.IsNotFound(err) {
			return reconcile.Result{}, r.notThere(ctx, req.NamespacedName)
		}
		return reconcile.Result{}, fmt.Errorf("cannot read Cluster: %w", err)
	}
	if ours, result, err := r.held(ctx, req.NamespacedName, before); !ours || err != nil {
		return result, err
	}
	if !before.DeletionTimestamp.IsZero() {
		return r.remove(ctx, req.NamespacedName, before)
	}
	if err := r.addFinalizer(ctx, before); err != nil {
		return hubapi.ResultForError(err)
	}
	facts, err := r.connect(ctx, req.NamespacedName, r.known(before))
	if err != nil {
		return reconcile.Result{}, err
	}
	statusReport := report.Cluster(facts)
	if wait := r.yield(req.NamespacedName, facts.Object.Status, statusReport.Status); wait > 0 {
		statusReport.Status = *facts.Object.Status.DeepCopy()
		if statusReport.Requeue == 0 || wait < statusReport.Requeue {
			statusReport.Requeue = wait
		}
	}
	after := before.DeepCopy()
	after.Status = statusReport.Status
	return r.statuses.CommitThen(ctx, before, after, func() (reconcile.Result, error) {
		hubapi.Record(r.Recorder, after, "Connect", statusReport.Events)
		return reconcile.Result{RequeueAfter: r.requeueAfter(req.NamespacedName, statusReport.Requeue)}, nil
	})
}

// yield returns how long a status that differs in lastSeen alone is to wait while there is much else to write; zero where it
// is to be written now, and where there is nothing to write.
func (r *Reconciler) yield(key engine.Key, old, now v1alpha1.ClusterStatus) time.Duration {
	var ahead int
	if report.OnlyLastSeenDiffers(old, now) {
		ahead = r.Ahead()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.Now()
	since, yielding := r.yielding[key]
	if !yielding {
		since = at
	}
	wait := pacing.LastSeenDelay(ahead, at.Sub(since))
	if wait == 0 {
		delete(r.yielding, key)
		return 0
	}
	r.yielding[key] = since
	return wait
}

// known is a Cluster with the status that the hub wrote last, where another has written one since. Who
// holds it is written by others as well.
func (r *Reconciler) known(c *v1alpha1.Cluster) *v1alpha1.Cluster {
	last, foreign := r.statuses.Foreign(c)
	if !foreign {
		return c
	}
	whole := c.DeepCopy()
	whole.Status = last.Status
	whole.Status.Shard = c.Status.Shard
	return whole
}

// connect brings the engine to the spec of the Cluster and collects the facts. It fails only with
// errors that say nothing of the cluster.
func (r *Reconciler) connect(ctx context.Context, key engine.Key, c *v1alpha1.Cluster) (report.ClusterFacts, error) {
	facts := report.ClusterFacts{Object: c, Now: r.Now(), Handled: c.Status.LastHandledReconcileAt}
	conn, err := r.connection(ctx, c)
	if err != nil {
		if !report.IsReportable(err) {
			return facts, err
		}
		r.disconnect(key)
		facts.Err, facts.Handled = err, v1alpha1.ReconcileRequest(c.Annotations)
		return facts, nil
	}
	_, known := r.Pool.State(key)
	r.Pool.Connect(key, conn)
	if !known {
		r.Connected(key)
	}
	facts.Handled = r.handle(key, c)
	state, _ := r.Pool.State(key)
	facts.Connection = report.Connection(state)
	digest := digestOf(state)
	r.mu.Lock()
	r.reported[key] = digest
	r.mu.Unlock()
	r.Reachable(key, state.Reachable, true)
	if state.Reachable && state.Usable && r.secrets.renews(key) {
		facts.Renewal = r.renew(ctx, key, c, conn.Config)
	}
	return facts, nil
}

func (r *Reconciler) connection(ctx context.Context, c *v1alpha1.Cluster) (engine.Connection, error) {
	conn := engine.Connection{KnownUID: c.Status.UID, Suspend: c.Spec.Suspend, Namespaces: c.Spec.Namespaces, Shared: c.Spec.Sharing == v1alpha1.SharingShared, TakeOver: c.Annotations[v1alpha1.TakeOverAnnotation]}
	if c.Spec.Agent != nil {
		conn.Agent, conn.ApprovedKey = c.Spec.Agent, c.Annotations[v1alpha1.AgentApprovedAnnotation]
		return conn, nil
	}
	if c.Spec.KubeConfig == nil { // by the schema, the Cluster named hub
		conn.Config, conn.Fingerprint, conn.Local = r.Local, "local", true
		return conn, nil
	}
	config, fingerprint, err := r.secrets.kubeconfig(ctx, c)
	if err != nil {
		return conn, err
	}
	conn.Config, conn.Fingerprint, conn.Account = config, fingerprint, kubeconfig.AccountFingerprint(config)
	return conn, nil
}

// handle asks for a probe when a person does, and returns the request that was handled last: the new
// one when the cluster has answered since, or had the time to.
func (r *Reconciler) handle(key engine.Key, c *v1alpha1.Cluster) string {
	value, handled := v1alpha1.ReconcileRequest(c.Annotations), c.Status.LastHandledReconcileAt
	r.mu.Lock()
	defer r.mu.Unlock()
	if value == handled {
		delete(r.requests, key)
		return handled
	}
	now, requested := r.Now(), r.requests[key]
	if requested.value != value {
		r.requests[key] = request{value, now}
		r.Pool.Verify(key)
		return handled
	}
	if state, _ := r.Pool.State(key); state.LastSeen.After(requested.at) || now.Sub(requested.at) >= answerWithin {
		delete(r.requests, key)
		return value
	}
	return handled
}

// requeueAfter is the time until the next reconcile: soon while the answer to a request is awaited.
func (r *Reconciler) requeueAfter(key engine.Key, otherwise time.Duration) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, waiting := r.requests[key]; waiting {
		return answerPollInterval
	}
	return otherwise
}

func (r *Reconciler) disconnect(key engine.Key) {
	r.mu.Lock()
	delete(r.reported, key)
	delete(r.requests, key)
	delete(r.yielding, key)
	delete(r.removals, key)
	r.mu.Unlock()
	r.renewals.forget(key)
	r.Pool.Disconnect(key)
	r.Reachable(key, false, true)
}

func (r *Reconciler) forget(key engine.Key) {
	r.disconnect(key)
	r.secrets.forget(key)
	r.statuses.Forget(key)
	r.Reachable(key, false, false)
}

var seed = maphash.MakeSeed()

// digestOf stands for a state without LastSeen, where the whole would be kept of each of thousands of Clusters. It is 0 where
// nothing is known.
func digestOf(s engine.State) uint64 {
	s.LastSeen = time.Time{}
	if s == (engine.State{}) {
		return 0
	}
	return maphash.Comparable(seed, s)
}
