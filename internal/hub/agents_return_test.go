package hub

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

// apiRequests counts what a hub asks of its API server for its clusters, by verb and resource.
type apiRequests struct {
	mu    sync.Mutex
	count map[string]int
}

func (a *apiRequests) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		for _, resource := range []string{"clusters", "assignments", "secrets", "events"} {
			if strings.Contains(r.URL.Path, "/"+resource) && r.URL.Query().Get("watch") == "" {
				a.mu.Lock()
				a.count[r.Method+" "+resource]++
				a.mu.Unlock()
			}
		}
		return next.RoundTrip(r)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (a *apiRequests) sum() (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.count {
		n += c
	}
	return n
}

// settled returns what was counted since the last call, once nothing has come for a while.
func (a *apiRequests) settled() (map[string]int, int) {
	for last := -1; last != a.sum(); time.Sleep(2 * time.Second) {
		last = a.sum()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, c := range a.count {
		n += c
	}
	was := a.count
	a.count = map[string]int{}
	return was, n
}

// caller is an agent whose cluster has at once whatever is assigned.
type caller struct {
	t       *testing.T
	n       int
	base    func() string
	at      string // base, of this connection
	key     ed25519.PrivateKey
	client  *http.Client
	uid     string // of its cluster; one of its own when empty
	entries []link.Entry
	began   chan struct{} // receives when a stream stands and all is reported
	cut     chan struct{} // ends a connection
}

func newCaller(t *testing.T, n int, base func() string) *caller {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &caller{t: t, n: n, base: base, key: key, client: &http.Client{Transport: transport}, began: make(chan struct{}, 100), cut: make(chan struct{})}
}

func (c *caller) name() string { return fmt.Sprintf("edge-%d", c.n) }

func (c *caller) clusterUID() string { return cmp.Or(c.uid, "uid-"+c.name()) }

func (c *caller) send(ctx context.Context, path, token string, message any) (io.ReadCloser, error) {
	frame, err := link.EncodeFrame(message)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.at+path, bytes.NewReader(frame))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		_ = res.Body.Close()
		return nil, errors.New(res.Status)
	}
	return res.Body, nil
}

func (c *caller) ask(ctx context.Context, path, token string, message, answer any) error {
	body, err := c.send(ctx, path, token, message)
	if err != nil {
		return err
	}
	defer body.Close()
	return link.ReadMessage(body, link.MaxMessage, answer)
}

