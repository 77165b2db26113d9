package gateway

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
)

// threats has a test for each row of the table in DESIGN.md.
var threats = map[string]func(*testing.T){
	"a caller without a proof":                      callersWithoutAProofLearnNothing,
	"a recorded proof is sent again":                proofsServeOnce,
	"a proof made for another purpose or hub":       proofsServeOnePurpose,
	"a token is guessed, stolen, late or twice":     tokensServeOnce,
	"an agent asks for what is another Cluster's":   agentsSeeTheirOwnClusterOnly,
	"an agent reports on what is not its own":       agentsReportOnThemselvesOnly,
	"an agent claims another's cluster":             clustersOfOthersAreNotClaimed,
	"an agent sends too much":                       requestsAreBounded,
	"many callers without a proof":                  unauthenticatedRequestsAreBounded,
	"unauthenticated callers hold connections open": unauthenticatedConnectionsDoNotLockAgentsOut,
	"unauthenticated callers begin handshakes":      TestWaitingHandshakeHoldsNoSlot,
	"slow agents hold up others":                    TestSlowDownloadsDoNotDelayOthers,
	"a key that was stolen, or a removed Cluster":   revokedKeysAreRefused,
	"an attacker in the network plays the hub":      theHubProvesItself,
	"an attacker in the network changes what comes": whatComesIsSigned,
	"something on the way orders a removal":         removalsAreSigned,

	"something on the way has an agent lend its rights to a tenant": lockDownIsSigned,

	"something on the way repeats what was sent":     framesServeOnce,
	"something on the way reports for the agent":     reportsAreSigned,
	"a copy of a cluster with its key":               TestASecondAgentWithOneKeyIsNamed,
	"another cluster with a key from a backup":       TestAnAgentOfAnotherClusterIsRefused,
	"a file is asked for or handed in by a stranger": filesNeedATicket,
	"a medium is found, stolen or copied":            mediaAreSealed,
	"a report on a medium is forged or changed":      filesAreSigned,
}

func TestThreats(t *testing.T) {
	for name, test := range threats {
		t.Run(name, test)
	}
}

