package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/skerry-dev/skerry/controllers/assignment"
	"github.com/skerry-dev/skerry/controllers/cluster"
	"github.com/skerry-dev/skerry/controllers/gitrepository"
	"github.com/skerry-dev/skerry/controllers/kustomization"
	"github.com/skerry-dev/skerry/internal/bundlestore"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/fence"
	"github.com/skerry-dev/skerry/internal/gateway"
	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/isolate"
	"github.com/skerry-dev/skerry/internal/recovery"
	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/sharding"
	"github.com/skerry-dev/skerry/internal/sharding/holder"
	"github.com/skerry-dev/skerry/internal/tree"
)

const (
	// A hub that is told to stop has five seconds: the engines get to the end of the object at hand,
	// beside them the reconciles under way end and record, then the lease is given back.
	engineGrace     = 3 * time.Second
	controllerGrace = 4 * time.Second

	// rendering is how many times more reconciles of Kustomizations there may be than of other kinds: a
	// render in a process of its own may take minutes, and others are not to wait for it.
	rendering = 8

	// renderCache and gitCache bound what is kept in memory of renders and of the files of commits,
	// and bundleCache of rendered bundles, in bytes. What falls out is made anew or read again.
	renderCache = 24 << 20
	gitCache    = 24 << 20
	bundleCache = 16 << 20
)

// Renders whose need is not known by the size of their input run in processes of their own, and so do
// large ones, which may take minutes. With what a process takes beside its limit, all of them together
// stay below the memory that the hub's Deployment has beyond GOMEMLIMIT.
var (
	smallRenders = isolate.Limits{Memory: 96 << 20, Deadline: 20 * time.Second, Slots: 2}
	largeRenders = isolate.Limits{Memory: 256 << 20, Deadline: 3 * time.Minute, Slots: 1}
)

// parts are what the controllers stand on.
type parts struct {
	mgr       manager.Manager
	reader    client.Reader // the manager's cache
	local     *rest.Config
	hubID     string
	shard     sharding.Shard
	git       *git.Store
	bundles   *bundlestore.Store
	content   engine.Bundles // bundles, and on a shard that does not render what another shard has
	renders   *render.Cache
	pool      *engine.Pool
	gateway   *gateway.Gateway
	router    gateway.Router // what controllers know of the two
	summaries summaries      // of events
	metrics   *metrics
	outage    *outage
	fence     *fence.Lease // nil without leader election

	sources     *gitrepository.Reconciler
	clusters    *cluster.Reconciler
	assignments *assignment.Reconciler
	decides     *kustomization.Reconciler // nil in a process that decides nothing
	holder      *holder.Holder
}

// Run runs a hub until ctx is done, and then stops it at an object boundary.
func Run(ctx context.Context, o Options) error {
	if err := o.check(); err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	p, err := assemble(ctx, end, o)
	if err != nil && ctx.Err() != nil {
		return nil // told to stop before it began
	}
	if err != nil {
		return err
	}
	defer p.close(ctx)
	if err := p.addControllers(ctx, o); err != nil {
		return err
	}
	if err := p.addRunnables(o); err != nil {
		return err
	}
	if err := p.mgr.Start(ctx); err != nil {
		return fmt.Errorf("the hub ended: %w", err)
	}
	if err := context.Cause(ctx); errors.Is(err, fence.ErrLost) {
		return err
	}
	return nil
}

func assemble(ctx context.Context, end context.CancelCauseFunc, o Options) (*parts, error) {
	cfg, err := o.config()
	if err != nil {
		return nil, err
	}
	shard, err := o.shard()
	if err != nil {
		return nil, err
	}
	if shard.Index == 1 {
		go func() { // beside everything else that a start waits for; it ends when the schema is read
			if err := recovery.Run(func() error { render.Warm(); return nil }); err != nil {
				o.Log.Error(err, "cannot read the schema ahead of the first render", recovery.Details(err)...)
			}
		}()
	}
	me := shard.Identity(identity())
	cfg.UserAgent = fmt.Sprintf("skerry-hub/%s (%s)", cmp.Or(o.Version, "unknown"), me)
	var lease resourcelock.Interface
	var guard fence.Fence
	plain := rest.CopyConfig(cfg)
	out := &outage{now: time.Now, done: ctx.Done()}
	cfg.Wrap(out.wrap)
	p := &parts{local: cfg, shard: shard, renders: render.NewCache(renderCache), outage: out}
	if o.LeaderElect {
		f := &fence.Lease{Now: time.Now, Validity: o.LeaseDuration - fence.Margin, End: func() { end(fence.ErrLost) }}
		if lease, err = fence.NewLock(plain, o.LeaderNamespace, shard.Lease(), me, o.LeaseDuration, f); err != nil {
			return nil, err
		}
		f.Guard(cfg) // all but the lease itself
		f.Confirm, f.Resumed = p.confirmer(plain), func() { p.pool.Resume() }
		guard, p.fence = f, f
	}
	uid, err := awaitAPI(ctx, cfg, o.StartTimeout)
	if err != nil {
		return nil, err
	}
	if p.hubID = o.HubID; p.hubID == "" {
		p.hubID = uid
	}
	direct, err := client.New(plain, client.Options{}) // no fence: it is made before a lease is held
	if err != nil {
		return nil, fmt.Errorf("cannot reach the hub's own cluster: %w", err)
	}
	if err := p.openStores(ctx, o, direct, uid); err != nil {
		return nil, err
	}
	if err := p.connect(ctx, o, lease, guard, direct, uid); err != nil {
		return nil, errors.Join(err, p.bundles.Close())
	}
	return p, nil
}

