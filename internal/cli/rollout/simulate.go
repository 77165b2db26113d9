package rollout

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// SimulateOptions are those of simulate.
type SimulateOptions struct {
	File         string
	ClustersFile string
	Fail         []string
	HealthAfter  time.Duration
	ApproveAfter time.Duration
	At           string
	All          bool
}

func newCmdSimulate(f *factory.Factory, runF run) *cobra.Command {
	o := &Options{Factory: f}
	cmd := verb(o, runF, runSimulate, &cobra.Command{
		Use:   "simulate NAME",
		Short: "Scenario the next change against the fleet, without touching anything",
		Long: `Scenario how the next change would reach the clusters as they are now: their labels, and which of
them are unreachable or suspended. The planner is the one that the hub runs; time is not real.
Nothing is written anywhere.

The kustomization may be a file that is not applied yet, and so may the clusters; with both,
no hub is asked. A percentage given to --fail always picks the same clusters.`,
		Example: `  skerry rollout simulate apps
  skerry rollout simulate apps --fail edge-3 --health-after 2m
  skerry rollout simulate apps --at 2026-12-24T16:00:00Z --approve-after 2h
  skerry rollout simulate apps -f kustomization.yaml --fail 5%
  kubectl -n skerry-system get clusters.skerry.dev -o yaml > fleet.yaml
  skerry rollout simulate apps -f kustomization.yaml --clusters-file fleet.yaml`,
	})
	s := &o.Simulate
	cmd.Flags().StringVarP(&s.File, "file", "f", "", "read the kustomization from this file and not from the hub")
	cmd.Flags().StringVar(&s.ClustersFile, "clusters-file", "", "read the clusters from this file and not from the hub")
	cmd.Flags().StringSliceVar(&s.Fail, "fail", nil, "a cluster, or a percentage of them, that never becomes healthy; repeatable")
	cmd.Flags().DurationVar(&s.HealthAfter, "health-after", 30*time.Second, "how long a cluster takes to be healthy")
	cmd.Flags().DurationVar(&s.ApproveAfter, "approve-after", 0, "how long a person takes to approve a stage")
	cmd.Flags().StringVar(&s.At, "at", "", "when the change arrives, as in 2026-12-24T16:00:00Z (default: now)")
	cmd.Flags().BoolVar(&s.All, "all", false, "show every step and cluster, however many there are")
	for _, name := range []string{"file", "clusters-file"} {
		_ = cmd.MarkFlagFilename(name, "yaml", "yml", "json")
	}
	for _, name := range []string{"health-after", "approve-after", "at"} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	_ = cmd.RegisterFlagCompletionFunc("fail", func(cmd *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return o.CompleteName(func() client.ObjectList { return &v1alpha1.ClusterList{} })(cmd, nil, word)
	})
	factory.AddOutputFlag(cmd, &o.Output)
	return cmd
}

func runSimulate(ctx context.Context, o *Options) error {
	start, err := o.start()
	if err != nil {
		return err
	}
	ks, clusters, access, err := o.inputs(ctx)
	if err != nil {
		return err
	}
	selected, err := targeting.Select(ks, clusters, access)
	if err != nil {
		return err
	}
	scenario := Scenario{
		Name: o.again(), Spec: ks.Spec.Rollout, Members: members(selected, ks.Namespace, clusters, start),
		Start: start, HealthAfter: o.Simulate.HealthAfter,
		FailedAfter: failedAfter(ks), ApproveAfter: o.Simulate.ApproveAfter,
	}
	var chosen []string
	if scenario.Fails, chosen, err = choose(o.Simulate.Fail, scenario.Members); err != nil {
		return err
	}
	outcome, err := Run(ctx, scenario)
	if err != nil {
		return fmt.Errorf("cannot simulate the rollout of %s: %w", ks.Name, err)
	}
	result, err := simulation(ks, selected, scenario, outcome, chosen)
	if err != nil {
		return err
	}
	if o.Output != "" {
		return factory.Print(o.IO.Out, o.Output, result)
	}
	if _, err := io.WriteString(o.IO.Out, simulationText(result, o.Simulate.All, o.IO)); err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	return nil
}

func (o *Options) start() (time.Time, error) {
	s := o.Simulate
	if s.HealthAfter < 0 || s.ApproveAfter < 0 {
		return time.Time{}, factory.Usagef("--health-after and --approve-after cannot be negative")
	}
	if s.At == "" {
		return o.Now().UTC().Truncate(time.Second), nil
	}
	at, err := time.Parse(time.RFC3339, s.At)
	if err != nil {
		return time.Time{}, factory.Usagef("--at %q is no time like 2026-12-24T16:00:00Z", s.At)
	}
	return at.UTC().Truncate(time.Second), nil
}

// failedAfter is when a cluster that does not become healthy is given up: by the engine after timeout,
// or by the planner at its deadline, whichever comes first.
func failedAfter(ks *v1alpha1.Kustomization) time.Duration {
	after := ks.Spec.Interval.Duration
	if t := ks.Spec.Timeout; t != nil {
		after = t.Duration
	}
	deadline := 10 * time.Minute // as the API has it
	if r := ks.Spec.Rollout; r != nil && r.ProgressDeadline != nil {
		deadline = r.ProgressDeadline.Duration
	}
	if after <= 0 {
		return deadline
	}
	return min(after, deadline)
}
