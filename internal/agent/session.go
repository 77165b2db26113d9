package agent

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/recovery"
	"github.com/skerry-dev/skerry/internal/sleep"
)

const (
	// reportTimeout is how long the gateway has to acknowledge a report while nothing else arrives, before the link
	// counts as lost.
	reportTimeout = time.Minute
	// frameDelayLimit is how long a frame may take that the gateway has sent (UpResponse.Sent), while nothing else arrives.
	frameDelayLimit = 10 * time.Second
)

// fetchBackoff is the wait after a bundle that could not be fetched. It is spread: many agents ask for the same bundle.
var fetchBackoff = wait.Backoff{Duration: 5 * time.Second, Factor: 2, Jitter: 0.5, Steps: 7, Cap: 5 * time.Minute}

// goAwayError is the end of a session that the hub gave a reason for. Where it is not trusted, something on the way may have
// made it up.
type goAwayError struct {
	link.GoAway
	trusted bool
}

func (e *goAwayError) Error() string { return "the hub ended the session: " + e.Reason }

var (
	errFinalized = errors.New("everything that Skerry kept on the cluster is taken away")
	errSilent    = errors.New("the gateway has been silent for too long")
	errHeldBack  = errors.New("what the gateway has sent does not arrive")
)

// session is one connection to the gateway and what goes over it.
type session struct {
	a       *agent
	gateway *gateway
	enroll  link.Enrollment
	key     ed25519.PublicKey
	private ed25519.PrivateKey // of key
	reports *reports
	fetches *downloads
	frames  frames // of the stream, whose goroutine alone uses it from then on
	// disconnect closes the connections: what waits on one, in the middle of a request that nothing takes, ends with it.
	disconnect      func()
	firstSettings   *link.Settings  // with which the session began; nil where none are believed
	firstSettingsAt time.Time       // at which they held, by the hub's clock; zero where that is not known
	work            *errgroup.Group // what runs in the session

	mu                       sync.Mutex // guards what follows
	keepAlive, heartbeat     time.Duration
	received                 uint64 // Down.Seq
	sent                     uint64 // the same, of the last frame that the gateway has sent (UpResponse.Sent)
	awaiting                 bool   // awaitSent runs
	finalizing               string
	finalized, finalizeError string
}

// open proves the key and reads the answer of the hub. Without an error, the session's settings are to be adopted, and it is to run.
func open(ctx context.Context, a *agent, g *gateway, e link.Enrollment, key ed25519.PrivateKey, fetches *downloads) (*session, link.HubIdentity, error) {
	answer, err := g.session(ctx, e, key, link.Agent{Version: a.version, Instance: a.instance, ClusterUID: a.clusterUID, StartedAt: metav1.NewTime(a.started), Carried: a.journal.lastMediumReport()})
	if err != nil {
		return nil, link.HubIdentity{}, err
	}
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, link.HubIdentity{}, errors.New("the agent's key is not ed25519")
	}
	reported := answer.Reported
	if !link.Verify(e.HubKey, link.ReportedTranscript(e.HubID, e.Cluster, public, g.nonce, reported), answer.ReportedSignature) {
		reported = reported.Names() // everything is reported
	}
	s := &session{a: a, gateway: g, enroll: e, key: public, private: key, reports: newReports(reported), fetches: fetches}
	s.frames = frames{enroll: e, key: public, nonce: g.nonce}
	first, err := s.frames.begin(answer.FirstFrame(), g.hubSigns)
	if err != nil {
		return nil, link.HubIdentity{}, err
	}
	if first.GoAway != nil {
		return nil, answer.Hub, s.frames.goAwayError(*first.GoAway)
	}
	s.firstSettings, s.firstSettingsAt = first.Settings, s.frames.at(first)
	return s, answer.Hub, nil
}

// adoptSettings takes the settings that the session began with. The agent belongs to the Cluster that they are of by then.
func (s *session) adoptSettings() {
	s.applySettings(s.a.settingsOr(s.firstSettings), s.firstSettingsAt)
}

func (s *session) applySettings(to link.Settings, at time.Time) {
	s.mu.Lock()
	s.keepAlive, s.heartbeat = to.KeepAliveInterval(), to.HeartbeatInterval()
	s.mu.Unlock()
	s.a.adoptSettings(to, at)
}

// run works until the link goes, or the hub ends the session.
func (s *session) run(ctx context.Context) error {
	s.work, ctx = errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, s.disconnect)()
	s.startWork(func() error { return s.stream(ctx) })
	s.startWork(func() error { return s.report(ctx) })
	s.startWork(func() error { return s.fetch(ctx) })
	return s.work.Wait()
}

// startWork runs a piece of the session's work beside the others. A panic of it ends the session as an error does: the
// engine goes on, and the next session begins after a pause.
func (s *session) startWork(f func() error) {
	s.work.Go(func() error {
		err := recovery.Run(f)
		if p, ok := errors.AsType[*recovery.Panic](err); ok {
			s.a.log.Error(p, "recovered from a panic", p.Details()...)
		}
		return err
	})
}

