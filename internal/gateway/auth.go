package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
)

// limitBodies bounds the size of a request's body, a little above the largest message, since a frame has a header, and how
// long it takes to read: also where no handler reads it, and net/http does at the end of the request.
func (g *Gateway) limitBodies(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, link.MaxMessage+1024)
		g.setReadDeadline(w, readTimeout)
		if r.Method != http.MethodPost { // answers to POST are not cached without being marked
			w.Header().Set("Cache-Control", "no-store")
		}
		w.Header()["Date"] = nil // no agent reads it
		next.ServeHTTP(w, r)
	})
}

// longAgo is a deadline that ends pending reads and writes.
var longAgo = time.Unix(1, 0)

// setReadDeadline sets how long the rest of the body may take from now on; 0 for no limit.
func (g *Gateway) setReadDeadline(w http.ResponseWriter, d time.Duration) {
	var at time.Time
	if d > 0 {
		at = g.o.Now().Add(d)
	}
	_ = http.NewResponseController(w).SetReadDeadline(at) // a recorder of tests has none
}

// unauthenticated bounds the requests of callers that have not proven a key. The message is read before the request takes
// one of the few places: an agent sends it at once, and a caller that does not delays no others.
func unauthenticated[T any](g *Gateway, next func(http.ResponseWriter, *http.Request, T)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var ask T
		release, ok := g.admitUnauthenticated(w, r, &ask)
		if !ok {
			return
		}
		defer release()
		next(w, r, ask)
	}
}

// admitUnauthenticated reads the message of a caller that has not proven a key, and takes one of the places for verifying
// it, or answers the request. The caller of it releases the place when ok is true.
func (g *Gateway) admitUnauthenticated(w http.ResponseWriter, r *http.Request, ask any) (release func(), ok bool) {
	g.setReadDeadline(w, proofTimeout)
	done := g.limits.readers.add(func() { _ = http.NewResponseController(w).SetReadDeadline(longAgo) })
	err := link.ReadMessage(r.Body, link.MaxProof, ask)
	done()
	if err != nil {
		refuse(w)
		return nil, false
	}
	select {
	case g.limits.unauthenticated <- struct{}{}:
		return func() { <-g.limits.unauthenticated }, true
	default:
		retryLater(w, http.StatusServiceUnavailable, busyRetryAfter)
		return nil, false
	}
}

// withSession passes on requests that have the token of a session.
func (g *Gateway) withSession(next func(http.ResponseWriter, *http.Request, *session)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			refuse(w)
			return
		}
		// A look-up by the hash takes no time that depends on the token.
		g.mu.Lock()
		s := g.sessions[sha256.Sum256([]byte(token))]
		g.mu.Unlock()
		if s == nil {
			refuse(w)
			return
		}
		if g.limits.takeTokens(s.agent.key, requestKind, 1, requestEvery, requestBurst) == 0 {
			retryLater(w, http.StatusTooManyRequests, 1)
			return
		}
		if !s.agent.acquire(&s.agent.requests, maxRequestsEach) {
			retryLater(w, http.StatusTooManyRequests, 1)
			return
		}
		defer s.agent.release(&s.agent.requests)
		markAuthenticated(r.Context(), s.agent.key)
		g.setReadDeadline(w, reportTimeout)
		next(w, r, s)
	}
}

// acquire counts one more request or download of an agent, unless limit of them are in flight.
func (a *agent) acquire(count *int, limit int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if *count >= limit {
		return false
	}
	*count++
	return true
}

func (a *agent) release(count *int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	*count--
}

func (g *Gateway) read(r *http.Request, limit int, message any) bool {
	return link.ReadMessage(r.Body, limit, message) == nil
}

