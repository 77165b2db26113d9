package gateway

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/text"
)

// clockTolerance is how far an edge's clock may be off before its times are corrected.
const clockTolerance = 30 * time.Second

// report handles the report of an agent.
func (g *Gateway) report(w http.ResponseWriter, r *http.Request, s *session) {
	if g.limits.takeTokens(s.agent.key, reportKind, 1, reportEvery, reportBurst) == 0 {
		retryLater(w, http.StatusTooManyRequests, 1)
		return
	}
	var up link.Up
	err := g.readReport(r, s, &up)
	switch {
	case errors.Is(err, errReportNotSigned), errors.Is(err, errReportBroken), errors.Is(err, errReportUnreadable):
		g.refuseReport(w, s, err)
		return
	case err != nil: // the connection has gone, and the agent sends it again
		refuse(w)
		return
	}
	now := g.o.Now()
	sent, changed, events, err := s.agent.applyReport(s, &up, now, g.allowStateChange(s.agent.key))
	switch {
	case errors.Is(err, errReportMissing):
		g.refuseReport(w, s, err)
		return
	case err != nil:
		refuse(w)
		return
	}
	if changed {
		g.o.OnChange(s.agent.key)
	}
	g.record(s.agent.key, events)
	if s.signsReports {
		if err := g.observeHubTime(r.Context(), s.agent, time.Unix(0, up.Latest)); err != nil { // the agent reports it again in its next session
			g.o.Log.Info("cannot write down what an agent has seen of the hub's clock", "cluster", s.agent.key, "error", err.Error())
		}
	}
	g.write(w, link.UpResponse{Seq: up.Seq, Sent: sent})
}

var (
	errReportNotSigned  = errors.New("a report came that the agent did not sign for its session")
	errReportBroken     = errors.New("a report came whole, and is not one that an agent sends")
	errReportMissing    = errors.New("a report came, and one before it did not")
	errReportUnreadable = errors.New("a report came that the agent has signed, and that the hub cannot read")
	errSessionEnded     = errors.New("the session has ended")
)

// reportBody notices how a body ends.
type reportBody struct {
	io.Reader
	err error // of the first read that failed
}

func (b *reportBody) Read(into []byte) (int, error) {
	n, err := b.Reader.Read(into)
	if err != nil && b.err == nil {
		b.err = err
	}
	return n, err
}

// lost reports whether the connection has gone before the end of the body, as links do: what came of it says nothing of
// who sent it.
func (b *reportBody) lost() bool { return b.err != nil && !errors.Is(b.err, io.EOF) }

// readReport reads a report, and of an agent that signs its signature. It returns one of the errors above for one that
// arrived and does not count, and any other where the connection has gone.
func (g *Gateway) readReport(r *http.Request, s *session, up *link.Up) error {
	body := &reportBody{Reader: r.Body}
	message, err := link.ReadFrame(body, link.MaxMessage)
	switch {
	case err != nil && body.lost():
		return err
	case err != nil:
		return errReportBroken
	}
	if s.signsReports {
		signature, err := link.ReadFrame(body, ed25519.SignatureSize)
		if err != nil && body.lost() {
			return err
		}
		if !link.Verify(s.publicKey, link.UpTranscript(g.o.Hub.ID, s.agent.key.String(), s.publicKey, s.nonce, message), signature) {
			return errReportNotSigned
		}
	}
	if len(message) == 0 {
		return nil
	}
	switch err := link.Decode(message, up); {
	case err == nil:
		return nil
	case s.signsReports:
		return fmt.Errorf("%w: %w", errReportUnreadable, err)
	}
	return errReportBroken
}

// refuseReport ends a session in which something on the way has changed a report, made one up, or left one out, and says
// so on the Cluster. The agent begins another, and reports what the hub does not know.
func (g *Gateway) refuseReport(w http.ResponseWriter, s *session, err error) {
	g.o.Log.Info("a report is refused", "cluster", s.agent.key, "reason", err.Error(), "instance", s.instance, "from", s.remote)
	message := err.Error() + ": something between the agent and the hub, which terminates TLS, changes what goes over it. Nothing of that counts; have TLS passed through to the hub's gateway"
	if errors.Is(err, errReportUnreadable) { // only the agent can have made it
		message = boundText(err.Error()) + ". Nothing of that counts; bring the hub and its agent to one version"
	}
	s.agent.mu.Lock()
	s.agent.refused = &refusal{reason: v1alpha1.AgentReportRefusedReason, at: g.o.Now(), message: message}
	s.agent.mu.Unlock()
	g.endSession(s, &link.GoAway{Reason: link.GoAwayReplaced, RetryAfter: 5})
	g.o.OnChange(s.agent.key)
	refuse(w)
}