// openStores opens what the hub has on its disk, and how it gets bundles.
func (p *parts) openStores(ctx context.Context, o Options, direct client.Client, uid string) error {
	key, err := awaitStorageKey(ctx, direct, o.LeaderNamespace, probeInterval, o.Log)
	if err != nil {
		return err
	}
	p.renders.DigestKey = key.Digest()
	if err := p.openStorage(o, key); err != nil {
		return fmt.Errorf("cannot use --storage-path: %w", err)
	}
	if err := p.isolateRenders(ctx, o); err != nil {
		return errors.Join(fmt.Errorf("cannot use --storage-path: %w", err), p.bundles.Close())
	}
	if p.content, err = p.bundlesOf(ctx, o, direct, uid); err != nil {
		return errors.Join(err, p.bundles.Close())
	}
	return nil
}

// connect makes the manager, with its cache of the hub's API, and the engines and the gateway that take from it.
func (p *parts) connect(ctx context.Context, o Options, lease resourcelock.Interface, guard fence.Fence, direct client.Client, uid string) (err error) {
	if p.mgr, err = newManager(p.local, lease, o); err != nil {
		return err
	}
	p.reader = p.mgr.GetCache()
	p.metrics = newMetrics(p.renders, p.reader)
	if err := p.metrics.register(o.Registry); err != nil {
		return err
	}
	p.pool = engine.NewPool(engine.PoolOptions{
		Hub: p.hubID, HubUID: uid, HubNamespace: o.LeaderNamespace, RequireServiceAccount: o.RequireServiceAccount, Fence: guard, UserAgent: p.local.UserAgent, Bundles: p.content, Now: time.Now, Log: o.Log.WithName("engine"),
		OnChange:    p.engineChanged,
		BetterClaim: holder.BetterClaim(ctx, p.reader, time.Now),
		Holds:       holder.Holds(ctx, p.reader, time.Now),
		OnEvent:     p.recordEvents(ctx),
		Count:       p.metrics.count,
		OnPass:      p.metrics.passes.ended,
		OnBreaker:   p.metrics.passes.breakerChanged,
	})
	if err := p.makeGateway(ctx, o, direct, uid); err != nil {
		return err
	}
	p.router = gateway.Router{Push: p.pool, Pull: p.gateway}
	return nil
}

// openStorage opens the stores. Only the first shard writes there, and one that has a folder of its own.
func (p *parts) openStorage(o Options, key *bundlestore.Key) (err error) {
	dir := o.StoragePath
	decides := p.shard.Index == 1
	if decides {
		p.git, err = git.OpenStore(filepath.Join(dir, "git"), git.Options{
			Limits: o.gitLimits(), Proxy: http.ProxyFromEnvironment, Now: time.Now,
			// Set before anything is read: the controllers start after it.
			Damaged: func(key string) { p.sources.Enqueue(key) },
		})
		if err != nil {
			return err
		}
	}
	p.bundles, err = bundlestore.Open(filepath.Join(dir, "bundles"), bundlestore.Options{CacheBytes: bundleCache, Key: key, Now: time.Now, ReadOnly: !decides && o.BundlesFrom == ""})
	return err
}

func (p *parts) isolateRenders(ctx context.Context, o Options) error {
	if p.shard.Index != 1 || len(o.RenderCommand) == 0 {
		return nil
	}
	r, err := isolate.New(ctx, isolate.Options{
		Command: o.RenderCommand, Dir: filepath.Join(o.StoragePath, "renders"), Small: smallRenders, Large: largeRenders, Now: time.Now, Log: o.Log.WithName("render"),
	})
	if err == nil {
		p.renders.Isolate = r.Render
	}
	return err
}

