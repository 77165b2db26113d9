// Package logs is the command that shows what the hub and the agents log.
package logs

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/diagnose"
	"github.com/skerry-dev/skerry/internal/cli/factory"
)

// Options of the command.
type Options struct {
	*factory.Factory
	Cluster        string
	Kustomization  string
	Level          string
	FromKubeconfig string
	FromContext    string
	Follow         bool
	Previous       bool
	Tail           int64
	Since          time.Duration
	SinceTime      string
	Output         string

	filter    filter
	sinceTime time.Time
}

// NewCmdLogs returns the command; runF replaces what it runs, for tests.
func NewCmdLogs(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	if runF == nil {
		runF = runLogs
	}
	cmd := &cobra.Command{
		Use:   "logs",
		Short: "Show what the hub and the agents log",
		Long: `Show what the Pods of the hub's Deployment log, of one cluster or kustomization where one is named.
Where there are several Pods, each line begins with the name of its Pod. With -o json lines are
shown as they were logged.

An agent logs on its own cluster, which the hub does not reach. With --from-kubeconfig your own
credentials for that cluster show it; nothing of it goes through the hub.

What could steer a terminal is taken out.`,
		Example: `  skerry logs --tail 100
  skerry logs --follow --since 5m --level warn
  skerry logs --cluster shop-1 --kustomization web

  # What the agent of a cluster logs there
  skerry logs --cluster ship-1 --from-kubeconfig ship-1.yaml --follow`,
		Args: factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd.Flags().Changed("namespace")); err != nil {
				return err
			}
			return runF(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Cluster, "cluster", "", "what is about this cluster")
	flags.StringVar(&o.Kustomization, "kustomization", "", "what is about this kustomization")
	flags.StringVar(&o.Level, "level", "", "of this level and above: debug, info, warn or error")
	flags.StringVar(&o.FromKubeconfig, "from-kubeconfig", "", "kubeconfig of the edge cluster: show what its agent logs")
	flags.StringVar(&o.FromContext, "from-context", "", "context of that kubeconfig (default: its current one)")
	flags.BoolVarP(&o.Follow, "follow", "f", false, "go on with what is logged")
	flags.BoolVarP(&o.Previous, "previous", "p", false, "of the container before the one that runs")
	flags.Int64Var(&o.Tail, "tail", -1, "this many lines of each Pod, -1 for all; of these, what else is asked for")
	flags.DurationVar(&o.Since, "since", 0, "of this time, for example 5m")
	flags.StringVar(&o.SinceTime, "since-time", "", "from this time on, for example 2026-01-31T12:00:00Z")
	cmd.MarkFlagsMutuallyExclusive("since", "since-time")
	cmd.MarkFlagsMutuallyExclusive("follow", "previous")
	_ = cmd.MarkFlagFilename("from-kubeconfig")
	_ = cmd.RegisterFlagCompletionFunc("cluster", f.CompleteFlag(func() client.ObjectList { return &v1alpha1.ClusterList{} }))
	_ = cmd.RegisterFlagCompletionFunc("kustomization", f.CompleteFlag(func() client.ObjectList { return &v1alpha1.KustomizationList{} }))
	_ = cmd.RegisterFlagCompletionFunc("level", cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp))
	addOutputFlag(cmd, &o.Output)
	return cmd
}

// addOutputFlag adds -o. A line that is logged is JSON, and there is no YAML of it.
func addOutputFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVarP(to, "output", "o", "", "json shows lines as they were logged")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"json"}, cobra.ShellCompDirectiveNoFileComp))
}

// check refuses flags that cannot be followed, and makes the filter of the others.
func (o *Options) check(namespaced bool) error {
	switch {
	case o.Tail < -1:
		return factory.Usagef("--tail must be a number of lines, or -1 for all")
	case o.Since < 0:
		return factory.Usagef("--since must be longer than 0")
	case o.Output != "" && o.Output != "json":
		return factory.Usagef("-o must be json")
	case o.Cluster == "" && (o.FromKubeconfig != "" || o.FromContext != ""):
		return factory.Usagef("--from-kubeconfig shows what the agent of a cluster logs: name the cluster with --cluster")
	case o.FromContext != "" && o.FromKubeconfig == "":
		return factory.Usagef("--from-context is a context of the file that --from-kubeconfig names")
	}
	if o.SinceTime != "" {
		at, err := time.Parse(time.RFC3339, o.SinceTime)
		if err != nil {
			return factory.Usagef("--since-time must be a time like 2026-01-31T12:00:00Z")
		}
		o.sinceTime = at
	}
	if o.Level != "" {
		o.filter.level = new(slog.Level)
		if err := o.filter.level.UnmarshalText([]byte(o.Level)); err != nil {
			return factory.Usagef("--level must be debug, info, warn or error")
		}
	}
	// An agent logs of its own cluster alone, and does not name it in each line.
	if o.Cluster != "" && o.FromKubeconfig == "" {
		o.filter.cluster = v1alpha1.ResolveName(o.Flags.Namespace, o.Cluster).String()
	}
	if o.Kustomization != "" {
		o.filter.kustomization = v1alpha1.ResolveName(o.Flags.Namespace, o.Kustomization).String()
	}
	if namespaced && o.Cluster == "" && o.Kustomization == "" {
		return o.SystemNamespaceOnly()
	}
	return nil
}

func runLogs(ctx context.Context, o *Options) error {
	if o.FromKubeconfig != "" {
		return runAgent(ctx, o)
	}
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	asking, cancel := o.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := o.checkNames(asking, hub); err != nil {
		return err
	}
	at := place{Reader: hub, config: hub.Config, app: diagnose.HubName}
	pods, err := at.pods(asking, o)
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		return factory.Next(errors.New("the hub has no Pods here: "+diagnose.Hub(asking, hub)), "a hub that runs elsewhere logs where it runs")
	}
	return at.show(ctx, o, pods)
}

// checkNames refuses names that there are not, of which nothing is ever logged, and names where the agent of a
// cluster logs.
func (o *Options) checkNames(ctx context.Context, hub *factory.Hub) error {
	if o.Kustomization != "" {
		if err := o.GetKustomization(ctx, hub, o.Kustomization, &v1alpha1.Kustomization{}); err != nil {
			return err
		}
	}
	if o.Cluster == "" {
		return nil
	}
	c := &v1alpha1.Cluster{}
	if err := o.GetCluster(ctx, hub, o.Cluster, c); err != nil {
		return err
	}
	if c.Spec.Agent != nil {
		o.IO.Progressf("this is what the hub logs of cluster %s; its agent logs there: --from-kubeconfig FILE shows that, and 'skerry why %s' what it reported last", c.Name, c.Name)
	}
	return nil
}
