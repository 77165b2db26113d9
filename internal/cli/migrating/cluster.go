package migrating

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/skerry-dev/skerry/internal/cli/factory"
)

// ClusterOptions of `migrate cluster`.
type ClusterOptions struct {
	*factory.Factory
	DryRun bool
	Export bool
	Undo   bool
	Yes    bool
	// grace is how long Flux's controllers may take to end what they have begun, and to let go of what is removed.
	grace time.Duration
}

// NewCmdCluster returns the command; runF replaces what it runs, for tests.
func NewCmdCluster(f *factory.Factory, runF func(context.Context, *ClusterOptions) error) *cobra.Command {
	o := &ClusterOptions{Factory: f, grace: 30 * time.Second}
	if runF == nil {
		runF = runCluster
	}
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Take over what Flux keeps on the hub's cluster, without a restart",
		Long: `Take over what Flux keeps on the hub's cluster. It says first what it will do, and then:

  1. suspends Flux's Kustomizations, GitRepositories and Receivers that move;
  2. creates Skerry's in their place, of the same names, and waits until they are ready: the hub
     takes the objects over as they stand, without creating or restarting any;
  3. compares: each object that Flux kept is there, the same one, and belongs to Skerry;
  4. removes Flux's own objects, which are suspended, so that Flux deletes nothing, and keeps a copy
     of each in a Secret of skerry-system.

Whatever fails before step 4 leaves Flux suspended and everything running. Running it again goes on
where it stopped; --undo goes back: Skerry's objects let go of what they keep, and Flux's are put
back and resumed. What Skerry has no counterpart of is left to Flux, and so is what refers to it.

A Kustomization that applies other objects of Flux, as the one of 'flux bootstrap' does, has its
successor in the migrated repository: push that when this has run, and 'skerry bootstrap'.`,
		Example: `  # The plan
  skerry migrate cluster --dry-run

  # What would be created, as manifests
  skerry migrate cluster --export

  # The way over, and back
  skerry migrate cluster --yes
  skerry migrate cluster --undo`,
		Args: factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runF(cmd.Context(), o) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.DryRun, "dry-run", false, "say what would be done, and do nothing")
	flags.BoolVar(&o.Export, "export", false, "print what would be created as YAML, and do nothing")
	flags.BoolVar(&o.Undo, "undo", false, "go back to Flux")
	flags.BoolVarP(&o.Yes, "yes", "y", false, "do not ask; without a terminal it is needed")
	cmd.MarkFlagsMutuallyExclusive("export", "undo")
	cmd.MarkFlagsMutuallyExclusive("export", "dry-run")
	return cmd
}

func runCluster(ctx context.Context, o *ClusterOptions) error {
	if !o.Yes && !o.DryRun && !o.Export && !o.IO.CanPrompt() {
		return factory.Next(factory.Usagef("there is no terminal to ask at: --yes is needed"), "'skerry migrate cluster --dry-run' says what would be done")
	}
	ctx, cancel := o.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	t := &takeover{ClusterOptions: o, hub: hub}
	if o.Undo {
		return t.undo(ctx)
	}
	if err := t.observe(ctx); err != nil {
		return err
	}
	if o.Export {
		return t.export()
	}
	t.announce()
	if err := t.checkAccounts(ctx); err != nil {
		return err
	}
	if len(t.plan.Moves) == 0 || o.DryRun {
		return nil
	}
	if err := t.confirm(ctx, "Take over from Flux on "+hub.Config.Host+"?"); err != nil {
		return err
	}
	return t.run(ctx)
}

func (t *takeover) confirm(ctx context.Context, question string) error {
	if t.Yes {
		return nil
	}
	yes, err := t.IO.Confirm(ctx, question)
	if err == nil && !yes {
		err = errors.New("nothing was changed")
	}
	return err
}
