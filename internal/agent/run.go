// Package agent runs on an edge cluster that the hub cannot reach: it dials out to the hub's gateway, and keeps
// the cluster on its Assignment with the engine that the hub has for the clusters that it reaches.
//
// It promises: without its hub it goes on from its disk, and without its disk from memory; nothing is applied
// that its hub did not sign for its Cluster; one agent at a time works on a cluster; and its key never leaves it.
package agent

import (
	"context"
	"crypto/ed25519"
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
	// coalesce is how long a report waits for what else there is to tell.
	coalesce time.Duration
	// busyRetry is half of the longest wait for a gateway that is busy, or has not rendered a bundle yet.
	busyRetry time.Duration
	folders   time.Duration // between two looks at the folders for files
}

func defaultTimings() timings {
	return timings{proofRetry: 500 * time.Millisecond, coalesce: pacing.AgentGather, busyRetry: 2 * time.Second, folders: folderInterval}
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
			return nil // told to stop before it began
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

// maintainConnection connects to the hub, and again when the connection ends, until ctx is done.
func (p *process) maintainConnection(ctx context.Context) error {
	for p.awaitLease(ctx) {
		began := p.now()
		lasted, err := p.connectOnce(ctx)
		if errors.Is(err, errFinalized) {
			return err
		}
		if ctx.Err() != nil {
			break
		}
		if p.releaseTimedOut(p.now()) {
			return errFinalized
		}
		p.logOnce("not connected to the hub", err)
		wait := p.delays.proofRetry
		if p.unknownKeyCount == 0 || !unauthorized(err) {
			wait = p.backoff.after(err, lasted)
		}
		p.log.V(1).Info("waiting", "for", wait.String(), "after", p.now().Sub(began).String())
		if !p.waitToRetry(ctx, wait) {
			break
		}
	}
	return nil //nolint:nilerr // ctx has ended
}

// awaitLease waits until the agent holds its lease, and returns false when ctx ends before. One that does not reach its API
// server, but its hub, may have lost the lease to another: beside that one it would be taken for a copy of it. A session
// that it has tells the hub that the API server is away, and goes on.
func (p *process) awaitLease(ctx context.Context) bool {
	for ctx.Err() == nil {
		err := p.lease.Leading()
		if err == nil {
			return true
		}
		p.logOnce("not connected to the hub", err)
		_ = sleep.For(ctx, leaseRetry)
	}
	return false
}

// waitToRetry waits until it is time to try again, or there is another enrollment.
func (p *process) waitToRetry(ctx context.Context, wait time.Duration) bool {
	until := p.now().Add(wait)
	for {
		left := until.Sub(p.now())
		if left <= 0 {
			return true
		}
		if sleep.For(ctx, min(left, pollEnrollment)) != nil {
			return false
		}
		if left > pollEnrollment {
			if e, there, err := p.identities.enrollment(ctx); err == nil && there && p.identity.mustJoinWith(e) && e.Token != p.refusedToken {
				return true
			}
		}
	}
}

// after returns how long to wait after a session that ended with an error.
func (b *backoff) after(err error, lasted time.Duration) time.Duration {
	if goAway, ok := errors.AsType[*goAwayError](err); ok && goAway.trusted {
		switch goAway.Reason {
		case link.GoAwayElsewhere:
			return b.otherShard(lasted, retryAfter(err))
		case link.GoAwayDuplicate: // the hub says when it may be wanted again
			b.failures = 0
		}
	}
	return b.next(lasted, retryAfter(err))
}

// retryAfter is what the hub asked for.
func retryAfter(err error) time.Duration {
	if goAway, ok := errors.AsType[*goAwayError](err); ok {
		after := time.Duration(min(goAway.RetryAfter, 86400)) * time.Second
		if !goAway.trusted {
			return min(after, maxRetry)
		}
		switch goAway.Reason {
		case link.GoAwayRevoked, link.GoAwayClusterReplaced:
			return max(after, unwantedRetry)
		}
		return after
	}
	if status, ok := errors.AsType[*statusError](err); ok {
		return status.retryAfter
	}
	return 0
}

// errTokenRefused: the hub accepts neither the token of an enrollment nor the key that was to join with it.
var errTokenRefused = errors.New("the hub refuses the token of the enrollment")

// connectOnce opens a session, joining before if there is something to join with, and returns when it has ended. Where
// the token is refused, the key that the hub knows still opens one.
func (p *process) connectOnce(ctx context.Context) (lasted time.Duration, err error) {
	e, key, joining, err := p.credentials(ctx)
	if err != nil {
		return 0, err
	}
	lasted, err = p.connectWith(ctx, e, key, joining)
	if known, ok := p.identity.enrolled(); ok && !p.replaced() && errors.Is(err, errTokenRefused) {
		if p.refusedToken != e.Token {
			p.refusedToken = e.Token
			p.log.Info("the token of the new enrollment is refused, and the agent goes on with the key that it has", "gateway", e.Gateway, "cluster", e.Cluster, "reason", err.Error())
		}
		return p.connectWith(ctx, known, p.identity.key(), false)
	}
	return lasted, err
}

// connectWith opens a session with a key, which joins before when it is a new one.
func (p *process) connectWith(ctx context.Context, e link.Enrollment, key ed25519.PrivateKey, joining bool) (lasted time.Duration, err error) {
	transport, err := p.transport(e)
	if err != nil {
		return 0, err
	}
	conns := &connections{open: map[*connection]bool{}}
	transport.DialContext = conns.wrap(transport.DialContext)
	defer conns.closeAll()
	g := newGateway(e, transport, p.version, p.now)
	g.hubSigns = !joining && p.identity.hubSigns()
	refused := false
	if joining {
		// The key is written down already. Where the answer to an earlier try was lost, the token has served, and
		// the session below shows that the key is bound.
		_, err := g.join(ctx, e, key, p.clusterUID)
		if refused = unauthorized(err); err != nil && !refused {
			return 0, err
		}
	}
	s, hub, err := open(ctx, p.agent, g, e, key, p.fetches)
	if !unauthorized(err) {
		p.unknownKeyCount = 0
	}
	if goAway, ok := errors.AsType[*goAwayError](err); ok && goAway.Reason == link.GoAwayNotApproved {
		if public, ok := key.Public().(ed25519.PublicKey); ok { // a person compares it with what the hub shows
			err = fmt.Errorf("the agent with the key %s waits to be approved on the hub: %w", link.Fingerprint(public), err)
		}
		if joining { // the key is bound, and known to the hub
			err = errors.Join(err, p.adoptJoinedKey(ctx, e, hub))
		}
	}
	switch {
	case unauthorized(err) && refused:
		return 0, fmt.Errorf("%w: %w", errTokenRefused, err)
	case unauthorized(err) && !joining && p.isFinalized():
		if p.unknownKeyCount++; p.unknownKeyCount < unknownKeyLimit {
			return 0, err
		}
		return 0, errFinalized
	case err != nil:
		return 0, p.handleSessionEnd(ctx, err)
	case joining:
		err = p.adoptJoinedKey(ctx, e, hub)
	}
	if err == nil {
		p.identity, err = p.identities.recordHub(ctx, p.identity, hub, s.frames.trust == trustSigned)
	}
	if err == nil {
		err = p.ensureEngine(ctx, e, hub, s.firstSettings)
	}
	if err != nil {
		return 0, err
	}
	s.disconnect = conns.closeAll
	p.log.Info("connected to the hub", "gateway", e.Gateway, "cluster", e.Cluster, "hub", hub.Version)
	return p.runSession(ctx, s)
}

// runSession runs a session to its end, and returns how long it lasted.
func (p *process) runSession(ctx context.Context, s *session) (lasted time.Duration, err error) {
	s.adoptSettings()
	p.lastLogged = ""
	began := p.now()
	err = s.run(ctx)
	return p.now().Sub(began), p.handleSessionEnd(ctx, err)
}

// ensureEngine starts the engine for a Cluster (startEngineFor), and another one after a join. The one from before works until
// then, also where the API server does not take what is to be written down first: it is the only one that corrects drift.
func (p *process) ensureEngine(ctx context.Context, e link.Enrollment, hub link.HubIdentity, came *link.Settings) error {
	if p.engineRestartDue {
		p.stopEngine(ctx)
	}
	err := p.startEngineFor(ctx, e, hub, came)
	if err == nil {
		p.engineRestartDue = false
	}
	return err
}

// adoptJoinedKey makes the key that joined the current one. The first session that opens with it starts another engine:
// one that waits to be approved opens later.
func (p *process) adoptJoinedKey(ctx context.Context, e link.Enrollment, hub link.HubIdentity) (err error) {
	if p.identity, err = p.identities.recordJoin(ctx, p.identity, e, hub, p.clusterUID); err == nil {
		p.setFinalized("")
		p.engineRestartDue = true
	}
	return err
}

func (p *process) setFinalized(request string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.agent.finalized, p.agent.acknowledgedAt = request, time.Time{}
}

// writeFinalized writes down that a finalization was carried out, or forgets it when it is empty. A session calls it
// while the loop that connects waits for the session, and for one finalization at a time.
func (p *process) writeFinalized(ctx context.Context, request string) (err error) {
	p.identity, err = p.identities.change(ctx, p.identity, map[string][]byte{finalizedField: []byte(request), acknowledgedField: nil})
	return err
}

// writeAcknowledged writes down when the hub has acknowledged a finalization, as writeFinalized does. That was carried out
// before, so that no other is written down meanwhile.
func (p *process) writeAcknowledged(ctx context.Context, at time.Time) (err error) {
	p.identity, err = p.identities.change(ctx, p.identity, map[string][]byte{acknowledgedField: []byte(at.UTC().Format(time.RFC3339))})
	return err
}

// handleSessionEnd acts on the reason for which the hub has ended a session.
//
// An agent that has carried out a finalization is done when the hub does not know its key any more: the Cluster has
// gone, whatever became of the answer. Everything else may be a link that was lost, or a hub that was killed before it
// let the Cluster go, so that the agent connects again, and answers a hub that still asks. What can make such an end up,
// an ingress that terminates TLS, hastens by it what the hub has ordered and signed.
func (p *process) handleSessionEnd(ctx context.Context, err error) error {
	if errors.Is(err, errAssignedAgain) {
		if failed := p.writeFinalized(ctx, ""); failed != nil {
			return errors.Join(err, failed)
		}
		p.setFinalized("")
		return err
	}
	goAway, ok := errors.AsType[*goAwayError](err)
	switch {
	case !ok:
	case goAway.Reason == link.GoAwayRevoked && p.isFinalized():
		return errFinalized
	case goAway.trusted && (goAway.Reason == link.GoAwayPushed || goAway.Reason == link.GoAwayClusterReplaced):
		p.agent.deactivate(ctx)
	}
	return err
}

// credentials returns with what the agent is to connect, and whether it is to join before.
func (p *process) credentials(ctx context.Context) (e link.Enrollment, key ed25519.PrivateKey, joining bool, err error) {
	enrollment, there, err := p.identities.enrollment(ctx)
	if there && p.identity.mustJoinWith(enrollment) {
		if p.identity, err = p.identities.prepareKey(ctx, p.identity, enrollment, p.replaced()); err != nil {
			return e, nil, false, err
		}
		return enrollment, p.identity.nextKey(), true, nil
	}
	if p.replaced() {
		return e, nil, false, errClusterReplaced
	}
	if e, ok := p.identity.enrolled(); ok {
		return e, p.identity.key(), false, nil
	}
	if err == nil {
		err = fmt.Errorf("there is no Secret %s/%s to join a hub with", p.o.Namespace, link.EnrollmentSecret)
	}
	return e, nil, false, err
}

// transport makes a transport for one session: a connection that died in the last one is not used again. TLS
// sessions are resumed, which saves a few kilobytes.
func (p *process) transport(e link.Enrollment) (*http.Transport, error) {
	t, err := newTransport(e, p.proxy)
	if err != nil {
		return nil, err
	}
	if id := e.Gateway + "\x00" + e.CA; p.tlsConfig == nil || p.tlsFor != id {
		p.tlsFor, p.tlsConfig = id, t.TLSClientConfig
	}
	t.TLSClientConfig = p.tlsConfig.Clone()
	if p.o.Dial != nil {
		t.DialContext, t.Proxy = p.o.Dial, nil
	}
	return t, nil
}

// uninstall takes away what runs the agent: the hub has removed the Cluster.
func (p *process) uninstall(ctx context.Context) error {
	p.log.Info("the hub has removed this cluster: the agent takes itself away")
	p.stop(ctx)
	for _, name := range p.disk.List("") {
		p.disk.Remove(name)
	}
	p.disk.DropLog(journalRecord)
	if p.o.KeepInstallation {
		return nil
	}
	return p.identities.uninstall(ctx)
}