// record passes on the events of an agent, as many as are allowed.
func (g *Gateway) record(key engine.Key, events []engine.Event) {
	allowed := g.limits.takeTokens(key, eventKind, len(events), eventsEvery, eventsBurst)
	if dropped := len(events) - allowed; dropped > 0 {
		g.o.Log.Info("an agent reports more events than are recorded", "cluster", key, "dropped", dropped)
	}
	for _, e := range events[:allowed] {
		g.o.OnEvent(e)
	}
}

// applyReport applies a report. It changes nothing but the agent's own Cluster and the entries that are assigned to that.
func (a *agent) applyReport(s *session, up *link.Up, now time.Time, mayShow func() bool) (sent uint64, changed bool, events []engine.Event, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	repeated := up.Seq != 0 && up.Seq <= s.acked // because the answer was lost
	switch {
	case s.ended, !bytes.Equal(s.publicKey, a.publicKey): // another key has taken its place, and the session is about to end
		return 0, false, nil, errSessionEnded
	case s.signsReports && !repeated && up.Seq != s.acked+1:
		return 0, false, nil, errReportMissing
	case !s.signsReports || !repeated: // else something on the way may have repeated it
		a.lastSeen = now
	}
	if repeated {
		return s.sent, false, nil, nil
	}
	s.acked = max(s.acked, up.Seq)
	if a.refused != nil && a.refused.reason == v1alpha1.AgentReportRefusedReason {
		a.refused.superseded = true
	}
	shift := clockShift(up.Now, now)
	if up.State != nil {
		state := boundState(*up.State)
		a.pendingState = &state
	}
	if up.Disk != nil {
		a.pendingDisk = &link.Disk{Reason: boundReason(up.Disk.Reason), Message: boundText(up.Disk.Message)}
	}
	changed = a.publishState(mayShow)
	if len(up.Entries)+len(up.Dropped)+len(up.Verified) > 0 {
		changed = true
		a.applyStatuses(up, shift, now)
	}
	if up.Complete && !a.reportComplete {
		a.reportComplete, changed = true, true
	}
	events = a.newEvents(up)
	if a.finalized != nil && answersFinalize(up, a.finalize) {
		a.finalized <- finalizeError(up.FinalizeError)
		a.finalized = nil
	}
	return s.sent, changed, events, nil
}

// allowStateChange returns a function that reports whether an agent may change the state of its cluster or disk now.
func (g *Gateway) allowStateChange(key engine.Key) func() bool {
	return func() bool { return g.limits.takeTokens(key, stateKind, 1, stateEvery, stateBurst) > 0 }
}

// publishState makes the pending state and disk the current ones, drops a refusal after which a report counted, and reports
// whether anything has changed. Each change is a write of the Cluster's status, so its rate is limited: when an agent
// reports more changes than a real one does, or something on the way breaks every other report, the last change stays
// pending. The first of an agent is not limited. The mutex is held.
func (a *agent) publishState(may func() bool) (changed bool) {
	over := a.refused != nil && a.refused.superseded
	changed = over || a.pendingState != nil && (a.state == nil || !sameState(*a.state, *a.pendingState)) || a.pendingDisk != nil && *a.pendingDisk != a.disk
	if changed && !may() && a.state != nil {
		return false
	}
	if over {
		a.refused = nil
	}
	if a.pendingState != nil {
		a.state, a.pendingState = a.pendingState, nil
	}
	if a.pendingDisk != nil {
		a.disk, a.pendingDisk = *a.pendingDisk, nil
	}
	return changed
}

// sameState reports whether two states differ in nothing but the time of the last answer, which is not shown.
func sameState(a, b link.State) bool {
	a.LastSeen, b.LastSeen = nil, nil
	return a == b
}

// applyStatuses applies the reported statuses of entries that are assigned; the mutex is held.
func (a *agent) applyStatuses(up *link.Up, shift time.Duration, now time.Time) {
	bounded := link.Up{Dropped: up.Dropped, Verified: map[string]int64{}}
	for _, e := range up.Entries {
		if a.isAssigned(e.Name) {
			bounded.Entries = append(bounded.Entries, boundStatus(e, shift, now))
		}
	}
	for name, at := range up.Verified {
		bounded.Verified[name] = boundTime(metav1.Unix(at, 0), shift, now).Unix()
	}
	a.statuses = bounded.ApplyStatuses(a.statuses)
}

// newEvents returns the events that were not reported before. Those of a Kustomization that is not assigned, or not any
// more, become events of the Cluster, which an agent may always report on. The mutex is held.
func (a *agent) newEvents(up *link.Up) (events []engine.Event) {
	for _, e := range up.Events {
		if e.Seq <= a.eventSeq {
			continue
		}
		a.eventSeq = e.Seq
		if e.Kustomization != "" && !a.isAssigned(e.Kustomization) {
			e.Kustomization, e.Message = "", fmt.Sprintf("%s, which is not assigned: %s", boundText(e.Kustomization), e.Message)
		}
		events = append(events, a.event(e))
	}
	return events
}

