package agent

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/sleep"
)

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
// that is open reports to the hub that the API server is away, and goes on.
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