// stay connects, and again, until ctx ends.
func (c *caller) stay(ctx context.Context, instance string) {
	for ctx.Err() == nil {
		once, end := context.WithCancel(ctx)
		go func() { // ends with the connection
			select {
			case <-c.cut:
			case <-once.Done():
			}
			end()
		}()
		_ = c.connect(once, instance) // the hub may be away
		end()
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (c *caller) connect(ctx context.Context, instance string) error {
	c.at = c.base()
	var challenge link.ChallengeResponse
	if err := c.ask(ctx, link.ChallengePath, "", link.ChallengeRequest{Versions: []int{link.Version}}, &challenge); err != nil {
		return err
	}
	s := link.SessionRequest{
		Cluster: namespace + "/" + c.name(), Key: c.key.Public().(ed25519.PublicKey), Nonce: challenge.Nonce, AgentNonce: bytes.Repeat([]byte{1}, link.NonceSize),
		Agent: link.Agent{Version: "v1", Instance: instance, ClusterUID: c.clusterUID()},
	}
	s.Signature = ed25519.Sign(c.key, link.SessionTranscript("test-hub", s))
	var answer link.SessionResponse
	if err := c.ask(ctx, link.SessionPath, "", s, &answer); err != nil {
		return err
	}
	if answer.GoAway != nil {
		return errors.New(answer.GoAway.Reason)
	}
	stream, err := c.send(ctx, link.StreamPath, answer.Token, link.Hello{Assignment: link.HaveEntries(c.entries)})
	if err != nil {
		return err
	}
	defer stream.Close()
	up := link.Up{State: &link.State{Reachable: true, Usable: true, UID: c.clusterUID(), Version: "v1.37.0", Examined: true}, Complete: true}
	for {
		up.Seq++
		if err := c.report(ctx, answer, up); err != nil {
			return err
		}
		select {
		case c.began <- struct{}{}:
		default:
		}
		var d link.Down
		for d.Assignment == nil {
			d = link.Down{}
			if err := link.ReadMessage(stream, link.MaxMessage, &d); err != nil {
				return err
			}
		}
		if c.entries, err = d.Assignment.Apply(c.entries); err != nil {
			return err
		}
		up = link.Up{Seq: up.Seq}
	}
}

// report tells what the hub does not know of what is assigned: all of it is ready.
func (c *caller) report(ctx context.Context, answer link.SessionResponse, up link.Up) error {
	entries, err := link.DecodeEntries(c.entries)
	if err != nil {
		return err
	}
	verified := metav1.NewTime(time.Unix(1_700_000_000, 0))
	statuses := make([]v1alpha1.AssignmentEntryStatus, 0, len(entries))
	for _, e := range entries {
		statuses = append(statuses, v1alpha1.AssignmentEntryStatus{
			Name: e.Name, Revision: e.Revision, Digest: e.Digest, AppliedRevision: e.Revision, AppliedDigest: e.Digest,
			Ready: metav1.ConditionTrue, Reason: v1alpha1.SucceededReason, Message: "Applied", Objects: v1alpha1.ObjectCounts{Total: 1, Applied: 1, Ready: 1}, VerifiedAt: &verified,
		})
	}
	if err := up.DiffStatuses(answer.Reported, nil, statuses); err != nil {
		return err
	}
	return c.ask(ctx, link.ReportPath, answer.Token, up, &link.UpResponse{})
}

// TestAgentsThatReturnAtOnceCostTheAPIServerLittle: 200 of them after a restart of the hub, and after a moment without a
// carrier. None of their requests is one to the API server, and a status is written where it says something new.
func TestAgentsThatReturnAtOnceCostTheAPIServerLittle(t *testing.T) {
	const agents = 200
	w := newWorld(t)
	requests := &apiRequests{count: map[string]int{}}
	w.options.Config.Wrap(requests.wrap)
	var mu sync.Mutex
	address := ""
	w.options.GatewayAddress, w.options.GatewayPlainHTTP, w.options.GatewayURL = "127.0.0.1:0", true, "https://hub.example"
	w.options.GatewayListening = func(a net.Addr) { mu.Lock(); defer mu.Unlock(); address = "http://" + a.String() }
	base := func() string { mu.Lock(); defer mu.Unlock(); return address }
	w.source()
	apps := w.kustomization("apps", "./apps", func(ks *v1alpha1.Kustomization) {
		ks.Spec.Rollout = &v1alpha1.Rollout{Strategy: v1alpha1.RolloutAllAtOnce}
	})
	commit := w.push(gitserver.Change{Write: map[string]string{"apps/web.yaml": configMap("web", "one")}})
	var callers []*caller
	for i := range agents {
		c := newCaller(t, i, base)
		callers = append(callers, c)
		w.create(&v1alpha1.Cluster{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: c.name()},
			Spec:       v1alpha1.ClusterSpec{Agent: &v1alpha1.Agent{PublicKey: link.EncodeKey(c.key.Public().(ed25519.PublicKey)), ClusterUID: "uid-" + c.name()}},
		})
	}
	stop := startHubOf(w)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	for _, c := range callers {
		running.Go(func() { c.stay(ctx, "instance-"+c.name()) })
	}
	back := func() {
		t.Helper()
		limit := time.After(5 * time.Minute)
		for _, c := range callers {
			select {
			case <-c.began:
			case <-limit:
				t.Fatalf("%s is not back", c.name())
			}
		}
	}
	forget := func() {
		for _, c := range callers {
			for len(c.began) > 0 {
				<-c.began
			}
		}
	}
	ready := func() {
		t.Helper()
		for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
			ks := ks(apps.Name)
			if err := w.client.Get(t.Context(), keyOf(ks), ks); err != nil {
				t.Fatal(err)
			}
			if ks.Status.Clusters.Ready == agents && ks.Status.LastAttemptedRevision == commit {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("not ready: %+v", ks.Status)
			}
		}
	}
	back()
	ready()
	first, n := requests.settled()
	t.Logf("the first time: %.2f requests for each agent: %v", float64(n)/agents, first)

	stop()
	forget()
	requests.settled()
	startHubOf(w)
	back()
	ready()
	restarted, n := requests.settled()
	t.Logf("after a restart: %.2f requests for each agent: %v", float64(n)/agents, restarted)
	if n > agents/2 { // what the hub itself needs, whatever the number of agents
		t.Errorf("a restart costs %d requests for %d agents: %v", n, agents, restarted)
	}

	forget()
	for _, c := range callers {
		c.cut <- struct{}{}
	}
	back()
	carrier, n := requests.settled()
	t.Logf("after a moment without a carrier: %.2f requests for each agent: %v", float64(n)/agents, carrier)
	if n > agents/2 {
		t.Errorf("a moment without a carrier costs %d requests for %d agents: %v", n, agents, carrier)
	}
}

