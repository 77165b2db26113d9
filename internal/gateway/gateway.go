// Package gateway is the hub's end of the connections that agents dial: the one endpoint that edges behind NAT can
// reach, and the only thing of the hub that they see. To controllers it is what an engine pool is, for Clusters with
// spec.agent (Pooled); Router chooses between the two.
//
// It promises: it answers nothing to a caller that has not proven a key, or shown the token of a ticket on a Cluster,
// and to one that has only about its own Cluster; what an agent reports is bounded and about itself; a key that is removed ends its stream; an agent that is
// silent counts as unreachable after a bounded time; of thousands that connect at once each costs the hub's API server
// a write only where something has changed.
package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
)

const (
	// startGrace is how long an agent has to connect to a hub that has started, or that has just taken its Cluster or
	// its key, until it counts as unreachable.
	startGrace = 2 * time.Minute
	// reconnectGrace is how long an agent whose stream has ended has to begin another one.
	reconnectGrace = time.Minute
	// refusalShown is how long a refused agent is shown on its Cluster after it tried last.
	refusalShown = 15 * time.Minute
	// tickEvery is how often silence and what has expired are looked for, in so many agents of those that are there: of
	// 10,000, each is looked at every five seconds.
	tickEvery     = time.Second
	agentsPerTick = 2000
)

// Options are what a Gateway works with. All but Stored and DisabledReason are required.
type Options struct {
	// Hub is the identity that agents write to their clusters; Key is its public key's private half.
	Hub link.HubIdentity
	Key ed25519.PrivateKey
	// Cluster reads a Cluster from the cache; an error that wraps fs.ErrNotExist when there is none.
	Cluster func(ctx context.Context, key engine.Key) (*v1alpha1.Cluster, error)
	// Assignment reads an Assignment from the cache, which must not be changed; nil when there is none.
	Assignment func(ctx context.Context, key engine.Key) (*v1alpha1.Assignment, error)
	// Bind writes the public key and the uid of its cluster into spec.agent of a Cluster, and removes spec.agent.join
	// there, if it is what c has: of two agents that join with one token, one fails.
	Bind func(ctx context.Context, c *v1alpha1.Cluster, publicKey, clusterUID string) error
	// Exported writes down on a Cluster (v1alpha1.MediumExportedAnnotation) the time of an export.
	Exported func(ctx context.Context, c *v1alpha1.Cluster, at time.Time) error
	// BetterClaim returns another Cluster that has a better claim to the cluster with a uid (sharding.BetterClaim).
	BetterClaim func(key engine.Key, uid string) (engine.Key, bool)
	// Bundles hands out what is to be applied.
	Bundles engine.Bundles
	// Stored hands out what this process has stored itself, to other shards of the hub; nil for a process that does not.
	Stored engine.Bundles
	// OnChange and OnEvent are called as those of an engine pool are.
	OnChange func(engine.Key)
	OnEvent  func(engine.Event)
	// DisabledReason is why no agent can connect; empty when the gateway listens.
	DisabledReason string
	// Now is the clock.
	Now func() time.Time
	Log logr.Logger
}

// Gateway serves agents. It is safe for concurrent use.
type Gateway struct {
	o      Options
	nonces *nonces
	limits *limits
	cache  *downloadCache

	ticking sync.Mutex // held by a tick; guards due
	due     []*agent   // that ticks still have to look at

	mu       sync.Mutex // guards what follows
	agents   map[engine.Key]*agent
	sessions map[tokenHash]*session
	stopped  bool
}

type tokenHash = [sha256.Size]byte

// New returns a Gateway that knows no Cluster yet.
func New(o Options) (*Gateway, error) {
	n, err := newNonces(o.Now)
	if err != nil {
		return nil, err
	}
	return &Gateway{o: o, nonces: n, limits: newLimits(o.Now), cache: newDownloadCache(), agents: map[engine.Key]*agent{}, sessions: map[tokenHash]*session{}}, nil
}

// Handler returns what answers agents.
func (g *Gateway) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+link.ChallengePath, unauthenticated(g, g.challenge))
	mux.HandleFunc("POST "+link.JoinPath, unauthenticated(g, g.join))
	mux.HandleFunc("POST "+link.SessionPath, unauthenticated(g, g.openSession))
	mux.HandleFunc("POST "+link.StreamPath, g.withSession(g.stream))
	mux.HandleFunc("POST "+link.ReportPath, g.withSession(g.report))
	mux.HandleFunc("GET "+link.BundlesPath+"{digest}", g.withSession(g.manifest))
	mux.HandleFunc("POST "+link.ObjectsPath, g.withSession(g.objects))
	if g.o.Stored != nil {
		mux.HandleFunc("POST "+link.ShardPath, g.serveShard)
	}
	mux.HandleFunc("GET "+link.MediumUpdatePath, g.withTicket(g.exportUpdate))
	mux.HandleFunc("POST "+link.MediumReportPath, g.withTicket(g.importReport))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { refuse(w) })
	return g.limitBodies(mux)
}

// Run looks for silent agents until ctx is done, and then ends all streams.
func (g *Gateway) Run(ctx context.Context) {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			g.tick()
		}
	}
}

// tick ends silent sessions and drops what has expired, for the next agentsPerTick agents.
func (g *Gateway) tick() {
	g.ticking.Lock()
	defer g.ticking.Unlock()
	now := g.o.Now()
	g.nonces.forget(now)
	g.cache.forget(now)
	if len(g.due) == 0 {
		g.mu.Lock()
		g.due = slices.AppendSeq(make([]*agent, 0, len(g.agents)), maps.Values(g.agents))
		g.mu.Unlock()
	}
	n := min(len(g.due), agentsPerTick)
	for _, a := range g.due[:n] {
		if s := a.silentSession(now); s != nil {
			g.endSession(s, nil)
		}
		if a.stateChanged(now, g.allowStateChange(a.key)) {
			g.o.OnChange(a.key)
		}
	}
	g.due = g.due[n:]
}

// agentOf returns what is known of the agent of a Cluster, or nil.
func (g *Gateway) agentOf(key engine.Key) *agent {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.agents[key]
}

// endSession ends a session and its stream, with a last frame if goAway is not nil.
func (g *Gateway) endSession(s *session, goAway *link.GoAway) {
	if s == nil {
		return
	}
	g.mu.Lock()
	delete(g.sessions, s.token)
	g.mu.Unlock()
	s.agent.endSession(s, goAway, g.o.Now())
}

func randomText() string { return rand.Text() }
