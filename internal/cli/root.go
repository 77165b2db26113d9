package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/bootstrap"
	"github.com/skerry-dev/skerry/internal/cli/build"
	"github.com/skerry-dev/skerry/internal/cli/bundle"
	"github.com/skerry-dev/skerry/internal/cli/cluster"
	"github.com/skerry-dev/skerry/internal/cli/debug"
	"github.com/skerry-dev/skerry/internal/cli/drift"
	"github.com/skerry-dev/skerry/internal/cli/envsubst"
	"github.com/skerry-dev/skerry/internal/cli/events"
	"github.com/skerry-dev/skerry/internal/cli/export"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/get"
	"github.com/skerry-dev/skerry/internal/cli/install"
	"github.com/skerry-dev/skerry/internal/cli/logs"
	"github.com/skerry-dev/skerry/internal/cli/receiver"
	"github.com/skerry-dev/skerry/internal/cli/reconcile"
	"github.com/skerry-dev/skerry/internal/cli/rollout"
	"github.com/skerry-dev/skerry/internal/cli/stats"
	"github.com/skerry-dev/skerry/internal/cli/status"
	"github.com/skerry-dev/skerry/internal/cli/trace"
	"github.com/skerry-dev/skerry/internal/cli/tree"
	"github.com/skerry-dev/skerry/internal/cli/vendoring"
	"github.com/skerry-dev/skerry/internal/cli/version"
	"github.com/skerry-dev/skerry/internal/cli/why"
)

// newRoot returns the command tree, and whether a command came to run: before that, every error is
// one of the command line.
func newRoot(f *factory.Factory) (*cobra.Command, func() bool) {
	started := false
	root := &cobra.Command{
		Use:   "skerry",
		Short: "GitOps for edge fleets",
		Long: `Skerry keeps a fleet of clusters on what Git says. One hub watches Git repositories,
renders them with kustomize and applies them to many edge clusters.

Results go to standard output, progress and problems to standard error.

Every exit code but 0 means that something is not well: 'skerry help exit-codes' says what.`,
		Example: `  # Put a hub onto a cluster, and keep it up to date from Git
  skerry bootstrap git --url https://git.example.com/team/fleet.git \
    --branch main --path clusters/hub --token-file ~/.git-token

  # Add an edge cluster
  skerry cluster join shop-1 --from-kubeconfig shop-1.yaml --label tier=shop

  # What runs where, and what is not right
  skerry status`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			// Cobra asks these only after this function, and then they were errors of the command.
			if err := errors.Join(cmd.ValidateRequiredFlags(), cmd.ValidateFlagGroups()); err != nil {
				return err
			}
			started = true
			return f.Defaults(cmd.Flags().Changed)
		},
	}
	root.SetOut(f.IO.Out)
	root.SetErr(f.IO.Err)
	root.SetIn(f.IO.In)
	root.SetFlagErrorFunc(flagError)
	addGlobalFlags(root.PersistentFlags(), f.Flags)
	fitHelp(root, f.IO)
	factory.Group(root)
	addCommands(root, f)
	addActing(root, f)
	root.AddCommand(exitCodes())
	if f.Plugin {
		renameCommands(root)
	}
	_ = root.RegisterFlagCompletionFunc("namespace", f.CompleteFlag(func() client.ObjectList { return &corev1.NamespaceList{} }))
	return root, func() bool { return started }
}

func addCommands(root *cobra.Command, f *factory.Factory) {
	root.AddCommand(
		bootstrap.NewCmdBootstrap(f, nil),
		build.NewCmdBuild(f, nil),
		bundle.NewCmdBundle(f, nil),
		cluster.NewCmdCluster(f, nil),
		drift.NewCmdDrift(f, nil),
		envsubst.NewCmdEnvsubst(f, nil),
		get.NewCmdGet(f, nil),
		install.NewCmdInstall(f, nil),
		receiver.NewCmdReceiver(f, nil),
		reconcile.NewCmdReconcile(f, nil),
		reconcile.NewCmdResume(f, nil),
		rollout.NewCmdHistory(f, nil),
		rollout.NewCmdRollout(f, nil),
		status.NewCmdStatus(f, nil),
		reconcile.NewCmdSuspend(f, nil),
		debug.NewCmdDebug(f, nil),
		events.NewCmdEvents(f, nil),
		export.NewCmdExport(f, nil),
		logs.NewCmdLogs(f, nil),
		stats.NewCmdStats(f, nil),
		trace.NewCmdTrace(f, nil),
		tree.NewCmdTree(f, nil),
		vendoring.NewCmdVendor(f, nil),
		version.NewCmdVersion(f, nil),
		why.NewCmdWhy(f, nil),
	)
}

// exitCodes is a help topic: the one table of exit codes.
func exitCodes() *cobra.Command {
	var table strings.Builder
	for _, c := range factory.ExitCodes {
		fmt.Fprintf(&table, "  %-3d  %s\n", c.Code, c.Meaning)
	}
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What exit codes mean", Example: "  skerry help exit-codes",
		Long: `Every command ends with one of these, whatever its output format:

` + table.String() + `
With -o json an error is {"error": {"code": …, "message": "…", "next": "…"}} on standard error.`,
	}
}

func addGlobalFlags(flags *pflag.FlagSet, to *factory.Flags) {
	to.Config = genericclioptions.NewConfigFlags(true)
	to.Config.Namespace, to.Config.Timeout = nil, nil // ours, below
	to.Config.ClusterName = nil                       // a Cluster is another thing here
	to.Config.BearerToken = nil                       // --token would be taken for the one of Git
	to.Config.AddFlags(flags)
	flags.StringVarP(&to.Namespace, "namespace", "n", v1alpha1.SystemNamespace, "namespace of the objects (SKERRY_NAMESPACE gives another default)")
	flags.BoolVar(&to.NamespaceFollows, "ns-follows-kube-context", false, "take the namespace of the context when none is given")
	flags.DurationVar(&to.Timeout, "timeout", 0, "give up after this long (default: 5m where clusters are waited for, otherwise 30s)")
}

// flagError names the flags that come near an unknown one.
func flagError(cmd *cobra.Command, err error) error {
	err = &factory.UsageError{Err: err}
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return err
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	if near := factory.Nearest(unknown.GetSpecifiedName(), known); len(near) > 0 {
		return factory.Next(err, "did you mean --%s? See '%s --help'", near[0], cmd.CommandPath())
	}
	return err
}
