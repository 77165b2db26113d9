// Package cluster is the command that adds edge clusters to a hub, and removes them.
package cluster

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/skerry-dev/skerry/internal/cli/factory"
)

// NewCmdCluster returns the command; runF replaces what its subcommand runs, for tests.
func NewCmdCluster(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "List, add and remove edge clusters",
		Example: `  skerry cluster join shop-1 --from-kubeconfig shop-1.yaml --label tier=shop
  skerry cluster remove shop-1 --deletion-policy delete
  skerry cluster list -o wide`,
	}
	factory.Group(cmd)
	cmd.AddCommand(NewCmdJoin(f, runF), NewCmdRemove(f, nil), NewCmdRotate(f, nil), NewCmdApprove(f, nil), NewCmdLabel(f, nil), NewCmdVars(f, nil), NewCmdList(f, nil))
	return cmd
}
