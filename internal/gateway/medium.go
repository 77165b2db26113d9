package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/medium"
	"github.com/skerry-dev/skerry/internal/object"
)

// withTicket passes on requests that have the token of a ticket on a Cluster with an agent: a user who may change the
// Cluster has allowed them. Nothing of the body is read before.
func (g *Gateway) withTicket(next func(http.ResponseWriter, *http.Request, engine.Key, *v1alpha1.Cluster)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		key, c := g.authorizeTicket(w, r)
		if c == nil {
			return
		}
		if g.limits.takeTokens(key, mediumKind, 1, sessionEvery, sessionBurst) == 0 {
			retryLater(w, http.StatusTooManyRequests, int(sessionEvery.Seconds()))
			return
		}
		markAuthenticated(r.Context(), key)
		g.setReadDeadline(w, objectTimeout)
		next(w, r, key, c)
	}
}

// authorizeTicket returns the Cluster whose ticket a request has the token of, or answers it and returns nil.
func (g *Gateway) authorizeTicket(w http.ResponseWriter, r *http.Request) (engine.Key, *v1alpha1.Cluster) {
	select {
	case g.limits.unauthenticated <- struct{}{}:
		defer func() { <-g.limits.unauthenticated }()
	default:
		retryLater(w, http.StatusServiceUnavailable, busyRetryAfter)
		return engine.Key{}, nil
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	key, c, err := g.clusterOf(r.Context(), r.Header.Get(link.ClusterHeader))
	if err != nil {
		retryLater(w, http.StatusServiceUnavailable, busyRetryAfter)
		return key, nil
	}
	now := g.o.Now()
	switch left := ticketLifetime(c, token, now); {
	case left <= 0:
		refuse(w)
		return key, nil
	case left > maxTicketLifetime:
		g.answerMedium(w, v1alpha1.MediumNotExpectedReason, fmt.Sprintf("the ticket on the Cluster ends at %s, and may end %s from now at the latest: write another one",
			now.Add(left).UTC().Format(time.RFC3339), maxTicketLifetime))
		return key, nil
	}
	return key, c
}

// ticketLifetime returns how long the ticket of a Cluster, which may be nil, serves for the token; nothing when it does not.
func ticketLifetime(c *v1alpha1.Cluster, token string, now time.Time) time.Duration {
	var want []byte
	var left time.Duration
	if c != nil {
		hash, end, _ := strings.Cut(c.Annotations[v1alpha1.MediumTicketAnnotation], ".")
		if until, err := strconv.ParseInt(end, 10, 64); err == nil && now.Unix() < until {
			want, _ = hex.DecodeString(hash)    // else it is empty, and equals no hash
			left = time.Unix(until, 0).Sub(now) // at most 292 years
		}
	}
	if got := sha256.Sum256([]byte(token)); subtle.ConstantTimeCompare(got[:], want) != 1 {
		return 0
	}
	return left
}

// answerMedium answers why there is no file, or why a file is refused.
func (g *Gateway) answerMedium(w http.ResponseWriter, reason, message string) {
	frame, err := link.EncodeFrame(link.MediumResponse{Reason: reason, Message: message})
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", link.ContentType)
	w.WriteHeader(http.StatusConflict)
	_, _ = w.Write(frame) // a client that has disconnected asks again
}

// exportUpdate writes what is assigned to a Cluster into a file for its agent.
func (g *Gateway) exportUpdate(w http.ResponseWriter, r *http.Request, key engine.Key, c *v1alpha1.Cluster) {
	public := link.DecodeKey(c.Spec.Agent.PublicKey)
	if public == nil {
		g.answerMedium(w, v1alpha1.MediumNotExpectedReason, "no agent has joined the Cluster, so that nobody could open an update for it")
		return
	}
	if c.Spec.Agent.Approval == v1alpha1.AgentApprovalManual && c.Annotations[v1alpha1.AgentApprovedAnnotation] != fingerprint(public) {
		g.answerMedium(w, v1alpha1.AgentNotApprovedReason, fmt.Sprintf("the agent with the key %s is not approved, and is given nothing", fingerprint(public)))
		return
	}
	a := g.agentOf(key)
	if a == nil { // another shard of the hub has the Cluster, or this one has just started
		retryLater(w, http.StatusServiceUnavailable, 1)
		return
	}
	a.observeTime(exportedAt(c))
	u, entries, made, known := a.assignedUpdate(g.o.Now)
	switch {
	case !known:
		retryLater(w, http.StatusServiceUnavailable, 1)
		return
	case u.Assignment.UID == "":
		g.answerMedium(w, v1alpha1.MediumNotExpectedReason, "nothing is assigned to the Cluster: there is no update until a Kustomization selects it")
		return
	}
	select {
	case g.limits.exports <- struct{}{}:
		defer func() { <-g.limits.exports }()
	default:
		retryLater(w, http.StatusServiceUnavailable, busyRetryAfter)
		return
	}
	end := g.o.Now().Add(exportTimeout)
	var err error
	if u.Bundles, err = g.manifests(r.Context(), entries); err != nil {
		g.o.Log.Info("cannot export an update yet", "cluster", key, "error", err.Error())
		retryLater(w, http.StatusServiceUnavailable, 2) // it is rendered again
		return
	}
	if err := g.recordExport(r.Context(), a, c, made); err != nil {
		g.o.Log.Info("cannot export an update yet", "cluster", key, "error", err.Error())
		retryLater(w, http.StatusServiceUnavailable, 2)
		return
	}
	u.HubVersion = g.o.Hub.Version
	label := medium.Label{Hub: g.o.Hub.ID, Cluster: key.String(), Made: made}
	if err := g.writeUpdate(r.Context(), w, label, u, public, end); err != nil {
		g.o.Log.Info("an export was not finished", "cluster", key, "error", err.Error())
		panic(http.ErrAbortHandler) // so that the other end does not take it for whole
	}
	g.o.Log.Info("an update was exported", "cluster", key, "generation", u.Assignment.Generation, "from", r.RemoteAddr)
}

// writeUpdate writes an update for the agent with a public key, until a time at the latest.
func (g *Gateway) writeUpdate(ctx context.Context, w http.ResponseWriter, label medium.Label, u medium.Update, public ed25519.PublicKey, end time.Time) error {
	g.setReadDeadline(w, 0) // that of the body would end the connection
	defer g.setReadDeadline(w, readTimeout)
	w.Header().Set("Content-Type", "application/octet-stream")
	out := &slowWriter{to: w, deadline: func() {
		at := g.o.Now().Add(objectTimeout)
		if at.After(end) {
			at = end
		}
		_ = http.NewResponseController(w).SetWriteDeadline(at)
	}}
	return medium.WriteUpdate(out, label, u, g.o.Key, public, func(digest string) (*object.Bundle, error) { return g.o.Bundles.Get(ctx, digest) })
}

// slowWriter gives each writeChunk bytes their own time: the first record names all objects, and has megabytes.
type slowWriter struct {
	to       http.ResponseWriter
	deadline func()
}

func (s *slowWriter) Write(p []byte) (int, error) {
	written := 0
	for part := range slices.Chunk(p, writeChunk) {
		s.deadline()
		n, err := s.to.Write(part)
		if written += n; err != nil {
			return written, err
		}
	}
	return written, nil
}

// assignedUpdate returns what is assigned, without bundles, and the time at which it is; false before that is known. Where nothing
// ever was, the Assignment has no UID.
func (a *agent) assignedUpdate(now func() time.Time) (u medium.Update, entries []link.Entry, at time.Time, known bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.assignmentKnown {
		return u, nil, at, false
	}
	u = medium.Update{Settings: a.settings(), Assignment: link.Diff(link.Have{}, a.entries)}
	u.Assignment.UID, u.Assignment.Generation, u.Assignment.Signature = a.signedAssignment.UID, a.signedAssignment.Generation, a.signedAssignment.Signature
	return u, a.entries, a.clock.next(now(), exportGap), true
}

// observeTime makes the times that are sent to the agent later than one that it has seen.
func (a *agent) observeTime(seen time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.clock.observe(seen)
}

// recordExport writes a time down on the Cluster that the agent may see, or has seen: a hub that is started anew goes on
// from there.
func (g *Gateway) recordExport(ctx context.Context, a *agent, c *v1alpha1.Cluster, at time.Time) error {
	a.exportMu.Lock()
	defer a.exportMu.Unlock()
	if !at.After(latest(a.lastExport, exportedAt(c))) {
		return nil // a later one is there already
	}
	if err := g.o.Exported(ctx, c, at); err != nil {
		return err
	}
	a.lastExport = at
	return nil
}

// observeHubTime takes over the latest time of the hub that an agent has seen. A time that is ahead of the clock is written
// to the Cluster at once: the agent may be cut off, and this process end, before there is another export.
func (g *Gateway) observeHubTime(ctx context.Context, a *agent, seen time.Time) error {
	if !seen.After(g.o.Now()) || !seen.Before(lastHubTime) {
		return nil
	}
	a.observeTime(seen)
	if g.limits.takeTokens(a.key, clockKind, 1, stateEvery, 1) == 0 {
		return nil // an agent has the Cluster written as often as that, whatever it has seen
	}
	c, err := g.o.Cluster(ctx, a.key)
	if err != nil {
		return err
	}
	return g.recordExport(ctx, a, c, seen)
}

// manifests describes the bundles of the entries. Those that are to be applied must be there.
func (g *Gateway) manifests(ctx context.Context, encoded []link.Entry) ([]link.Manifest, error) {
	entries, err := link.DecodeEntries(encoded)
	if err != nil {
		return nil, err
	}
	required, optional := carriedBundles(entries)
	var all []link.Manifest
	for i, digest := range append(required, optional...) {
		b, err := g.o.Bundles.Get(ctx, digest)
		if errors.Is(err, fs.ErrNotExist) && i >= len(required) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read a bundle: %w", err)
		}
		all = append(all, link.NewManifest(digest, b))
	}
	return all, nil
}

