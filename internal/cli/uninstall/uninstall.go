// Package uninstall is the command that takes a hub off its cluster, and what the hub keeps on the edges.
//
// It promises that it can be killed at any point and run again: each step looks at what is still there. What
// the hub applied stays unless a flag asks otherwise, and the hub is only taken away when it has nothing left
// to do on the edges.
package uninstall

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skerry-dev/skerry/internal/cli/factory"
)

// Options of the command.
type Options struct {
	*factory.Factory
	DeletionPolicy string
	KeepNamespace  bool
	DryRun         bool
	Yes            bool
}

// The words of --deletion-policy.
const (
	policyOrphan  = "orphan"
	policyDelete  = "delete"
	policyAbandon = "abandon"
)

// NewCmdUninstall returns the command; runF replaces what it runs, for tests.
func NewCmdUninstall(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	if runF == nil {
		runF = runUninstall
	}
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Take the hub off its cluster; what it applied stays",
		Long: `Take the hub off its cluster: first what it keeps on the edges, by the hub itself, then its
Kustomizations, Clusters and sources, its Deployment and rights, its kinds and its namespace. It
says first what it will do. What becomes of the objects that were applied is said by
--deletion-policy:

  orphan   they stay and belong to nobody; what the hub keeps on the edges goes
  delete   they are deleted, on every cluster
  abandon  the hub is stopped first, if it runs here, and nothing is sent to the edges

A cluster that does not answer is waited for for five minutes and then forgotten. Running this
again goes on where an earlier run stopped. Git is not changed.`,
		Example: `  # What would be done
  skerry uninstall --dry-run

  # Leave everything that runs on the edges as it is
  skerry uninstall

  # The hub is gone for good, and cannot take anything off the edges
  skerry uninstall --deletion-policy abandon --yes`,
		Args: factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runF(cmd.Context(), o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.DeletionPolicy, "deletion-policy", policyOrphan, "what becomes of what was applied: orphan, delete or abandon")
	flags.BoolVar(&o.KeepNamespace, "keep-namespace", false, "leave the namespace skerry-system, with the Secrets in it")
	flags.BoolVar(&o.DryRun, "dry-run", false, "say what would be done, and do nothing")
	flags.BoolVarP(&o.Yes, "yes", "y", false, "do not ask; without a terminal it is needed")
	_ = cmd.RegisterFlagCompletionFunc("deletion-policy", cobra.FixedCompletions([]string{policyOrphan, policyDelete, policyAbandon}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func runUninstall(ctx context.Context, o *Options) error {
	if err := o.SystemNamespaceOnly(); err != nil {
		return err
	}
	switch o.DeletionPolicy = strings.ToLower(o.DeletionPolicy); o.DeletionPolicy {
	case policyOrphan, policyDelete, policyAbandon:
	default:
		return factory.Usagef("--deletion-policy must be orphan, delete or abandon")
	}
	if !o.Yes && !o.DryRun && !o.IO.CanPrompt() {
		return factory.Next(factory.Usagef("there is no terminal to ask at: --yes is needed"), "'skerry uninstall --dry-run' says what would be done")
	}
	ctx, cancel := o.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	t := &teardown{Options: o, hub: hub}
	seen, err := t.observe(ctx)
	if err != nil {
		return err
	}
	for _, line := range announce(seen, o.DeletionPolicy, o.KeepNamespace) {
		o.IO.Progressf("%s", line)
	}
	if seen.nothing() || o.DryRun {
		return nil
	}
	if !o.Yes {
		yes, err := o.IO.Confirm(ctx, "Uninstall the hub from "+hub.Config.Host+"?")
		if err != nil {
			return err
		}
		if !yes {
			return errors.New("nothing was changed")
		}
	}
	return t.run(ctx)
}

// run does it, step by step. Each step waits until what it deletes is gone, because the next takes away what
// that needs.
func (t *teardown) run(ctx context.Context) error {
	type part struct {
		title string
		run   func(context.Context, *factory.Step) error
	}
	parts := []part{
		{"kustomizations and clusters", t.release},
		{"sources", t.sources},
		{"hub", t.components},
		{"kinds", t.kinds},
		{"namespace", t.namespace},
	}
	if t.DeletionPolicy == policyAbandon {
		parts = append([]part{{"stop the hub", t.stop}}, parts...)
	}
	steps := t.Steps()
	for _, step := range parts {
		if err := steps.Do(step.title, func(s *factory.Step) error { return step.run(ctx, s) }); err != nil {
			return err
		}
	}
	t.IO.Progressf("the hub is uninstalled; Git was not changed")
	return nil
}