// TestEachThreatHasATest holds the table in DESIGN.md and the tests together.
func TestEachThreatHasATest(t *testing.T) {
	page, err := os.ReadFile("DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "## Threats")
	table, _, _ = strings.Cut(table, "\n## ")
	var rows, tests []string
	for _, row := range regexp.MustCompile(`(?m)^\| ([^|]+) \|`).FindAllStringSubmatch(table, -1) {
		if name := row[1]; name != "threat" {
			rows = append(rows, name)
		}
	}
	for name := range threats {
		tests = append(tests, name)
	}
	slices.Sort(rows)
	slices.Sort(tests)
	if diff := cmp.Diff(rows, tests); diff != "" {
		t.Errorf("the table and the tests differ (-table +tests):\n%s", diff)
	}
}

// uniform asserts that an answer says nothing but no.
func uniform(t *testing.T, what string, status int, body []byte) {
	t.Helper()
	if status != http.StatusUnauthorized || len(body) > 0 {
		t.Errorf("%s: %d %q", what, status, body)
	}
}

func encode(t testing.TB, message any) []byte {
	t.Helper()
	frame, err := link.EncodeFrame(message)
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

func callersWithoutAProofLearnNothing(t *testing.T) {
	r := newRig(t)
	r.joined()
	r.assign(edgeKey, 1, entry("apps", "sha256:1"))
	stranger := r.peer()
	for _, token := range []string{"", "x", strings.Repeat("a", 5000)} {
		stranger.token = token
		for _, request := range [][2]string{
			{"GET", "/"}, {"GET", "/healthz"}, {"GET", "/metrics"}, {"POST", link.StreamPath}, {"GET", link.StreamPath}, {"POST", link.ReportPath},
			{"GET", link.BundlesPath + "sha256:1"}, {"GET", link.BundlesPath + "sha256:2"}, {"POST", link.ObjectsPath}, {"GET", link.SessionPath}, {"PUT", link.JoinPath}, {"GET", "/v1/assignments"},
		} {
			status, body := stranger.raw(request[0], request[1], nil)
			if status == http.StatusMethodNotAllowed {
				t.Errorf("%s %s tells which methods there are", request[0], request[1])
			}
			uniform(t, request[0]+" "+request[1], status, body)
		}
	}
	stranger.token = ""
	there, absent, garbage := stranger.proof(), stranger.proof(), stranger.proof()
	absent.Cluster, garbage.Cluster = "fleet/none", "\x00/../x"
	for what, s := range map[string]link.SessionRequest{"of a Cluster": there, "of none": absent, "of a name that is none": garbage} {
		s.Signature = ed25519.Sign(stranger.key, link.SessionTranscript(r.hub.ID, s))
		status, body := stranger.raw("POST", link.SessionPath, encode(t, s))
		uniform(t, "a session "+what, status, body)
	}
	for what, body := range map[string][]byte{"nothing": nil, "no frame": []byte("GET / HTTP/1.1\r\n"), "no JSON": {0, 0, 0, 1, 'x'}, "null": {0, 0, 0, 4, 'n', 'u', 'l', 'l'}, "a list": {0, 0, 0, 2, '[', ']'}} {
		for _, path := range []string{link.SessionPath, link.JoinPath} {
			status, answer := stranger.raw("POST", path, body)
			uniform(t, what+" to "+path, status, answer)
		}
	}
	if state, _ := r.gateway.State(edgeKey); state.Reachable || !state.LastSeen.IsZero() {
		t.Errorf("a stranger counts as the agent: %+v", state)
	}
}

func proofsServeOnce(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	s := p.proof()
	if status := p.ask(link.SessionPath, s, &link.SessionResponse{}); status != http.StatusOK {
		t.Fatalf("the first time: %d", status)
	}
	if status := p.ask(link.SessionPath, s, &link.SessionResponse{}); status != http.StatusUnauthorized {
		t.Errorf("the second time: %d", status)
	}
	n := r.gateway.nonces
	if nonce := n.issue(); !n.consume(nonce) || n.consume(nonce) {
		t.Error("of two proofs that are judged at once, not one serves")
	}
	late := p.proof()
	r.pass(2 * nonceLife)
	if status := p.ask(link.SessionPath, late, &link.SessionResponse{}); status != http.StatusUnauthorized {
		t.Errorf("two minutes later: %d", status)
	}
	if status := p.ask(link.SessionPath, s, &link.SessionResponse{}); status != http.StatusUnauthorized {
		t.Errorf("after it was forgotten: %d", status)
	}
	other := newRig(t) // the hub was started anew, with the same keys
	q := other.peerWith(p.key, "uid-1")
	other.add(edgeKey, func(a *v1alpha1.Agent) { a.PublicKey = link.EncodeKey(q.public()) })
	if status := q.ask(link.SessionPath, p.proof(), &link.SessionResponse{}); status != http.StatusUnauthorized {
		t.Errorf("a challenge of another process: %d", status)
	}
}

func proofsServeOnePurpose(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	for what, change := range map[string]func(*link.SessionRequest){
		"another hub":       func(s *link.SessionRequest) { s.Signature = ed25519.Sign(p.key, link.SessionTranscript("hub-2", *s)) },
		"another Cluster":   func(s *link.SessionRequest) { s.Cluster = "fleet/edge-2" },
		"another instance":  func(s *link.SessionRequest) { s.Agent.Instance = "x" },
		"another uid":       func(s *link.SessionRequest) { s.Agent.ClusterUID = "x" },
		"another nonce":     func(s *link.SessionRequest) { s.Nonce = p.nonce() },
		"no nonce":          func(s *link.SessionRequest) { s.Nonce = nil },
		"a short nonce":     func(s *link.SessionRequest) { s.AgentNonce = nil },
		"no signature":      func(s *link.SessionRequest) { s.Signature = nil },
		"another key":       func(s *link.SessionRequest) { s.Key = bytes.Repeat([]byte{1}, ed25519.PublicKeySize) },
		"a key of no size":  func(s *link.SessionRequest) { s.Key = nil },
		"that of a join":    func(s *link.SessionRequest) { s.Signature = joinSignature(p, *s) },
		"no instance":       func(s *link.SessionRequest) { s.Agent.Instance = ""; resign(p, s) },
		"a huge instance":   func(s *link.SessionRequest) { s.Agent.Instance = strings.Repeat("x", 65); resign(p, s) },
		"no uid":            func(s *link.SessionRequest) { s.Agent.ClusterUID = ""; resign(p, s) },
		"its own challenge": func(s *link.SessionRequest) { s.Nonce = bytes.Repeat([]byte{0xff}, link.NonceSize); resign(p, s) },
	} {
		r.add(engine.Key{Namespace: "fleet", Name: "edge-2"}, func(a *v1alpha1.Agent) { a.PublicKey = link.EncodeKey(r.peer().public()) })
		s := p.proof()
		change(&s)
		if status := p.ask(link.SessionPath, s, &link.SessionResponse{}); status != http.StatusUnauthorized {
			t.Errorf("%s: %d", what, status)
		}
	}
}

func resign(p *peer, s *link.SessionRequest) {
	s.Signature = ed25519.Sign(p.key, link.SessionTranscript(p.r.hub.ID, *s))
}

func joinSignature(p *peer, s link.SessionRequest) []byte {
	return ed25519.Sign(p.key, link.JoinTranscript(p.r.hub.ID, link.JoinRequest{Cluster: s.Cluster, Key: s.Key, ClusterUID: s.Agent.ClusterUID, Nonce: s.Nonce, AgentNonce: s.AgentNonce}))
}

func tokensServeOnce(t *testing.T) {
	const token = "token"
	offer := func(in time.Duration) (*rig, *peer) {
		r := newRig(t)
		r.add(edgeKey, func(a *v1alpha1.Agent) {
			a.Join = &v1alpha1.AgentJoin{TokenHash: hashOf(token), Expires: metav1.NewTime(r.now().Add(in))}
		})
		return r, r.peer()
	}
	r, p := offer(time.Hour)
	for _, guess := range []string{"", "x", hashOf(token), token + " "} {
		if status := p.join(guess); status != http.StatusUnauthorized {
			t.Errorf("%q: %d", guess, status)
		}
	}
	forged := link.JoinRequest{Cluster: p.cluster, Token: token, Key: r.peer().public(), ClusterUID: "uid-1", Nonce: p.nonce(), AgentNonce: bytes.Repeat([]byte{7}, link.NonceSize)}
	forged.Signature = ed25519.Sign(p.key, link.JoinTranscript(r.hub.ID, forged))
	if status := p.ask(link.JoinPath, forged, &link.JoinResponse{}); status != http.StatusUnauthorized {
		t.Errorf("with a key that is not the sender's: %d", status)
	}
	if r.clusters[edgeKey].Spec.Agent.PublicKey != "" {
		t.Fatal("a key is bound")
	}
	if status := p.join(token); status != http.StatusOK {
		t.Fatalf("the token: %d", status)
	}
	thief := r.peer()
	if status := thief.join(token); status != http.StatusUnauthorized {
		t.Errorf("the token, again: %d", status)
	}
	if r.clusters[edgeKey].Spec.Agent.PublicKey != link.EncodeKey(p.public()) {
		t.Error("the thief has the Cluster")
	}
	_, p = offer(-time.Second)
	if status := p.join(token); status != http.StatusUnauthorized {
		t.Errorf("late: %d", status)
	}
	r, p = offer(time.Hour)
	deleted := metav1.Now()
	r.clusters[edgeKey].DeletionTimestamp = &deleted
	if status := p.join(token); status != http.StatusUnauthorized {
		t.Errorf("of a Cluster that is being removed: %d", status)
	}
	// A Cluster that waits for nobody, whatever is sent.
	r, p = offer(time.Hour)
	r.clusters[edgeKey].Spec.Agent.Join = nil
	if status := p.join(""); status != http.StatusUnauthorized {
		t.Errorf("without a token: %d", status)
	}
	r.clusters[edgeKey].Spec.Agent.Join = &v1alpha1.AgentJoin{Expires: metav1.NewTime(r.now().Add(time.Hour))}
	if status := p.join(""); status != http.StatusUnauthorized {
		t.Errorf("with an empty hash: %d", status)
	}
	// Of two that join at once, one is refused by the API server, and no key of the other is kept.
	r, p = offer(time.Hour)
	stale, err := r.cluster(t.Context(), edgeKey)
	if err != nil {
		t.Fatal(err)
	}
	if status := p.join(token); status != http.StatusOK {
		t.Fatalf("the first: %d", status)
	}
	if err := r.bind(t.Context(), stale, link.EncodeKey(r.peer().public()), "x"); err == nil {
		t.Error("the second has the Cluster")
	}
}

func agentsSeeTheirOwnClusterOnly(t *testing.T) {
	r := newRig(t)
	mine, other := r.joined(), r.peer()
	otherKey := engine.Key{Namespace: "fleet", Name: "edge-2"}
	other.cluster, other.who.ClusterUID = otherKey.String(), "uid-2"
	r.add(otherKey, func(a *v1alpha1.Agent) { a.PublicKey = link.EncodeKey(other.public()) })
	secret := configMaps(t, 2, 50)
	own := configMaps(t, 1, 50)
	r.bundles[secret.Digest()], r.bundles[own.Digest()] = secret, own
	r.assign(edgeKey, 1, entry("apps", own.Digest()))
	r.assign(otherKey, 1, entry("secrets", secret.Digest()))
	mine.welcome()
	other.welcome()
	for _, asks := range []*peer{other, other} { // so that the answers are there already
		if status, _ := asks.raw("GET", link.BundlesPath+secret.Digest(), nil); status != http.StatusOK {
			t.Errorf("its own bundle: %d", status)
		}
		if status, _ := asks.raw("POST", link.ObjectsPath, encode(t, link.Wanted{Bundle: secret.Digest()})); status != http.StatusOK {
			t.Errorf("its own objects: %d", status)
		}
	}
	if status, body := mine.raw("GET", link.BundlesPath+secret.Digest(), nil); status != http.StatusNotFound || len(body) > 0 {
		t.Errorf("another's bundle: %d %q", status, body)
	}
	if status, body := mine.raw("POST", link.ObjectsPath, encode(t, link.Wanted{Bundle: secret.Digest()})); status != http.StatusNotFound || len(body) > 0 {
		t.Errorf("another's objects: %d %q", status, body)
	}
	stolen := link.ObjectIDs{link.IDOf(secret.Objects[0].Body)}
	if status, body := mine.raw("POST", link.ObjectsPath, encode(t, link.Wanted{Bundle: own.Digest(), Objects: stolen})); status != http.StatusNotFound || len(body) > 0 {
		t.Errorf("another's objects by way of its own bundle: %d %q", status, body)
	}
	entries, err := mine.stream(link.Have{}).next().Assignment.Apply(nil)
	if err != nil || len(entries) != 1 || entries[0].Name != "apps" {
		t.Errorf("%v %v", entries, err)
	}
	// Its key does not open another's Cluster.
	mine.cluster = otherKey.String()
	if status, _ := mine.session(); status != http.StatusUnauthorized {
		t.Errorf("a session of another Cluster: %d", status)
	}
}

func agentsReportOnThemselvesOnly(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	r.assign(edgeKey, 1, entry("apps", "sha256:1"))
	p.welcome()
	long := strings.Repeat("x", 5_000)
	var drifts []v1alpha1.DriftRecord
	for range 20 {
		drifts = append(drifts, v1alpha1.DriftRecord{Object: long, Manager: long, Change: "rm -rf", Paths: slices.Repeat([]string{long}, 10)})
	}
	hostile := v1alpha1.AssignmentEntryStatus{Name: "apps", Ready: "Maybe", Reason: "\x1b[2J", Message: long, Revision: long, Digest: long, HandledAt: long, Drifts: drifts}
	p.up(link.Up{
		Seq: 1, State: &link.State{Reachable: true, Usable: true, Version: long, Reason: "a b", Message: long, Orphaned: long},
		Entries: []v1alpha1.AssignmentEntryStatus{hostile, status("another", metav1.ConditionTrue)}, Complete: true, Disk: &link.Disk{Reason: "x y", Message: long},
		Verified: map[string]int64{"another": 1, "apps": 1 << 60}, Dropped: []string{"a third"},
		Events: []link.Event{{Seq: 1, Kustomization: "other/secrets", Reason: "DriftCorrected"}, {Seq: 2, Kustomization: "apps", Reason: "DriftCorrected", Message: long, Object: &link.Object{Name: long}}},
	})
	got, _ := r.gateway.Report(edgeKey)
	if len(got) != 1 || got[0].Name != "apps" {
		t.Fatalf("it reported on %d", len(got))
	}
	s := got[0]
	if s.Ready != metav1.ConditionUnknown || s.Reason != v1alpha1.FailedReason || len(s.Message) > 2*maxLine || len(s.Drifts) != maxDrifts || len(s.Drifts[0].Paths) != maxPaths || s.VerifiedAt.After(r.now()) {
		t.Errorf("status %+v", s)
	}
	size := len(s.Message) + len(s.Revision) + len(s.Digest) + len(s.HandledAt)
	for _, d := range s.Drifts {
		size += len(d.Object) + len(d.Manager) + len(d.Paths[0])*len(d.Paths)
	}
	if size > 100<<10 {
		t.Errorf("one entry takes %d bytes", size)
	}
	if len(r.events) != 2 || r.events[0].Kustomization != "" || r.events[1].Kustomization != "apps" || len(r.events[1].Message) > 2*maxLine {
		t.Errorf("events %+v", r.events)
	}
	state, _ := r.gateway.State(edgeKey)
	if len(state.Message)+len(state.UID)+len(state.Version)+len(state.Orphaned) > 8*maxLine || state.Reason != v1alpha1.FailedReason {
		t.Errorf("state %+v", state)
	}
}

// clustersOfOthersAreNotClaimed: which cluster a Cluster leads to is what its agent has proven when it joined, whatever it
// reports, or says in a later session; and one that another Cluster has is not to be had by joining.
func clustersOfOthersAreNotClaimed(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	p.welcome()
	p.stream(link.Have{})
	for i, state := range []link.State{{Reachable: true, Usable: true, UID: "uid-of-a-victim"}, {UID: "uid-of-a-victim"}, {Reachable: true, Usable: true, UID: strings.Repeat("x", 5_000)}} {
		p.up(link.Up{Seq: uint64(i + 1), State: &state, Complete: true})
		got, _ := r.gateway.State(edgeKey)
		if got.UID != "uid-1" || got.Usable || got.Reason != v1alpha1.ClusterReplacedReason || len(got.Message) > 2*maxLine {
			t.Errorf("the agent reports %.20q: %+v", state.UID, got)
		}
	}
	p.up(link.Up{Seq: 9, State: healthy})
	if got, _ := r.gateway.State(edgeKey); !got.Usable || got.UID != "uid-1" {
		t.Errorf("its own cluster: %+v", got)
	}
	liar := r.peerWith(p.key, "uid-of-a-victim")
	if _, answer := liar.session(); answer.GoAway == nil || answer.GoAway.Reason != link.GoAwayClusterReplaced {
		t.Errorf("another uid in a session: %+v", answer)
	}
	r.taken["uid-of-a-victim"] = engine.Key{Namespace: "fleet", Name: "victim"}
	joiner, expires := r.peer(), metav1.NewTime(r.now().Add(time.Hour))
	joiner.who.ClusterUID = "uid-of-a-victim"
	r.change(edgeKey, func(c *v1alpha1.Cluster) {
		c.Spec.Agent.Join = &v1alpha1.AgentJoin{TokenHash: hashOf("again"), Expires: expires}
	})
	if status := joiner.join("again"); status != http.StatusOK {
		t.Fatal(status)
	}
	if _, answer := joiner.session(); answer.GoAway == nil || answer.GoAway.Reason != link.GoAwayDuplicate || answer.Token != "" {
		t.Errorf("joined with the uid of another's cluster: %+v", answer)
	}
	if got, _ := r.gateway.State(edgeKey); got.UID == "uid-of-a-victim" || got.Reason != v1alpha1.DuplicateClusterReason {
		t.Errorf("joined with the uid of another's cluster: %+v", got)
	}
}

func requestsAreBounded(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	bomb, err := link.AppendFrame(nil, bytes.Repeat([]byte{' '}, link.MaxMessage))
	if err != nil {
		t.Fatal(err)
	}
	status, body := p.raw("POST", link.SessionPath, bomb)
	uniform(t, "a compressed bomb before a proof", status, body)
	status, body = p.raw("POST", link.SessionPath, append([]byte{0x00, 0x10, 0, 0}, make([]byte, 1<<20)...))
	uniform(t, "a large body before a proof", status, body)
	p.welcome()
	var many []link.Event
	for i := range 10 * eventsBurst {
		many = append(many, link.Event{Seq: uint64(i + 1), Reason: "DriftCorrected"})
	}
	p.up(link.Up{Seq: 1, Events: many})
	if len(r.events) > eventsBurst {
		t.Errorf("%d events are recorded", len(r.events))
	}
	refused := 0
	for range 3 * requestBurst {
		if status, _ := p.raw("POST", link.ReportPath, encode(t, link.Up{})); status == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused == 0 {
		t.Error("an agent may ask as often as it likes")
	}
	sessions := 0
	for range 3 * sessionBurst {
		if status, _ := p.session(); status == http.StatusOK {
			sessions++
		}
	}
	if sessions > 2*sessionBurst {
		t.Errorf("%d sessions", sessions)
	}
	r.gateway.mu.Lock()
	defer r.gateway.mu.Unlock()
	if len(r.gateway.sessions) != 1 {
		t.Errorf("%d sessions of one agent are kept", len(r.gateway.sessions))
	}
}

func unauthenticatedRequestsAreBounded(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	p.welcome()
	for range maxUnauthenticatedRequests {
		r.gateway.limits.unauthenticated <- struct{}{}
	}
	status, body := p.raw("POST", link.ChallengePath, encode(t, link.ChallengeRequest{Versions: []int{1}}))
	if status != http.StatusServiceUnavailable || len(body) > 0 {
		t.Errorf("one more: %d %q", status, body)
	}
	if status, _ := p.raw("POST", link.ReportPath, encode(t, link.Up{})); status != http.StatusOK {
		t.Errorf("an agent with a session: %d", status)
	}
}

func revokedKeysAreRefused(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	p.welcome()
	stream := p.stream(link.Have{})
	r.change(edgeKey, func(c *v1alpha1.Cluster) { c.Spec.Agent.PublicKey = link.EncodeKey(r.peer().public()) })
	if got := stream.closeReason(); got != link.GoAwayRevoked {
		t.Errorf("the stream ends with %q", got)
	}
	for _, request := range [][2]string{{"POST", link.ReportPath}, {"POST", link.StreamPath}, {"GET", link.BundlesPath + "sha256:1"}, {"POST", link.ObjectsPath}} {
		status, body := p.raw(request[0], request[1], encode(t, link.Up{}))
		uniform(t, request[1], status, body)
	}
	if status, _ := p.session(); status != http.StatusUnauthorized {
		t.Errorf("a new session: %d", status)
	}
}

func theHubProvesItself(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	impostor := newRig(t) // with an identity of its own
	p.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.roots, ServerName: link.ServerName, MinVersion: tls.VersionTLS13}}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, impostor.base+link.ChallengePath, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res, err := p.client.Do(req); err == nil {
		_ = res.Body.Close()
		t.Error("another authority is accepted")
	}
	s := p.proof()
	var answer link.SessionResponse
	if status := p.ask(link.SessionPath, s, &answer); status != http.StatusOK {
		t.Fatalf("%d", status)
	}
	good := link.HubTranscript(answer.Hub, s.Cluster, answer.Token, s.Nonce, s.AgentNonce)
	if !link.Verify(r.hub.Key, good, answer.Signature) {
		t.Error("the hub does not prove its key")
	}
	for what, transcript := range map[string][]byte{
		"for another Cluster": link.HubTranscript(answer.Hub, "fleet/x", answer.Token, s.Nonce, s.AgentNonce),
		"for another token":   link.HubTranscript(answer.Hub, s.Cluster, "x", s.Nonce, s.AgentNonce),
		"for another nonce":   link.HubTranscript(answer.Hub, s.Cluster, answer.Token, s.Nonce, randomBytes(t, link.NonceSize)),
	} {
		if link.Verify(r.hub.Key, transcript, answer.Signature) {
			t.Errorf("the proof serves %s", what)
		}
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if link.Verify(r.hub.Key, good, ed25519.Sign(key, good)) {
		t.Error("another key proves it as well")
	}
}

func removalsAreSigned(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	p.welcome()
	stream := p.stream(link.Have{})
	ended := make(chan error, 1)
	go func() { ended <- r.gateway.Finalize(t.Context(), edgeKey) }()
	down := stream.next()
	for what, test := range map[string]struct {
		transcript []byte
		want       bool
	}{
		"as it is":            {link.FinalizeTranscript(r.hub.ID, p.cluster, p.public(), down.Finalize), true},
		"for another request": {link.FinalizeTranscript(r.hub.ID, p.cluster, p.public(), "x"), false},
		"for another Cluster": {link.FinalizeTranscript(r.hub.ID, "fleet/x", p.public(), down.Finalize), false},
		"for a later agent":   {link.FinalizeTranscript(r.hub.ID, p.cluster, r.peer().public(), down.Finalize), false},
	} {
		if got := link.Verify(r.hub.Key, test.transcript, down.FinalizeSignature); got != test.want {
			t.Errorf("the signature serves %s: %t", what, got)
		}
	}
	p.up(link.Up{Finalized: down.Finalize})
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func whatComesIsSigned(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	b := configMaps(t, 2, 50)
	r.bundles[b.Digest()] = b
	r.assign(edgeKey, 1, entry("apps", b.Digest()))
	p.welcome()
	a := *p.stream(link.Have{}).next().Assignment
	if !r.genuine(p, a) {
		t.Fatal("it is not signed as it is")
	}
	older := a
	older.Generation--
	other := a
	other.Entries = nil
	forged := a
	forged.Entries, forged.Digest = nil, link.Digest(nil)
	for what, changed := range map[string]link.Assignment{"with another generation": older, "with less in it": other, "with a digest that fits": forged} {
		if r.genuine(p, changed) {
			t.Errorf("it is accepted %s", what)
		}
	}
}

// genuine reports whether an agent takes an Assignment for the hub's.
func (r *rig) genuine(p *peer, a link.Assignment) bool {
	_, err := a.Apply(nil)
	return err == nil && link.Verify(r.hub.Key, link.AssignmentTranscript(r.hub.ID, p.cluster, a), a.Signature)
}

// lockDownIsSigned: whose rights an entry is applied with is part of what is signed.
func lockDownIsSigned(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	locked := entry("apps", "sha256:1")
	locked.RequireServiceAccount = true
	r.assign(edgeKey, 1, locked)
	p.welcome()
	a := *p.stream(link.Have{}).next().Assignment
	if !r.genuine(p, a) {
		t.Fatal("it is not signed as it is")
	}
	free, owner := locked, locked
	free.RequireServiceAccount = false
	owner.ServiceAccountName = "cluster-admin"
	for what, changed := range map[string]v1alpha1.AssignmentEntry{"without the lock-down": free, "with another account": owner} {
		forged := a
		var err error
		if forged.Entries, err = link.NewEntries([]v1alpha1.AssignmentEntry{changed}); err != nil {
			t.Fatal(err)
		}
		if r.genuine(p, forged) {
			t.Errorf("it is accepted %s", what)
		}
		if forged.Digest = link.Digest(forged.Entries); r.genuine(p, forged) {
			t.Errorf("it is accepted %s and with a digest that fits", what)
		}
	}
}

// framesServeOnce: each frame is signed for its session and its place there, settings and the end included.
func framesServeOnce(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	r.assign(edgeKey, 1, entry("apps", "sha256:1"))
	began := r.now().UnixNano()
	answer := p.welcome()
	nonce := bytes.Repeat([]byte{7}, link.NonceSize)
	genuine := func(d link.Down, nonce []byte) bool {
		return d.At >= began && link.Verify(r.hub.Key, link.DownTranscript(r.hub.ID, p.cluster, p.public(), nonce, d), d.Signature)
	}
	if !genuine(answer.FirstFrame(), nonce) {
		t.Error("the settings of a session are not signed")
	}
	stream := p.stream(link.Have{})
	frames := []link.Down{stream.next()}
	r.change(edgeKey, func(c *v1alpha1.Cluster) { c.Spec.Suspend = true })
	frames = append(frames, stream.next())
	r.gateway.Verify(edgeKey)
	frames = append(frames, stream.next())
	r.change(edgeKey, func(c *v1alpha1.Cluster) { c.Spec.Agent.PublicKey = link.EncodeKey(r.peer().public()) })
	frames = append(frames, stream.next())
	if frames[0].Assignment == nil || frames[1].Settings == nil || !frames[2].Verify || frames[3].GoAway == nil {
		t.Fatalf("frames %+v", frames)
	}
	for i, d := range frames {
		if !genuine(d, nonce) || d.Seq != uint64(i+1) {
			t.Errorf("frame %d is not signed as it is: %+v", i, d)
		}
		if genuine(d, randomBytes(t, link.NonceSize)) {
			t.Errorf("frame %d serves in another session", i)
		}
		if d.Seq++; genuine(d, nonce) {
			t.Errorf("frame %d serves in another place", i)
		}
	}
	// A refusal is signed as well: some of them let an agent rest.
	r.change(edgeKey, func(c *v1alpha1.Cluster) { c.Spec.Agent.PublicKey = link.EncodeKey(p.public()) })
	p.who.ClusterUID = "uid-2"
	if _, answer = p.session(); answer.GoAway == nil || !genuine(answer.FirstFrame(), nonce) {
		t.Errorf("a refusal is not signed: %+v", answer.GoAway)
	}
}

// reportsAreSigned: who has the token of a session, and not the key, can report nothing, repeat nothing, leave nothing out
// unseen, and not have a silent agent be believed for longer.
func reportsAreSigned(t *testing.T) {
	failed := link.Up{Seq: 1, State: healthy, Entries: []v1alpha1.AssignmentEntryStatus{status("apps", metav1.ConditionFalse)}, Complete: true}
	lie := failed
	lie.Entries = []v1alpha1.AssignmentEntryStatus{status("apps", metav1.ConditionTrue)}
	for what, forge := range map[string]func(p *peer) []byte{
		"without a signature": func(p *peer) []byte { return encode(p.r.t, lie) },
		"with another's signature": func(p *peer) []byte {
			return append(encode(p.r.t, lie), p.signed(failed)[len(encode(p.r.t, failed)):]...)
		},
		"with another key": func(p *peer) []byte {
			thief := *p
			thief.key = p.r.peer().key
			return thief.signed(lie)
		},
		"of another session": func(p *peer) []byte {
			frames, err := link.EncodeUp(lie, func(message []byte) []byte {
				return ed25519.Sign(p.key, link.UpTranscript(p.r.hub.ID, p.cluster, p.public(), bytes.Repeat([]byte{8}, link.NonceSize), message))
			})
			if err != nil {
				p.r.t.Fatal(err)
			}
			return frames
		},
		"when one before it was left out": func(p *peer) []byte { lie := lie; lie.Seq = 2; return p.signed(lie) },
		"without a number":                func(p *peer) []byte { lie := lie; lie.Seq = 0; return p.signed(lie) },
		// What comes whole was not cut by the link, so that forged has sent it like that.
		"cut in its frame":     func(p *peer) []byte { return p.signed(failed)[:20] },
		"cut in its header":    func(p *peer) []byte { return p.signed(failed)[:3] },
		"of nothing":           func(*peer) []byte { return nil },
		"cut in its signature": func(p *peer) []byte { sent := p.signed(failed); return sent[:len(sent)-1] },
		"of any length":        func(p *peer) []byte { return append([]byte{0x7f, 0xff, 0xff, 0xff}, p.signed(failed)[4:]...) },
		"damaged in what compresses": func(p *peer) []byte {
			return append([]byte{0x80, 0, 0, 4, 0xff, 0xff, 0xff, 0xff}, p.signed(failed)...)
		},
	} {
		r := newRig(t)
		p := r.joined().signs()
		r.assign(edgeKey, 1, entry("apps", "sha256:1"))
		p.welcome()
		code, body := p.raw(http.MethodPost, link.ReportPath, forge(p))
		uniform(t, what, code, body)
		if state, _ := r.gateway.State(edgeKey); state.Usable || state.Reason != v1alpha1.AgentReportRefusedReason {
			t.Errorf("%s: the Cluster says %+v", what, state)
		}
		if got, complete := r.gateway.Report(edgeKey); complete || len(got) > 0 {
			t.Errorf("%s: %+v counts", what, got)
		}
		p.welcome()
		p.up(failed)
		if state, _ := r.gateway.State(edgeKey); !state.Usable || state.Reason != "" {
			t.Errorf("%s: after the agent's own report the Cluster says %+v", what, state)
		}
	}
	whatIsKnownIsSigned(t)
	silenceIsNotFilled(t)
	refusalsAreBounded(t)
}

// refusalsAreBounded: something on the way that breaks every other report does not have the Cluster written for each.
func refusalsAreBounded(t *testing.T) {
	t.Helper()
	r := newRig(t)
	p := r.joined().signs()
	r.assign(edgeKey, 1, entry("apps", "sha256:1"))
	shown, last := 0, engine.State{}
	look := func() {
		if state, _ := r.gateway.State(edgeKey); state.Reason != last.Reason {
			shown, last = shown+1, state
		}
	}
	const rounds = 3 * stateBurst
	for range rounds {
		p.welcome()
		p.raw(http.MethodPost, link.ReportPath, []byte{1})
		look()
		p.welcome()
		p.up(link.Up{Seq: 1, State: healthy, Complete: true})
		look()
		r.mu.Lock()
		r.skew += 4 * time.Second // the turns of two sessions, and less than one of the Cluster
		r.mu.Unlock()
	}
	if most := 2 * (stateBurst + 1 + int(rounds*5*time.Second/stateEvery)); shown > most {
		t.Errorf("%d changes of the Cluster for %d broken reports", shown, rounds)
	}
	r.pass(stateEvery)
	if state, _ := r.gateway.State(edgeKey); !state.Usable || state.Reason != "" {
		t.Errorf("when it may be shown, the Cluster says %+v", state)
	}
}

// TestWhatOfAReportIsNamed: a report that a link has cut is no forgery, and one that the agent has signed is its own.
func TestWhatOfAReportIsNamed(t *testing.T) {
	r := newRig(t)
	p := r.joined().signs()
	r.assign(edgeKey, 1, entry("apps", "sha256:1"))
	p.welcome()
	p.up(link.Up{Seq: 1, State: healthy, Complete: true})
	whole := p.signed(link.Up{Seq: 2, State: healthy})
	for _, n := range []int{0, 3, 20, len(whole) - 1} {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, link.ReportPath, io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(io.ErrUnexpectedEOF)))
		req.Header.Set("Authorization", "Bearer "+p.token)
		answer := httptest.NewRecorder()
		r.gateway.Handler().ServeHTTP(answer, req)
		if state, _ := r.gateway.State(edgeKey); answer.Code != http.StatusUnauthorized || !state.Usable {
			t.Errorf("cut by the link after %d bytes: status %d, the Cluster says %+v", n, answer.Code, state)
		}
	}
	p.up(link.Up{Seq: 2, State: healthy}) // the session goes on

	message := []byte(`{"seq":"3"}`)
	frames, err := link.AppendFrame(nil, message)
	if err == nil {
		frames, err = link.AppendFrame(frames, ed25519.Sign(p.key, link.UpTranscript(r.hub.ID, p.cluster, p.public(), bytes.Repeat([]byte{7}, link.NonceSize), message)))
	}
	if err != nil {
		t.Fatal(err)
	}
	p.raw(http.MethodPost, link.ReportPath, frames)
	if state, _ := r.gateway.State(edgeKey); state.Reason != v1alpha1.AgentReportRefusedReason || !strings.Contains(state.Message, "one version") || strings.Contains(state.Message, "TLS") {
		t.Errorf("a report that the agent has signed, and the hub cannot read: %+v", state)
	}
}

// whatIsKnownIsSigned: an agent is not made to believe that the hub knows what it does not.
func whatIsKnownIsSigned(t *testing.T) {
	t.Helper()
	r := newRig(t)
	p := r.joined().signs()
	r.assign(edgeKey, 1, entry("apps", "sha256:1"))
	p.welcome()
	p.up(link.Up{Seq: 1, State: healthy, Entries: []v1alpha1.AssignmentEntryStatus{status("apps", metav1.ConditionTrue)}, Complete: true})
	answer := p.welcome()
	genuine := func(reported link.Have, nonce byte) bool {
		return link.Verify(r.hub.Key, link.ReportedTranscript(r.hub.ID, p.cluster, p.public(), bytes.Repeat([]byte{nonce}, link.NonceSize), reported), answer.ReportedSignature)
	}
	if len(answer.Reported.Entries) != 1 || !genuine(answer.Reported, 7) {
		t.Errorf("what is known is not signed: %+v", answer.Reported)
	}
	if genuine(answer.Reported, 8) || genuine(link.Have{}, 7) || genuine(link.Have{Entries: map[string]link.ShortDigest{"apps": "0011223344556677"}}, 7) {
		t.Error("the signature serves something else")
	}
}

// silenceIsNotFilled: a stream that is begun again, and a report that is repeated, is no word of the agent.
func silenceIsNotFilled(t *testing.T) {
	t.Helper()
	r := newRig(t)
	p := r.joined().signs()
	r.assign(edgeKey, 1, entry("apps", "sha256:1"))
	p.welcome()
	up := link.Up{Seq: 1, State: healthy, Entries: []v1alpha1.AssignmentEntryStatus{status("apps", metav1.ConditionTrue)}, Complete: true}
	p.up(up)
	for range 4 {
		p.stream(link.Have{})
		p.up(up)
		r.pass(4 * time.Minute)
	}
	if state, _ := r.gateway.State(edgeKey); state.Reachable {
		t.Errorf("an agent that has been silent for a quarter of an hour counts: %+v", state)
	}
}