// TestAgentsFindTheirShardOfADividedHub: one address leads to all shards, to each in turn. Each shard has a standby, which
// goes on when the first of one is gone.
func TestAgentsFindTheirShardOfADividedHub(t *testing.T) {
	const agents = 12
	s := &shards{world: newWorld(t)}
	var mu sync.Mutex
	var addresses []string // of all that have ever listened
	s.options.GatewayAddress, s.options.GatewayPlainHTTP, s.options.GatewayURL = "127.0.0.1:0", true, "https://hub.example"
	s.options.GatewayListening = func(a net.Addr) { mu.Lock(); defer mu.Unlock(); addresses = append(addresses, "http://"+a.String()) }
	inTurn := func(next int) func() string {
		return func() string {
			mu.Lock()
			defer mu.Unlock()
			next++
			return addresses[next%len(addresses)]
		}
	}
	s.source()
	s.first = s.kustomization("apps", "./apps", func(ks *v1alpha1.Kustomization) {
		ks.Spec.Rollout = &v1alpha1.Rollout{Strategy: v1alpha1.RolloutAllAtOnce}
	})
	var callers []*caller
	for i := range agents {
		c := newCaller(t, i, inTurn(i))
		callers = append(callers, c)
		s.create(&v1alpha1.Cluster{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: c.name()},
			Spec:       v1alpha1.ClusterSpec{Agent: &v1alpha1.Agent{PublicKey: link.EncodeKey(c.key.Public().(ed25519.PublicKey)), ClusterUID: "uid-" + c.name()}},
		})
	}
	s.hub("1/2", "first")
	stop := s.hub("2/2", "second")
	s.leads("1/2")
	s.leads("2/2")
	s.hub("1/2", "first-standby")
	s.hub("2/2", "second-standby")
	shards := map[int]int{}
	for _, k := range s.placed(2) {
		shards[k]++
	}
	if len(shards) != 2 {
		t.Fatalf("all are of one shard: %v", shards)
	}
	s.eventually("both shards listen", func() bool { mu.Lock(); defer mu.Unlock(); return len(addresses) == 2 })
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	for _, c := range callers {
		running.Go(func() { c.stay(ctx, "instance-"+c.name()) })
	}
	s.commit("1")
	s.commit("2")
	stop()
	s.leads("2/2")
	s.commit("3")
}

// startHubOf runs the hub of a world until stop is called, which waits for its end.
func startHubOf(w *world) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	done := make(chan error, 1)
	go func() { done <- Run(ctx, w.options) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}