func (p *parts) addControllers(ctx context.Context, o Options) error {
	hub, direct := hubapi.Hub{Client: p.mgr.GetClient(), Await: p.outage.await}, hubapi.Direct{Reader: p.mgr.GetAPIReader()}
	recorder := p.mgr.GetEventRecorder("skerry-hub")
	tearDown := hubapi.NewTearDown(direct, o.LeaderNamespace)
	p.holder = holder.New(holder.Options{
		Hub: hub, Direct: direct, Shard: p.shard, Namespace: o.LeaderNamespace, Duration: o.LeaseDuration, Now: time.Now,
		Moved:   func(key engine.Key) { p.clusters.Moved(key) },
		Gained:  func(key engine.Key) { p.assignments.Changed(key) },
		Leaving: func(key engine.Key) { p.assignments.Leaving(key) },
		Lost:    func(key engine.Key) { p.assignments.Lost(key) },
	})
	p.assignments = assignment.New(assignment.Options{Hub: hub, Pool: p.router, Now: time.Now, Holder: p.holder, Decisions: p.waitingDecisions})
	p.clusters = cluster.New(cluster.Options{
		Hub: hub, Direct: direct, Recorder: recorder, Pool: p.router, Local: p.local, Now: time.Now, Holder: p.holder, TearDown: tearDown,
		Connected: p.assignments.Changed, Reachable: p.metrics.reachable,
		Ahead: func() int { return p.waitingDecisions() + p.assignments.Waiting() + p.pool.Unreported() },
	})
	work := errors.Join(holder.IndexUIDs(ctx, p.mgr.GetFieldIndexer()), p.clusters.SetUp(ctx, p.mgr, o.Concurrency), p.assignments.SetUp(p.mgr, o.Concurrency))
	if !p.holder.First() {
		return work
	}
	agents, err := newAgentManifests(cmp.Or(o.Version, "unknown"), agentImage(o.Version, o.AgentImage))
	if err != nil {
		return err
	}
	p.sources = gitrepository.New(gitrepository.Options{
		Hub: hub, Direct: direct, Recorder: recorder, Follow: agents.follow(p.git.Follow), Forget: p.git.Forget, Include: p.git.Include, Now: time.Now,
		Jitter: func() float64 { return 2*rand.Float64() - 1 }, //nolint:gosec // not a secret
	})
	decrypts, err := decryption(ctx, o)
	if err != nil {
		return err
	}
	p.decides = kustomization.New(kustomization.Options{
		Hub: hub, Direct: direct, Recorder: recorder, HubID: p.hubID, HubNamespace: o.LeaderNamespace, NoCrossNamespaceRefs: o.NoCrossNamespaceRefs,
		DefaultServiceAccount: o.DefaultServiceAccount, RequireServiceAccount: o.RequireServiceAccount, Tree: agents.tree(p.tree), Decryption: decrypts, Build: p.renders.Build, Outlines: p.renders.Outlines, Bundles: p.bundles, TearDown: tearDown, Now: time.Now,
	})
	return errors.Join(
		work,
		p.sources.SetUp(ctx, p.mgr),
		p.decides.SetUp(ctx, p.mgr, rendering*o.Concurrency),
		p.addReceiver(ctx, o, hub, direct, recorder),
	)
}

// waitingDecisions returns how many Assignments wait for this process to write their spec.
func (p *parts) waitingDecisions() int {
	if p.decides == nil {
		return 0
	}
	return p.decides.Waiting()
}

// tree reads a commit that was fetched for a source.
func (p *parts) tree(ctx context.Context, source types.NamespacedName, commit string) (*tree.Tree, error) {
	return p.git.Tree(ctx, gitrepository.Key(source), commit)
}

func (p *parts) addRunnables(o Options) error {
	synced := func(req *http.Request) error {
		if !p.mgr.GetCache().WaitForCacheSync(req.Context()) {
			return errors.New("the caches are not filled yet")
		}
		return nil
	}
	return errors.Join(
		p.mgr.AddHealthzCheck("ping", healthz.Ping),
		p.mgr.AddReadyzCheck("caches", synced),
		p.mgr.Add(manager.RunnableFunc(p.stopEngines)),
		p.mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
			if p.shard.Index != 1 && o.BundlesFrom == "" {
				return nil
			}
			return p.clean(ctx, o.Log.WithName("storage"))
		})),
	)
}

// stopEngines waits for the end and then lets the engines come to theirs. What they may still write
// has its own deadline, so that the end of ctx does not cut it off.
func (p *parts) stopEngines(ctx context.Context) error {
	<-ctx.Done()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), engineGrace)
	defer cancel()
	p.router.Stop(grace)
	return nil
}

// close releases what assemble took. A hub that lost its lease comes here without stopEngines having
// run: its engines must not work a moment longer.
func (p *parts) close(ctx context.Context) {
	now, cancel := context.WithCancel(ctx)
	cancel()
	p.router.Stop(now)
	_ = p.bundles.Close()
}
