// Package agent runs on an edge cluster that the hub cannot reach: it dials out to the hub's gateway, and keeps
// the cluster on its Assignment with the engine that the hub has for the clusters that it reaches.
//
// It promises: without its hub it goes on from its disk, and without its disk from memory; nothing is applied
// that its hub did not sign for its Cluster; one agent at a time works on a cluster; and its key never leaves it.
package agent

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/pacing"
	"github.com/skerry-dev/skerry/internal/sleep"
)

const (
	// pollEnrollment is how often an agent that cannot connect looks for another enrollment on the edge.
	pollEnrollment = 10 * time.Second
	// releaseTimeout is how long a hub that has acknowledged a finalization has to let the Cluster go. An agent that cannot
	// see that any more, because the hub itself has gone, ends then.
	releaseTimeout = 5 * time.Minute
	// unknownKeyLimit is how many times in a row a hub must not know the key of an agent that has carried out a
	// finalization, until it is done: a hub that is restarted between a challenge and its answer, or that gets the proof too slowly,
	// refuses a key that it knows. timings.proofRetry is the pause in between.
	unknownKeyLimit = 3
	// startRetry is how often an agent that starts asks an API server that does not answer.
	startRetry = 500 * time.Millisecond
)

// timings are the pauses of an agent that a test shortens.
type timings struct {
	proofRetry time.Duration // between proofs of a key that the hub seems not to know
	// coalesce is how long a report waits for further changes that go with it.
	coalesce time.Duration
	// busyRetry is half of the longest wait for a gateway that is busy, or has not rendered a bundle yet.
	busyRetry time.Duration
	// arrival is how long bundles that have arrived wait for those that have not: all entries of one commit begin at once where
	// the link lets them.
	arrival time.Duration
	folders time.Duration // between two looks at the folders for files
}

func defaultTimings() timings {
	return timings{proofRetry: 500 * time.Millisecond, coalesce: pacing.AgentGather, busyRetry: 2 * time.Second, arrival: 5 * time.Second, folders: folderInterval}
}

// errClusterReplaced: the identity on this cluster was made for another one.
var errClusterReplaced = errors.New("the key of this agent was made on another cluster, of which this one is a copy or a replacement")

// process is an agent and what it needs to reach its hub.
type process struct {
	*agent
	o          Options
	identities identities
	health     *healthState

	// What follows belongs to the loop that connects.
	identity   identity
	backoff    backoff
	fetches    *downloads
	tlsFor     string // the enrollment that tlsConfig is for
	tlsConfig  *tls.Config
	proxy      func(*http.Request) (*url.URL, error)
	lastLogged string // the last error that was logged
	// refusedToken is that of an enrollment that the hub has refused while it knew the key that the agent has.
	refusedToken string
	// unknownKeyCount counts the times in a row that a hub did not know the key.
	unknownKeyCount int
	// engineRestartDue is set when the agent has joined, and the engine is still the one from before.
	engineRestartDue bool
}