func (g *Gateway) write(w http.ResponseWriter, message any) {
	frame, err := link.EncodeFrame(message)
	if err != nil {
		g.o.Log.Error(err, "cannot answer an agent")
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header()["Content-Type"] = nil // an idle edge would pay for it with each heartbeat
	_ = g.writeAll(w, frame)         // an agent that is gone asks again
}

// writeAll writes a frame in parts. Each has a deadline of its own, so that a link may be as slow as it is.
func (g *Gateway) writeAll(w http.ResponseWriter, frame []byte) error {
	out := http.NewResponseController(w)
	return writeChunks(w, frame, func() { _ = out.SetWriteDeadline(g.o.Now().Add(writeTimeout)) }) // a recorder of tests has none
}

// writeChunks writes in chunks, and sets the deadline of each. It hands net/http no more at a time than that gathers itself:
// a connection keeps a buffer for the largest frame that was ever sent on it.
func writeChunks(w http.ResponseWriter, data []byte, deadline func()) error {
	for part := range slices.Chunk(data, writeChunk) {
		deadline()
		for piece := range slices.Chunk(part, maxDataFrame) {
			if _, err := w.Write(piece); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *Gateway) challenge(w http.ResponseWriter, _ *http.Request, ask link.ChallengeRequest) {
	answer := link.ChallengeResponse{Versions: []int{link.Version}}
	if slices.Contains(ask.Versions, link.Version) {
		answer.Version, answer.Nonce = link.Version, g.nonces.issue()
	}
	g.write(w, answer)
}

// clusterOf reads a Cluster with an agent; nil when there is none.
func (g *Gateway) clusterOf(ctx context.Context, name string) (engine.Key, *v1alpha1.Cluster, error) {
	namespace, name, ok := strings.Cut(name, "/")
	key := engine.Key{Namespace: namespace, Name: name}
	if !ok {
		return key, nil, nil
	}
	c, err := g.o.Cluster(ctx, key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return key, nil, nil
	case err != nil:
		return key, nil, err
	case c.Spec.Agent == nil || !c.DeletionTimestamp.IsZero() && c.Spec.Agent.PublicKey == "":
		return key, nil, nil
	}
	return key, c, nil
}

// join binds a public key to a Cluster.
func (g *Gateway) join(w http.ResponseWriter, r *http.Request, ask link.JoinRequest) {
	if !g.nonces.valid(ask.Nonce) || len(ask.AgentNonce) != link.NonceSize || ask.ClusterUID == "" || len(ask.ClusterUID) > 64 {
		refuse(w)
		return
	}
	key, c, err := g.clusterOf(r.Context(), ask.Cluster)
	if err != nil {
		retryLater(w, http.StatusServiceUnavailable, busyRetryAfter)
		return
	}
	// Without the token, no signature is verified: that is what costs.
	if !g.isJoinToken(c, ask.Token) || !link.Verify(ask.Key, link.JoinTranscript(g.o.Hub.ID, ask), ask.Signature) || !g.nonces.consume(ask.Nonce) {
		refuse(w)
		return
	}
	if err := g.o.Bind(r.Context(), c, link.EncodeKey(ask.Key), ask.ClusterUID); err != nil {
		g.o.Log.Info("an agent cannot join", "cluster", key, "error", err.Error())
		retryLater(w, http.StatusServiceUnavailable, busyRetryAfter)
		return
	}
	g.o.Log.Info("an agent has joined", "cluster", key, "key", link.Fingerprint(ask.Key), "from", r.RemoteAddr)
	if a := g.agentOf(key); a != nil {
		a.mu.Lock()
		a.refused, a.replacedInstances, a.instance = nil, nil, "" // of another key
		a.mu.Unlock()
	}
	g.write(w, link.JoinResponse{Hub: g.o.Hub, Signature: g.sign(link.HubTranscript(g.o.Hub, ask.Cluster, "", ask.Nonce, ask.AgentNonce))})
}

func (g *Gateway) sign(transcript []byte) []byte { return ed25519.Sign(g.o.Key, transcript) }

// isJoinToken reports whether an agent may join a Cluster, which may be nil, with the token.
func (g *Gateway) isJoinToken(c *v1alpha1.Cluster, token string) bool {
	var want []byte
	if c != nil && c.Spec.Agent.Join != nil && c.DeletionTimestamp.IsZero() && g.o.Now().Before(c.Spec.Agent.Join.Expires.Time) {
		want, _ = hex.DecodeString(c.Spec.Agent.Join.TokenHash) // else it is empty, and equals no hash
	}
	got := link.HashToken(token)
	return subtle.ConstantTimeCompare(got[:], want) == 1
}

// openSession answers a proof with a token for all further requests.
func (g *Gateway) openSession(w http.ResponseWriter, r *http.Request, ask link.SessionRequest) {
	if !g.nonces.valid(ask.Nonce) || len(ask.AgentNonce) != link.NonceSize {
		refuse(w)
		return
	}
	key, c, err := g.clusterOf(r.Context(), ask.Cluster)
	if err != nil {
		retryLater(w, http.StatusServiceUnavailable, busyRetryAfter)
		return
	}
	var public []byte
	if c != nil {
		public = link.DecodeKey(c.Spec.Agent.PublicKey)
	}
	// For a caller that does not send the key of the Cluster, no signature is verified: many such callers cost little, and
	// none learns anything from the time of the answer.
	if public == nil || subtle.ConstantTimeCompare(public, ask.Key) != 1 || !wellFormed(ask.Agent) ||
		!link.Verify(public, link.SessionTranscript(g.o.Hub.ID, ask), ask.Signature) || !g.nonces.consume(ask.Nonce) {
		refuse(w)
		return
	}
	if g.limits.takeTokens(key, sessionKind, 1, sessionEvery, sessionBurst) == 0 {
		retryLater(w, http.StatusTooManyRequests, int(sessionEvery.Seconds()))
		return
	}
	markAuthenticated(r.Context(), key)
	if a := g.agentOf(key); a != nil {
		a.observeTime(exportedAt(c))
	}
	g.write(w, g.sessionResponse(r, key, ask))
}

func wellFormed(a link.Agent) bool {
	return a.Instance != "" && len(a.Instance) <= 64 && a.ClusterUID != "" && len(a.ClusterUID) <= 64 && len(a.Version) <= 64
}

// sessionResponse starts a session of an agent that has proven its key, or answers why it does not.
func (g *Gateway) sessionResponse(r *http.Request, key engine.Key, ask link.SessionRequest) link.SessionResponse {
	// The settings of a session have their place among all frames that the agent gets. A refusal has none: nothing of it is
	// kept, and the Cluster may be another shard's, which has the times.
	answer := link.SessionResponse{Hub: g.o.Hub, At: g.o.Now().UnixNano()}
	a := g.agentOf(key)
	stored, err := g.o.Assignment(r.Context(), key)
	if err != nil {
		g.o.Log.Error(err, "an agent has to wait for its Assignment", "cluster", key)
	}
	if a == nil || err != nil || !a.handedOver(ask.Key) {
		// Another shard of the hub has the Cluster, or the controllers of this one have not come to it yet.
		answer.GoAway = &link.GoAway{Reason: link.GoAwayElsewhere, RetryAfter: 2}
	} else if s, goAway := g.startSession(r, a, ask); goAway != nil {
		answer.GoAway = goAway
	} else {
		answer.Token = s
		answer.Settings, answer.Reported, answer.At = a.initialState(stored, g.o.Now())
		answer.ReportedSignature = g.sign(link.ReportedTranscript(g.o.Hub.ID, ask.Cluster, ask.Key, ask.AgentNonce, answer.Reported))
	}
	answer.Signature = g.sign(link.HubTranscript(g.o.Hub, ask.Cluster, answer.Token, ask.Nonce, ask.AgentNonce))
	answer.FirstSignature = g.sign(link.DownTranscript(g.o.Hub.ID, ask.Cluster, ask.Key, ask.AgentNonce, answer.FirstFrame()))
	return answer
}

// handedOver reports whether the controllers have handed over the Assignment, and this key. Before that, the gateway would
// send that nothing is assigned, or judge the agent by an older spec.
func (a *agent) handedOver(public []byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.assignmentKnown && subtle.ConstantTimeCompare(a.publicKey, public) == 1
}

// goAwayForRefusal is the last frame for an agent that is refused, by the reason. One whose cluster another Cluster has comes
// back within two minutes: its condition asks the user to delete one of the two, and the hub has no connection by which to wake the
// agent then.
var goAwayForRefusal = map[string]link.GoAway{
	v1alpha1.AgentNotApprovedReason: {Reason: link.GoAwayNotApproved, RetryAfter: 10},
	v1alpha1.ClusterReplacedReason:  {Reason: link.GoAwayClusterReplaced, RetryAfter: 60},
	v1alpha1.HubItselfReason:        {Reason: link.GoAwayDuplicate, RetryAfter: 600},
	v1alpha1.DuplicateAgentReason:   {Reason: link.GoAwayDuplicate, RetryAfter: 600},
	v1alpha1.DuplicateClusterReason: {Reason: link.GoAwayDuplicate, RetryAfter: 60},
	keyReplaced:                     {Reason: link.GoAwayElsewhere, RetryAfter: 2},
}

func (g *Gateway) startSession(r *http.Request, a *agent, ask link.SessionRequest) (token string, goAway *link.GoAway) {
	token = randomText()
	s := &session{agent: a, token: sha256.Sum256([]byte(token)), publicKey: ask.Key, nonce: ask.AgentNonce, done: make(chan struct{}), instance: ask.Agent.Instance, clusterUID: ask.Agent.ClusterUID, signsReports: ask.Agent.SignsReports(), remote: r.RemoteAddr, began: g.o.Now()}
	refused, former := a.startSession(s, ask.Agent, g.o.Now(), func(uid string) string { return g.duplicateMessage(a.key, uid) }, g.o.Hub.UID)
	if refused != nil {
		g.o.Log.Info("an agent is refused", "cluster", a.key, "reason", refused.reason, "instance", s.instance, "from", s.remote)
		g.o.OnChange(a.key)
		last := goAwayForRefusal[refused.reason]
		return "", &last
	}
	g.endSession(former, &link.GoAway{Reason: link.GoAwayReplaced, RetryAfter: 5})
	g.mu.Lock()
	if g.stopped || g.agents[a.key] != a {
		g.mu.Unlock()
		g.endSession(s, nil)
		return "", &link.GoAway{Reason: link.GoAwayStopping, RetryAfter: 2}
	}
	g.sessions[s.token] = s
	g.mu.Unlock()
	g.o.Log.Info("an agent is connected", "cluster", a.key, "version", ask.Agent.Version, "instance", s.instance, "from", s.remote)
	return token, nil
}

// duplicateMessage names another Cluster that has a better claim to the cluster with a uid; "" for none.
func (g *Gateway) duplicateMessage(key engine.Key, uid string) string {
	if other, taken := g.o.BetterClaim(key, uid); taken {
		return "the Cluster " + other.String() + " leads to the same cluster: delete one of the two"
	}
	return ""
}

// endIfDisplaced ends the session of an agent when another Cluster has got a better claim to its cluster since it began.
func (g *Gateway) endIfDisplaced(a *agent) {
	a.mu.Lock()
	s := a.session
	a.mu.Unlock()
	if s == nil {
		return
	}
	other := g.duplicateMessage(a.key, s.clusterUID)
	if other == "" {
		return
	}
	a.mu.Lock()
	lost := a.session == s
	if lost {
		a.refused = &refusal{reason: v1alpha1.DuplicateClusterReason, message: other, at: g.o.Now()}
	}
	a.mu.Unlock()
	if !lost { // the next one was judged by itself
		return
	}
	g.o.Log.Info("an agent gives way to another Cluster", "cluster", a.key, "reason", other, "instance", s.instance)
	goAway := goAwayForRefusal[v1alpha1.DuplicateClusterReason]
	g.endSession(s, &goAway)
	g.o.OnChange(a.key)
}

// initialState returns the settings and the known statuses that a session begins with, and the time of them. Those that were
// reported to an earlier process are read from the stored Assignment.
func (a *agent) initialState(stored *v1alpha1.Assignment, now time.Time) (settings link.Settings, have link.Have, at int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.statusesLoaded && stored != nil {
		for _, s := range stored.Status.Entries {
			a.statuses = append(a.statuses, *s.DeepCopy())
		}
	}
	a.statusesLoaded = true
	have, err := link.HaveStatuses(a.statuses)
	if err != nil {
		have = link.Have{} // the agent reports everything
	}
	return a.settings(), have, a.clock.next(now, 1).UnixNano()
}