// stream reads what comes down, until it ends.
func (s *session) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	body, err := s.gateway.do(ctx, http.MethodPost, link.StreamPath, link.Hello{Assignment: s.a.have()})
	if err != nil {
		return err
	}
	defer body.Close()
	silence := time.AfterFunc(s.silence(), func() { cancel(errSilent); s.disconnect() })
	defer silence.Stop()
	in := progressReader{body, func() { silence.Reset(s.silence()) }} // a large frame takes its time on a slow link
	for {
		var d link.Down
		err := link.ReadMessage(in, link.MaxMessage, &d)
		if cause := context.Cause(ctx); err != nil && cause != nil {
			return cause
		}
		if errors.Is(err, io.EOF) {
			return errors.New("the gateway ended the stream")
		}
		if err != nil {
			return fmt.Errorf("cannot read from the gateway: %w", err)
		}
		if err := s.handle(ctx, d); err != nil {
			return err
		}
	}
}

// progressReader is a body that calls arrived when something has arrived.
type progressReader struct {
	io.Reader
	arrived func()
}

func (h progressReader) Read(p []byte) (int, error) {
	n, err := h.Reader.Read(p)
	if n > 0 {
		h.arrived()
	}
	return n, err
}

func (s *session) silence() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(link.SilentAfter * float64(s.keepAlive))
}

// handle does what a frame asks for.
func (s *session) handle(ctx context.Context, d link.Down) error {
	d, err := s.frames.admit(d)
	if err != nil {
		return err
	}
	if d.Settings != nil {
		s.applySettings(*d.Settings, s.frames.at(d))
	}
	if d.Assignment != nil {
		err := s.a.takeAssignment(s.enroll, *d.Assignment, s.frames.order(d))
		if errors.Is(err, link.ErrDiverged) {
			s.a.forgetAssignment()
		}
		if err != nil {
			return err
		}
	}
	if d.Verify {
		s.a.verify()
	}
	if d.Finalize != "" {
		s.finalize(ctx, d)
	}
	if d.Seq > 0 {
		s.mu.Lock()
		s.received = d.Seq
		s.mu.Unlock()
		wake(s.a.reportDue)
	}
	if d.GoAway != nil {
		return s.frames.goAwayError(*d.GoAway)
	}
	return nil
}

// errFinalizeNotSigned is the answer to a request for finalization that is not of the hub.
var errFinalizeNotSigned = errors.New("the request is not signed by the hub for this agent")

// finalize begins to carry out a request, unless it is under way. What is between the two may have made it up, where
// an ingress terminates TLS: it must be signed.
func (s *session) finalize(ctx context.Context, d link.Down) {
	request := d.Finalize
	if !link.Verify(s.enroll.HubKey, link.FinalizeTranscript(s.enroll.HubID, s.enroll.Cluster, s.key, request), d.FinalizeSignature) {
		s.a.log.Info("a finalization is refused", "reason", errFinalizeNotSigned.Error())
		s.answerFinalize(request, errFinalizeNotSigned)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finalizing == request {
		return
	}
	s.finalizing = request
	s.startWork(func() error { // ends with the answer of the engine, or with the session
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		err := s.a.finalize(ctx, request)
		s.mu.Lock()
		latest := s.finalizing == request
		if latest {
			s.finalizing = ""
		}
		s.mu.Unlock()
		if latest { // else the hub waits for the answer to a later one
			s.answerFinalize(request, err)
		}
		return nil
	})
}

func (s *session) answerFinalize(request string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finalized, s.finalizeError = request, ""
	if err != nil {
		s.finalizeError = health.Clean(err.Error())
	}
	wake(s.a.reportDue)
}

// report reports to the hub what has changed, within a second, and with each heartbeat that the agent is there.
func (s *session) report(ctx context.Context) error {
	beat := s.a.now()
	for {
		s.mu.Lock()
		due := beat.Add(s.heartbeat)
		s.mu.Unlock()
		now := s.a.now()
		sent, err := s.sendReport(ctx, !now.Before(due))
		if err != nil {
			return err
		}
		if sent {
			beat = now
			if sleep.For(ctx, s.a.delays.coalesce) != nil {
				return ctx.Err()
			}
			continue // what came meanwhile goes along
		}
		timer := time.NewTimer(due.Sub(now))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		case <-s.a.reportDue:
		}
		timer.Stop()
	}
}