// Run runs an agent until ctx is done, or everything of it was taken away from the cluster.
func Run(ctx context.Context, o Options) error {
	config, err := o.config()
	if err != nil {
		return err
	}
	k, err := newKube(config)
	if err != nil {
		return err
	}
	h := &healthState{}
	stopServing, err := h.serve(ctx, o.HealthAddress)
	if err != nil {
		return err
	}
	defer stopServing()
	l := &lease{kube: k, namespace: o.Namespace, holder: o.holder(), now: time.Now}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
		defer cancel()
		l.release(ctx)
	}()
	p, err := start(ctx, o, config, k, l, h, o.newPool())
	if err != nil {
		if ctx.Err() != nil {
			return nil // ctx was cancelled before it began
		}
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go p.holdLease(ctx, end) // ends with ctx
	go p.maintainDisk(ctx)   // ends with ctx
	go p.exchangeFiles(ctx)  // ends with ctx
	defer p.stop(ctx)
	err = p.maintainConnection(ctx)
	if errors.Is(err, errFinalized) {
		return p.uninstall(context.WithoutCancel(ctx))
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// start waits for the API server and the lease, and begins from the disk.
func start(ctx context.Context, o Options, config *rest.Config, k kube, l *lease, h *healthState, newPool func(engine.PoolOptions) engine.Pooled) (*process, error) {
	p := &process{
		agent: &agent{
			log: o.Log, now: time.Now, version: o.Version, instance: link.SigningInstance + strings.ToLower(rand.Text()[:16]), started: time.Now(),
			config: config, namespaces: o.Namespaces, lease: l, failures: map[string]failure{}, newPool: newPool,
			reportDue: make(chan struct{}, 1), fetchDue: make(chan struct{}, 1), delays: defaultTimings(),
		},
		o: o, identities: identities{k, o.Namespace}, health: h, backoff: backoff{random: mathrand.Float64}, proxy: http.ProxyFromEnvironment,
	}
	if err := p.retry(ctx, func() error { _, err := l.renew(ctx); return err }); err != nil {
		return nil, err
	}
	if err := p.retry(ctx, func() (err error) {
		if p.clusterUID, err = k.clusterUID(ctx); err == nil {
			p.identity, err = p.identities.load(ctx, p.clusterUID)
		}
		return err
	}); err != nil {
		return nil, err
	}
	key, err := p.identity.storageKey()
	if err != nil {
		return nil, fmt.Errorf("the Secret %s/%s is damaged: %w; delete it, and join again", o.Namespace, agentName, err)
	}
	p.finalized, p.recordFinalized = p.identity.field(finalizedField), p.writeFinalized
	p.acknowledgedAt, p.recordAcknowledged = p.identity.acknowledgedAt(p.now()), p.writeAcknowledged
	p.openDisk(o.StoragePath, key)
	p.fetches = &downloads{bundles: p.bundles}
	if e, ok := p.identity.enrolled(); ok && !p.replaced() && p.finalized == "" {
		if err := p.startEngineFor(ctx, e, p.identity.hub(), nil); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// replaced reports whether the identity was made on another cluster: this one was restored from parts of it, or
// is a copy. Then nothing is done here on the strength of what the other one was.
func (p *process) replaced() bool { return p.identity.field(uidField) != p.clusterUID }

// retry tries until there is no error. Meanwhile the error is logged, and the agent is not ready.
func (p *process) retry(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil {
			p.health.set(nil)
			return nil
		}
		if _, standby := errors.AsType[*heldError](err); standby {
			p.health.set(nil) // the Deployment ends the old agent when the new one stands by
		} else {
			p.health.set(err)
		}
		p.logOnce("waiting", err)
		if sleep.For(ctx, startRetry) != nil {
			return ctx.Err()
		}
	}
}

// logOnce logs an error once for as long as it stays the same.
func (p *process) logOnce(what string, err error) {
	if p.lastLogged != what+err.Error() {
		p.lastLogged = what + err.Error()
		p.log.Info(what, "reason", err.Error())
	}
}

// holdLease renews the lease. The agent ends when another one has taken it.
func (p *process) holdLease(ctx context.Context, end context.CancelCauseFunc) {
	wait := leaseRenewal
	for sleep.For(ctx, wait) == nil {
		wait = leaseRenewal
		resumed, err := p.lease.renew(ctx)
		if held, ok := errors.AsType[*heldError](err); ok {
			end(held)
			return
		}
		if err != nil {
			wait = leaseRetry
			continue
		}
		if resumed {
			p.mu.Lock()
			if pool, ok := p.pool.(interface{ Resume() }); ok {
				pool.Resume()
			}
			p.mu.Unlock()
		}
	}
}

// stop ends the engine and saves what is to survive.
func (p *process) stop(ctx context.Context) {
	p.mu.Lock()
	p.stopPool(ctx)
	p.mu.Unlock()
	p.journal.save()
}
