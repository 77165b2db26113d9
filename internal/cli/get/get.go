// Package get is the command that lists objects of the hub, as kubectl lists them: the columns come from
// the hub's API server, the formats from kubectl's own printers.
package get

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	kubectl "k8s.io/kubectl/pkg/cmd/get"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
)

// Options of the command.
type Options struct {
	*factory.Factory
	Names []string
	// Print holds what kubectl's get can be asked for.
	Print *kubectl.GetOptions

	resources []string
}

// kind is what a subcommand lists.
type kind struct {
	name    string
	aliases []string
	short   string
	// resources as the API server names them, with their group.
	resources []string
	newList   func() client.ObjectList
}

const group = "." + v1alpha1.Group

var kinds = []kind{
	{"sources", []string{"source", "gitrepositories", "gitrepository", "gitrepo"}, "List sources: what is fetched, and at which revision", []string{"gitrepositories" + group}, func() client.ObjectList { return &v1alpha1.GitRepositoryList{} }},
	{"receivers", []string{"receiver"}, "List receivers: what webhooks they accept", []string{"receivers" + group}, func() client.ObjectList { return &v1alpha1.ReceiverList{} }},
	{"kustomizations", []string{"kustomization", "ks"}, "List kustomizations: the revision, and on how many clusters it is ready", []string{"kustomizations" + group}, func() client.ObjectList { return &v1alpha1.KustomizationList{} }},
	{"clusters", []string{"cluster", "cl"}, "List clusters: whether they can be reached, and since when", []string{"clusters" + group}, func() client.ObjectList { return &v1alpha1.ClusterList{} }},
	{"assignments", []string{"assignment"}, "List assignments: what the hub wants on each cluster, one a cluster", []string{"assignments" + group}, func() client.ObjectList { return &v1alpha1.AssignmentList{} }},
	{"all", nil, "List sources, kustomizations and clusters", []string{"gitrepositories" + group, "kustomizations" + group, "clusters" + group}, nil},
}

// NewCmdGet returns the command; runF replaces what its subcommands run, for tests.
func NewCmdGet(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "get",
		Aliases: []string{"list"},
		Short:   "List what the hub has",
		Long: `List what the hub has, with kubectl's own flags. 'skerry status' says beside that what
runs where and what is not right.`,
		Example: `  # Everything in all namespaces
  skerry get all -A

  # The clusters of the north, as they change
  skerry get clusters -l region=north --watch

  # The revision that a kustomization has applied
  skerry get kustomization web -o jsonpath='{.status.lastAppliedRevision}'`,
	}
	factory.Group(cmd)
	for _, k := range kinds {
		cmd.AddCommand(newCmdKind(f, runF, k))
	}
	return cmd
}

func newCmdKind(f *factory.Factory, runF func(context.Context, *Options) error, k kind) *cobra.Command {
	o := &Options{Factory: f, resources: k.resources}
	o.Print = kubectl.NewGetOptions("skerry", genericiooptions.IOStreams{In: f.IO.In, Out: f.IO.Out, ErrOut: f.IO.Err})
	cmd := &cobra.Command{
		Use: k.name + " [NAME...]", Aliases: k.aliases, Short: k.short,
		Example: "  skerry get " + k.name + " -o wide",
	}
	if k.newList != nil {
		cmd.ValidArgsFunction = f.CompleteNames(k.newList)
	} else {
		cmd.Use, cmd.Args = k.name, factory.NoArgs
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.Names = args
		if err := o.Print.Complete(o.kubectl(), cmd, o.args()); err != nil {
			return &factory.UsageError{Err: err}
		}
		if err := o.Print.Validate(); err != nil {
			return &factory.UsageError{Err: err}
		}
		if runF != nil {
			return runF(cmd.Context(), o)
		}
		return runGet(cmd.Context(), o)
	}
	o.Print.PrintFlags.AddFlags(cmd)
	flags := cmd.Flags()
	flags.BoolVarP(&o.Print.AllNamespaces, "all-namespaces", "A", false, "of all namespaces")
	flags.StringVarP(&o.Print.LabelSelector, "selector", "l", "", "those whose labels match, for example tier=shop")
	flags.StringVar(&o.Print.FieldSelector, "field-selector", "", "those whose fields match, for example metadata.name=web")
	flags.BoolVarP(&o.Print.Watch, "watch", "w", false, "go on with what changes")
	flags.BoolVar(&o.Print.WatchOnly, "watch-only", false, "show what changes, and not what there is")
	flags.BoolVar(&o.Print.IgnoreNotFound, "ignore-not-found", false, "a name that is not there is no error")
	return cmd
}

// kubectl returns the hub's connection as kubectl's packages want it.
func (o *Options) kubectl() cmdutil.Factory { return cmdutil.NewFactory(o.Connection()) }

// args are those of kubectl's get.
func (o *Options) args() []string {
	return append([]string{strings.Join(o.resources, ",")}, o.Names...)
}

// runGet lists. Kubectl's code ends a watch at an interrupt by itself.
func runGet(_ context.Context, o *Options) error { return o.Print.Run(o.kubectl(), o.args()) }
