package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

// Options say what a rig consists of.
type Options struct {
	// Dir holds all files of the rig, and exists.
	Dir string
	// HubWhole makes the hub's own cluster a whole one: with a controller manager, a scheduler and a
	// node on paper. Otherwise it is an API server alone.
	HubWhole bool
	// HubAudit records every request to the hub's own cluster.
	HubAudit bool
	// HubProfile lets the API server of the hub's own cluster be profiled.
	HubProfile bool
	// Edges are the clusters that the hub is to look after.
	Edges []EdgeOptions
	// HubArgs are appended to the command line of the hub.
	HubArgs []string
}

// EdgeOptions say how much of a cluster an edge is. The zero value but for the name is an API
// server alone.
type EdgeOptions struct {
	Name string
	// Controllers runs a controller manager: without it a deleted Namespace stays.
	Controllers bool
	// Pods adds a scheduler and a node on paper, so that Pods become ready; it wants Controllers.
	Pods bool
	// Audit records every request.
	Audit bool
}

// Rig is one hub's cluster, its hub, which does not run yet, edges, and a Git host without a
// repository.
type Rig struct {
	Git           *gitserver.Host
	Hub           *Hub
	HubCluster    *controlplane.Cluster
	HubKube       *Kube
	HubKubeconfig string
	Edges         []*Edge

	etcd *controlplane.Etcd
}

// Edge is one cluster that the hub looks after.
type Edge struct {
	Name       string
	Kubeconfig string
	Kube       *Kube
	Cluster    *controlplane.Cluster

	mu      sync.Mutex
	stopped bool
}

// New starts the clusters of a rig, all at the same time.
func New(ctx context.Context, o Options) (_ *Rig, err error) {
	r := &Rig{Edges: make([]*Edge, len(o.Edges))}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	repos := filepath.Join(o.Dir, "git")
	if err := os.MkdirAll(repos, 0o755); err != nil {
		return nil, err
	}
	if r.Git, err = gitserver.NewHost(repos); err != nil {
		return nil, err
	}
	if r.etcd, err = controlplane.StartEtcd(ctx, filepath.Join(o.Dir, "clusters")); err != nil {
		return nil, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.startHubCluster(ctx, o) })
	for i, e := range o.Edges {
		group.Go(func() (err error) {
			r.Edges[i], err = r.startEdge(ctx, e)
			return err
		})
	}
	return r, group.Wait()
}

func (r *Rig) startHubCluster(ctx context.Context, o Options) (err error) {
	r.HubCluster, err = controlplane.Start(ctx, r.etcd, "hub", controlplane.Options{
		ControllerManager: o.HubWhole, Scheduler: o.HubWhole, Kwok: o.HubWhole, AuditLog: o.HubAudit, Profile: o.HubProfile,
	})
	if err != nil {
		return err
	}
	r.HubKubeconfig = r.HubCluster.Kubeconfig()
	if r.HubKube, err = NewKube(r.HubCluster.RESTConfig()); err != nil {
		return err
	}
	r.Hub = NewHub(HubOptions{Kubeconfig: r.HubKubeconfig, Dir: o.Dir, Args: o.HubArgs})
	return nil
}

func (r *Rig) startEdge(ctx context.Context, o EdgeOptions) (*Edge, error) {
	c, err := controlplane.Start(ctx, r.etcd, o.Name, controlplane.Options{
		ControllerManager: o.Controllers, Scheduler: o.Pods, Kwok: o.Pods, AuditLog: o.Audit,
	})
	if err != nil {
		return nil, err
	}
	e := &Edge{Name: o.Name, Kubeconfig: c.Kubeconfig(), Cluster: c}
	if e.Kube, err = NewKube(c.RESTConfig()); err != nil {
		return e, err
	}
	return e, nil
}

// Running reports whether the edge's API server is meant to be up.
func (e *Edge) Running() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.stopped
}

// Stop pulls the plug of the edge's API server.
func (e *Edge) Stop() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped {
		return fmt.Errorf("%s is stopped already", e.Name)
	}
	e.stopped = true
	e.Cluster.StopServer()
	return nil
}

// Start brings the edge's API server back, at its address and with its data, and returns when it is
// ready.
func (e *Edge) Start(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.Cluster.StartServer(ctx); err != nil {
		return err
	}
	e.stopped = false
	return nil
}

// Close stops everything. The files stay. A hub that cannot stop in order is an error.
func (r *Rig) Close() error {
	var errs []error
	if r.Hub != nil {
		errs = append(errs, r.Hub.Stop())
	}
	if r.Git != nil {
		errs = append(errs, r.Git.Close())
	}
	for _, e := range r.Edges {
		if e != nil {
			e.Cluster.Stop()
		}
	}
	if r.HubCluster != nil {
		r.HubCluster.Stop()
	}
	if r.etcd != nil {
		r.etcd.Stop()
	}
	return errors.Join(errs...)
}

// SweepDirs removes folders "<prefix><pid>-*" of processes that are gone: one that was killed could
// not do it itself.
func SweepDirs(parent, prefix string) {
	all, _ := filepath.Glob(filepath.Join(parent, prefix+"*"))
	for _, dir := range all {
		var pid int
		if n, _ := fmt.Sscanf(filepath.Base(dir)[len(prefix):], "%d-", &pid); n == 1 && !alive(pid) {
			_ = os.RemoveAll(dir)
		}
	}
}
