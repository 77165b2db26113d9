package e2e

import (
	"context"
	"strings"

	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// newWorld gives the case a hub and edges of its own, the hub not running yet, nothing installed:
//
//	world EDGE...
//
// Its hub's cluster is a whole one, in which a Deployment's Pods become ready. What runs in those is
// nothing: the hub is the process that the script starts.
func newWorld(ctx context.Context, c call) error {
	options := rig.Options{Dir: workDir(c.t), HubWhole: true}
	for _, name := range c.args {
		options.Edges = append(options.Edges, rig.EdgeOptions{Name: name, Controllers: true})
	}
	r, err := rig.New(ctx, options)
	if err != nil {
		return err
	}
	c.t.Cleanup(func() {
		if err := r.Close(); err != nil {
			c.t.Error(err)
		}
	})
	c.rig, c.shared = r, false
	c.ts.Setenv("KUBECONFIG", r.HubKubeconfig)
	for _, e := range r.Edges {
		c.ts.Setenv("KUBECONFIG_"+strings.ReplaceAll(e.Name, "-", "_"), e.Kubeconfig)
	}
	return nil
}
