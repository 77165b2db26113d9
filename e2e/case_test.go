package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
	"github.com/skerry-dev/skerry/internal/testkit/linkproxy"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

const (
	namespace = v1alpha1.SystemNamespace
	// patience is how long a thing may take that a person would call "at once".
	patience = 30 * time.Second
)

type kaseKey struct{}

// kase is one script's view of the world ("case" is a word of the language).
type kase struct {
	t         *testing.T
	rig       *rig.Rig
	shared    bool
	host      *gitserver.Host
	server    *gitserver.HTTP
	ssh       *gitserver.SSH
	repo      *gitserver.Repo
	snapshots map[string]string
	agents    map[string]*rig.Agent
	link      *linkproxy.Proxy // between agents and the gateway
	tunnels   *linkproxy.Tunnels
	player    *player // of Flux; nil before it was started
}

// openRepo gives the case a Git host of its own, so that it can be stopped, with one repository.
func (c *kase) openRepo() error {
	var err error
	if c.host, err = gitserver.NewHost(c.t.TempDir()); err != nil {
		return err
	}
	c.t.Cleanup(func() { _ = c.host.Close() })
	if c.server, err = c.host.ServeHTTP(gitserver.HTTPOptions{}); err != nil {
		return err
	}
	c.repo, err = c.host.Repo("config")
	return err
}

// kube returns the client of "hub" or of an edge.
func (c *kase) kube(name string) (*rig.Kube, error) {
	if name == "hub" {
		return c.rig.HubKube, nil
	}
	e, err := c.edge(name)
	if err != nil {
		return nil, err
	}
	return e.Kube, nil
}

func (c *kase) edge(name string) (*rig.Edge, error) {
	i := slices.IndexFunc(c.rig.Edges, func(e *rig.Edge) bool { return e.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("there is no cluster %q", name)
	}
	return c.rig.Edges[i], nil
}

// owned lists what Skerry keeps on the edges that run.
func (c *kase) owned(ctx context.Context) (string, error) {
	var all []string
	for _, e := range c.rig.Edges {
		if !e.Running() {
			continue
		}
		lines, err := e.Kube.Owned(ctx)
		if err != nil {
			return "", fmt.Errorf("%s: %w", e.Name, err)
		}
		for _, l := range lines {
			all = append(all, e.Name+" "+l)
		}
	}
	return strings.Join(all, "\n"), nil
}

// tearDown deletes what the case left on the hub and proves that nothing is left on the edges.
func (c *kase) tearDown() {
	if c.t.Failed() {
		c.explain()
	}
	if !c.shared {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.restore(ctx); err != nil {
		c.t.Errorf("cannot bring the world back: %v", err)
	}
}

func (c *kase) restore(ctx context.Context) error {
	for _, e := range c.rig.Edges {
		if !e.Running() {
			if err := e.Start(ctx); err != nil {
				return err
			}
		}
	}
	if err := c.rig.Hub.Start(ctx); err != nil {
		return err
	}
	for _, kind := range []string{v1alpha1.KustomizationKind, v1alpha1.GitRepositoryKind, v1alpha1.ClusterKind} {
		if err := c.deleteAll(ctx, strings.ToLower(kind)); err != nil {
			return err
		}
	}
	left, err := c.owned(ctx)
	if err == nil && left != "" {
		err = fmt.Errorf("the case's Kustomizations are deleted, but these are left:\n%s", left)
	}
	return err
}

// deleteAll deletes all objects of a kind but the shared Clusters. One that will not go within 20 s
// is an error, and is torn off its finalizers so that later cases do not stumble over it.
func (c *kase) deleteAll(ctx context.Context, kind string) error {
	client, err := c.rig.HubKube.Resource(kind+".skerry.dev", namespace)
	if err != nil {
		return err
	}
	list, err := client.List(ctx, metav1.ListOptions{LabelSelector: "shared!=yes"})
	if err != nil {
		return err
	}
	var stuck []string
	for _, o := range list.Items {
		if o.GetName() == v1alpha1.HubCluster {
			continue
		}
		if err := client.Delete(ctx, o.GetName(), metav1.DeleteOptions{}); err != nil {
			c.t.Logf("cannot delete %s %s: %v", kind, o.GetName(), err)
		}
	}
	for _, o := range list.Items {
		if o.GetName() == v1alpha1.HubCluster {
			continue
		}
		ref := rig.Ref{Kind: kind + ".skerry.dev", Namespace: namespace, Name: o.GetName()}
		bounded, cancel := context.WithTimeout(ctx, 20*time.Second)
		_, err := c.rig.HubKube.Await(bounded, ref, rig.Absent)
		cancel()
		if err != nil {
			stuck = append(stuck, o.GetName())
			if _, err := c.rig.HubKube.Patch(ctx, ref, `{"metadata":{"finalizers":null}}`); err != nil {
				c.t.Logf("cannot free %s %s: %v", kind, o.GetName(), err)
			}
		}
	}
	if len(stuck) > 0 {
		return fmt.Errorf("%s %s could not be deleted within 20s", kind, strings.Join(stuck, ", "))
	}
	return nil
}

// explain shows what helps to understand a failure.
func (c *kase) explain() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if cli, err := rig.NewCLI(c.rig.HubKubeconfig); err == nil {
		if r, err := cli.Run(ctx, "", "status"); err == nil {
			c.t.Logf("skerry status:\n%s%s", r.Stdout, r.Stderr)
		}
	}
	if owned, err := c.owned(ctx); err == nil {
		c.t.Logf("on the edges:\n%s", owned)
	}
	for name, a := range c.agents {
		c.t.Logf("the end of the log of the agent of %s:\n%s", name, a.LogTail(40))
	}
	c.t.Logf("the end of the hub's log, %s:\n%s", filepath.Base(c.rig.Hub.LogFile()), c.rig.Hub.LogTail(60))
}