// carriedBundles returns the digests of the bundles that go along with the entries, each once: those that are to be
// applied, and those that decide what may be deleted, or that are gone back to.
func carriedBundles(entries []v1alpha1.AssignmentEntry) (required, optional []string) {
	add := func(to []string, digest string) []string {
		if digest == "" || slices.Contains(required, digest) || slices.Contains(optional, digest) {
			return to
		}
		return append(to, digest)
	}
	for i := range entries {
		if e := &entries[i]; !e.Remove {
			required = add(required, e.Digest)
		}
	}
	for i := range entries {
		e := &entries[i]
		for _, digest := range append(slices.Clone(e.KeepFor), e.Undone) {
			optional = add(optional, digest)
		}
		if e.Fallback != nil {
			optional = add(optional, e.Fallback.Digest)
		}
	}
	return required, optional
}

// importReport takes a report that was carried here.
func (g *Gateway) importReport(w http.ResponseWriter, r *http.Request, key engine.Key, c *v1alpha1.Cluster) {
	l, report, err := medium.ReadReport(r.Body, g.o.Hub.ID, g.o.Key, key.String(), link.DecodeKey(c.Spec.Agent.PublicKey))
	if refusal, ok := errors.AsType[*medium.RefusedError](err); ok {
		g.o.Log.Info("a report that was carried here is refused", "cluster", key, "reason", refusal.Reason)
		g.answerMedium(w, refusal.Reason, refusal.Message)
		return
	}
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	a := g.agentOf(key)
	if a == nil || !a.isAssignmentKnown() {
		retryLater(w, http.StatusServiceUnavailable, 1)
		return
	}
	if err := g.observeHubTime(r.Context(), a, time.Unix(0, report.Up.Latest)); err != nil {
		g.o.Log.Info("cannot take a report that was carried here yet", "cluster", key, "error", err.Error())
		retryLater(w, http.StatusServiceUnavailable, 2)
		return
	}
	events, refusal := a.importReport(c, report, l.Made, g.o.Now())
	if refusal != nil {
		g.o.Log.Info("a report that was carried here is refused", "cluster", key, "reason", refusal.Reason)
		g.answerMedium(w, refusal.Reason, refusal.Message)
		return
	}
	g.o.Log.Info("a report was carried here", "cluster", key, "number", report.Number)
	g.o.OnChange(key)
	g.record(key, events)
	g.write(w, link.MediumResponse{Made: l.Made, Entries: len(report.Up.Entries), Events: len(events)})
}

