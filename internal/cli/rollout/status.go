package rollout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/screen"
	"github.com/skerry-dev/skerry/internal/cli/wait"
)

func newCmdStatus(f *factory.Factory, runF run) *cobra.Command {
	o := &Options{Factory: f}
	cmd := verb(o, runF, runStatus, &cobra.Command{
		Use:   "status NAME",
		Short: "Show where a change stands, and what it waits for",
		Long: `Show where the last change stands: its stages, the clusters by state, what it waits for, and
what failed. The exit code is 1 when it was halted or is taken back, otherwise 0.

With --watch it follows the change until it is completed (0), or halted or rolled back (1). A
terminal is redrawn in place; elsewhere each change is a line.

█ ready  ▒ on the way  ✗ failed  · absent  ░ waits`,
		Example: `  skerry rollout status apps
  skerry rollout status apps --watch --timeout 1h
  skerry rollout status apps -o json | jq .phase`,
	})
	cmd.Flags().BoolVarP(&o.Watch, "watch", "w", false, "follow it until it has ended")
	factory.AddOutputFlag(cmd, &o.Output)
	cmd.MarkFlagsMutuallyExclusive("watch", "output")
	return cmd
}

func runStatus(ctx context.Context, o *Options) error {
	asking, cancel := o.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	hub, ks, err := load(asking, o)
	if err != nil {
		return err
	}
	if o.Watch {
		return follow(ctx, o, hub, ks)
	}
	report := Summarize(ks)
	if o.Output != "" {
		err = factory.Print(o.IO.Out, o.Output, report)
	} else if _, err = io.WriteString(o.IO.Out, Text(report, o.IO)); err != nil {
		err = fmt.Errorf("cannot write: %w", err)
	}
	if err == nil && report.Failed {
		err = factory.ErrSilent
	}
	return err
}

// follow shows the rollout each time that the Kustomization changes, until nothing more happens by
// itself. Only a person's --timeout ends it before.
func follow(ctx context.Context, o *Options, hub *factory.Hub, ks *v1alpha1.Kustomization) error {
	if o.Flags.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Flags.Timeout)
		defer cancel()
	}
	at := screen.New(o.IO, o.Now)
	var last Report
	err := wait.Until(ctx, hub, []client.Object{ks}, func() (bool, error) {
		if ks.UID == "" {
			return false, errors.New("it was deleted")
		}
		last = Summarize(ks)
		return last.Done, at.Show(Text(last, o.IO), Line(last))
	})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return factory.Next(fmt.Errorf("the rollout of %s has not ended within %s", o.Name, o.Flags.Timeout), "give it longer with --timeout")
	case err != nil:
		return fmt.Errorf("cannot watch the rollout of %s: %w", o.Name, err)
	case last.Failed:
		return factory.ErrSilent
	}
	return nil
}