// sendReport sends one report, if there is something to report, or in any case. More events than one report holds
// follow at once.
func (s *session) sendReport(ctx context.Context, anyway bool) (sent bool, err error) {
	f := s.facts()
	up, canWait, err := s.reports.next(f)
	if err != nil || canWait && !anyway && s.reports.seq > 0 {
		return false, err
	}
	frames, err := link.EncodeUp(up, s.sign)
	if err != nil {
		return false, err
	}
	call, stop := s.gateway.withSilenceLimit(ctx, reportTimeout)
	defer stop()
	var answer link.UpResponse
	if err := s.gateway.call(call, http.MethodPost, link.ReportPath, encodedFrames(frames), &answer, link.MaxMessage); err != nil {
		if errors.Is(context.Cause(call), errSilent) {
			return false, errSilent
		}
		return false, fmt.Errorf("cannot report: %w", err)
	}
	if err := s.reports.acknowledged(up, f); err != nil {
		return false, err
	}
	if n := len(up.Events); n > 0 {
		s.a.journal.acknowledge(up.Events[n-1].Seq)
		wake(s.a.reportDue)
	}
	if up.Finalized != "" && up.FinalizeError == "" {
		s.a.finalizeAcknowledged(ctx, s.a.now())
	}
	s.expectFrames(ctx, answer.Sent)
	return true, nil
}

// sign signs a report: what ends TLS on the way can change and repeat what goes over it.
func (s *session) sign(message []byte) []byte {
	return ed25519.Sign(s.private, link.UpTranscript(s.enroll.HubID, s.enroll.Cluster, s.key, s.gateway.nonce, message))
}

func (s *session) facts() facts {
	state, entries, reported := s.a.reported()
	f := facts{state: state, entries: entries, complete: reported, events: s.a.journal.pending(), disk: s.a.disk.Problem(), now: s.a.now(), latest: s.a.latestSeen()}
	s.mu.Lock()
	defer s.mu.Unlock()
	f.received, f.finalized, f.finalizeError = s.received, s.finalized, s.finalizeError
	return f
}

// expectFrames begins to wait for the frames that the gateway has sent (UpResponse.Sent), unless that is under way.
func (s *session) expectFrames(ctx context.Context, sent uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = max(s.sent, sent)
	if s.awaiting || s.received >= s.sent {
		return
	}
	s.awaiting = true
	s.startWork(func() error { return s.awaitSent(ctx) })
}

// awaitSent notices a proxy that holds the stream back: what the gateway has sent must arrive soon after the link has
// nothing else to bring. A frame waits behind the bundles that are on their way, and a large one arrives in parts.
func (s *session) awaitSent(ctx context.Context) error {
	began := s.a.now()
	for !s.allReceived() {
		if since := latest(began, s.gateway.lastProgress()); s.a.now().Sub(since) > frameDelayLimit {
			return errHeldBack
		}
		if sleep.For(ctx, 100*time.Millisecond) != nil {
			return ctx.Err()
		}
	}
	return nil
}

// allReceived reports whether everything has arrived that the gateway has sent; then nothing is awaited any more.
func (s *session) allReceived() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awaiting = s.received < s.sent
	return !s.awaiting
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// fetch brings the bundles that are missing onto the disk, and assigns to the engine.
func (s *session) fetch(ctx context.Context) error {
	failed := fetchBackoff
	for {
		complete, later, err := s.fetchAll(ctx, s.a.missing())
		if err != nil {
			return err
		}
		var retry <-chan time.Time
		switch {
		case complete:
			failed = fetchBackoff
		case later: // so do others that ask
			retry = time.After(s.a.delays.busyRetry + rand.N(s.a.delays.busyRetry)) //nolint:gosec // a spread, no secret
		default:
			retry = time.After(failed.Step())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.a.fetchDue:
		case <-retry:
		}
	}
}

// fetchAll fetches bundles one after the other, and returns whether all are there; later is set when the gateway asks to
// be asked again for some. An error is that of the link.
func (s *session) fetchAll(ctx context.Context, digests []string) (complete, later bool, err error) {
	if len(digests) == 0 {
		s.a.reassign(nil, true)
		return true, false, nil
	}
	began := s.a.now()
	complete = true
	var arrived []string // since the engine was given entries
	for _, digest := range digests {
		bundle, err := s.fetches.fetch(ctx, s.gateway, s.enroll, digest)
		f := failureOf(err)
		if busy(err) {
			complete, later = false, true
			continue
		}
		if err != nil && f == nil {
			return false, false, err
		}
		s.a.recordFetch(digest, f)
		if f != nil {
			complete = false
		} else {
			s.a.fresh.put(digest, bundle, s.a.now())
			arrived = append(arrived, digest)
		}
		if s.a.now().Sub(began) > s.a.delays.arrival {
			s.a.reassign(arrived, false)
			arrived = nil // told again, they would pass for bundles that the engine had and the disk lost
		}
	}
	s.a.reassign(arrived, complete && len(s.a.missing()) == 0)
	return complete, later, nil
}

// failureOf returns what is reported of a bundle that could not be fetched; nil for none, and for a link that
// went away meanwhile.
func failureOf(err error) *failure {
	switch {
	case errors.Is(err, errRefused):
		return &failure{v1alpha1.BundleRefusedReason, health.Clean(err.Error())}
	case errors.Is(err, errNotKept):
		return &failure{v1alpha1.AgentDiskFullReason, err.Error()}
	case notFound(err):
		return &failure{v1alpha1.BundleNotFoundReason, "the hub does not have the bundle yet"}
	}
	return nil
}