// isAssignmentKnown reports whether the controllers have handed over the Assignment: before, no report can be checked.
func (a *agent) isAssignmentKnown() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.assignmentKnown
}

// importReport applies a report that was carried here, as one over a link, but does not correct its times: how wrong the
// clock of the edge is cannot be known.
func (a *agent) importReport(c *v1alpha1.Cluster, r medium.Report, made, now time.Time) ([]engine.Event, *medium.RefusedError) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if refusal := a.checkImport(c, r); refusal != nil {
		return nil, refusal
	}
	made = boundTime(metav1.NewTime(made), 0, now).UTC()
	a.statuses, a.statusesLoaded, a.reportComplete = nil, true, true
	a.applyStatuses(&r.Up, 0, now)
	a.version, a.lastSeen = boundText(r.Version), latest(a.lastSeen, made)
	if r.Up.Disk != nil {
		a.pendingDisk = nil // which is older
		a.disk = link.Disk{Reason: boundReason(r.Up.Disk.Reason), Message: boundText(r.Up.Disk.Message)}
	}
	a.carried = link.Carried{Number: r.Number, Made: made, Imported: now.UTC().Truncate(time.Second)}
	return a.newEvents(&r.Up), nil
}

// checkImport returns why a report is refused, or nil; the mutex is held.
func (a *agent) checkImport(c *v1alpha1.Cluster, r medium.Report) *medium.RefusedError {
	key := a.fingerprint
	known := a.carried.Number
	if s := c.Status.Agent; s != nil && s.CarriedReport != nil && s.KeyFingerprint == key {
		known = max(known, uint64(max(0, s.CarriedReport.Number)))
	}
	switch {
	case c.Spec.Agent.Approval == v1alpha1.AgentApprovalManual && a.connection.ApprovedKey != key:
		return &medium.RefusedError{Reason: v1alpha1.AgentNotApprovedReason, Message: "the agent that made the report is not approved"}
	case c.Spec.Agent.ClusterUID != "" && c.Spec.Agent.ClusterUID != r.ClusterUID:
		return &medium.RefusedError{Reason: v1alpha1.ClusterReplacedReason, Message: "the report was made on another cluster than the one that joined"}
	case a.session != nil && a.session.stream != nil:
		return &medium.RefusedError{Reason: v1alpha1.MediumOutdatedReason, Message: "the agent is connected, and what it reports itself is newer"}
	case r.Number <= known:
		return &medium.RefusedError{Reason: v1alpha1.MediumOutdatedReason, Message: "the hub has this report already, or one that the agent made later"}
	}
	return nil
}