// answersFinalize reports whether a report answers the request. Agents of the first version do not name the one that
// they could not carry out.
func answersFinalize(up *link.Up, request string) bool {
	return up.Finalized == request || up.Finalized == "" && up.FinalizeError != ""
}

func (a *agent) event(e link.Event) engine.Event {
	out := engine.Event{Cluster: a.key, Kustomization: e.Kustomization, Warning: e.Warning, Reason: boundReason(e.Reason), Message: boundText(e.Message)}
	if o := e.Object; o != nil {
		out.Object = engine.Object{ID: o.ID(), Version: boundText(o.Version), UID: boundText(o.UID), ResourceVersion: boundText(o.ResourceVersion)}
		out.Object.ID.Name, out.Object.ID.Namespace, out.Object.ID.Kind, out.Object.ID.Group = boundText(o.Name), boundText(o.Namespace), boundText(o.Kind), boundText(o.Group)
	}
	return out
}

// finalizeError is the error of an engine that an agent names.
func finalizeError(text string) error {
	switch text {
	case "":
		return nil
	case engine.ErrNotRemoved.Error():
		return engine.ErrNotRemoved
	case engine.ErrNotConnected.Error():
		return engine.ErrNotConnected
	}
	return errors.New(boundText(text))
}

// clockShift is what is added to the times of an edge whose clock is wrong.
func clockShift(edge int64, now time.Time) time.Duration {
	if edge == 0 {
		return 0
	}
	shift := now.Sub(time.Unix(edge, 0))
	if shift.Abs() < clockTolerance {
		return 0
	}
	return shift
}

// boundTime corrects a time of an edge; none is later than now.
func boundTime(t metav1.Time, shift time.Duration, now time.Time) metav1.Time {
	corrected := t.Add(shift)
	if corrected.After(now) {
		corrected = now
	}
	return metav1.NewTime(corrected.Truncate(time.Second))
}

const (
	maxReason = 64
	maxLine   = 1024
	maxDrifts = 10
	maxPaths  = 5
)

// boundText bounds the length of a text of an agent, and makes it valid UTF-8. Messages become one line where they are
// written.
func boundText(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) > maxLine {
		text = strings.ToValidUTF8(text[:maxLine], "") + "…"
	}
	return text
}

// boundReason returns a reason that the API accepts, or Failed.
func boundReason(text string) string {
	if text == "" {
		return ""
	}
	for i, r := range text {
		letter := r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
		if i >= maxReason || !letter && (i == 0 || r < '0' || r > '9') {
			return v1alpha1.FailedReason
		}
	}
	return text
}

func boundState(s link.State) link.State {
	s.Reason, s.Message, s.UID, s.Version, s.Orphaned = boundReason(s.Reason), boundText(s.Message), boundText(s.UID), boundText(s.Version), boundText(s.Orphaned)
	text.Share(&s.Reason, &s.Version)
	return s
}

// boundStatus makes a status fit for the API, whatever an agent sends.
func boundStatus(s v1alpha1.AssignmentEntryStatus, shift time.Duration, now time.Time) v1alpha1.AssignmentEntryStatus {
	s.Revision, s.Digest, s.AppliedRevision, s.AppliedDigest = boundText(s.Revision), boundText(s.Digest), boundText(s.AppliedRevision), boundText(s.AppliedDigest)
	s.Reason, s.Message, s.HandledAt = boundReason(s.Reason), boundText(s.Message), boundText(s.HandledAt)
	if s.Ready != metav1.ConditionTrue && s.Ready != metav1.ConditionFalse {
		s.Ready = metav1.ConditionUnknown
	}
	if s.Reason == "" {
		s.Reason = v1alpha1.ProgressingReason
	}
	text.Share(&s.Name, &s.Revision, &s.Digest, &s.AppliedRevision, &s.AppliedDigest, &s.Reason)
	if s.VerifiedAt != nil {
		at := boundTime(*s.VerifiedAt, shift, now)
		s.VerifiedAt = &at
	}
	s.Drifts = s.Drifts[:min(len(s.Drifts), maxDrifts)]
	for i := range s.Drifts {
		d := &s.Drifts[i]
		d.Object, d.Manager = boundText(d.Object), boundText(d.Manager)
		d.Change, d.Action = v1alpha1.DriftChange(boundReason(string(d.Change))), v1alpha1.DriftAction(boundReason(string(d.Action)))
		d.Paths = d.Paths[:min(len(d.Paths), maxPaths)]
		for j := range d.Paths {
			d.Paths[j] = boundText(d.Paths[j])
		}
		d.At = boundTime(d.At, shift, now)
	}
	return s
}
