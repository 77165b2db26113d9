// Package status is the command that shows the whole hub at a glance: sources, kustomizations,
// clusters, which commit runs where, what is not right and why.
//
// Reading facts, making a report of them and writing it are apart; the last two are pure.
package status

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/skerry-dev/skerry/internal/cli/factory"
)

// Options of the command.
type Options struct {
	*factory.Factory
	AllNamespaces bool
	All           bool
	Watch         bool
	Output        string
}

// NewCmdStatus returns the command; runF replaces what it runs, for tests.
func NewCmdStatus(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	if runF == nil {
		runF = runStatus
	}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what runs where, and what is not right",
		Long: `Show the whole hub at a glance: sources, kustomizations and clusters, which commit of each
kustomization runs on which cluster and how fresh that knowledge is, what is not ready and why.

Of a fleet it shows what is not right and counts the rest, so that it stays one screen. At a
terminal a bar shows the clusters of each kustomization by state: █ ready, ✗ failed, ▒ on the way,
· unreachable. With --watch it is drawn again in place as things change; elsewhere each change of
the first line is a line.

The exit code is 0 when everything is ready, 1 when anything is not, and 3 when the hub's
API server could not be asked. What is suspended counts as neither.`,
		Example: `  skerry status
  skerry status --all-namespaces
  skerry status --watch
  skerry status -o json | jq '.problems'`,
		Args: factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runF(cmd.Context(), o) },
	}
	cmd.Flags().BoolVarP(&o.AllNamespaces, "all-namespaces", "A", false, "show every namespace")
	cmd.Flags().BoolVar(&o.All, "all", false, "list every cluster and problem, however many there are")
	cmd.Flags().BoolVarP(&o.Watch, "watch", "w", false, "show it again as it changes")
	factory.AddOutputFlag(cmd, &o.Output)
	cmd.MarkFlagsMutuallyExclusive("watch", "output")
	return cmd
}

func runStatus(ctx context.Context, o *Options) error {
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	namespace := o.Flags.Namespace
	if o.AllNamespaces {
		namespace = ""
	}
	if o.Watch {
		return follow(ctx, o, hub, namespace)
	}
	ctx, cancel := o.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	facts, err := Gather(ctx, hub, namespace, o.Now)
	if err != nil {
		return err
	}
	report := Summarize(facts)
	if err := write(o, report, facts.Now); err != nil {
		return err
	}
	if !report.Ready {
		return factory.ErrSilent
	}
	return nil
}

func write(o *Options, report Report, now time.Time) error {
	if o.Output != "" {
		return factory.Print(o.IO.Out, o.Output, report)
	}
	if _, err := io.WriteString(o.IO.Out, Text(report, o.view(now))); err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	return nil
}

func (o *Options) view(now time.Time) View {
	v := View{Now: now, Namespaces: o.AllNamespaces, All: o.All, IO: o.IO}
	if o.IO.Rows != nil {
		v.Glance = Glance(o.IO.Rows())
	}
	return v
}
