// Package get is the command that lists objects of the hub, as kubectl lists them: the columns come from
// the hub's API server, the formats from the printers that kubectl has as well.
package get

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// Options of the command.
type Options struct {
	*factory.Factory
	Names          []string
	AllNamespaces  bool
	Selector       string
	FieldSelector  string
	Watch          bool
	WatchOnly      bool
	IgnoreNotFound bool
	// SortBy is a JSONPath expression; "" for the order of the API server.
	SortBy string
	// Table holds what the table of a person shows beside the columns of the API server.
	Table printers.PrintOptions
	// Print holds the other formats.
	Print *genericclioptions.PrintFlags

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
	o.Print = genericclioptions.NewPrintFlags("").WithTypeSetter(scheme.Scheme)
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
		if err := o.check(); err != nil {
			return &factory.UsageError{Err: err}
		}
		if runF != nil {
			return runF(cmd.Context(), o)
		}
		if _, err := o.HubConfig(); err != nil {
			return err // cli-runtime names no next step
		}
		return o.explain(runGet(cmd.Context(), o))
	}
	o.addFlags(cmd)
	return cmd
}

// formats are those of -o that are not of genericclioptions.
var formats = []string{"wide", "custom-columns", "custom-columns-file"}

func (o *Options) addFlags(cmd *cobra.Command) {
	o.Print.JSONYamlPrintFlags.AddFlags(cmd)
	o.Print.TemplatePrinterFlags.AddFlags(cmd)
	allowed := append(o.Print.AllowedFormats(), formats...)
	flags := cmd.Flags()
	flags.StringVarP(o.Print.OutputFormat, "output", "o", "", "format: "+strings.Join(allowed, ", ")+"; custom-columns and templates as in kubectl")
	flags.BoolVarP(&o.AllNamespaces, "all-namespaces", "A", false, "of all namespaces")
	flags.StringVarP(&o.Selector, "selector", "l", "", "those whose labels match, for example tier=shop")
	flags.StringVar(&o.FieldSelector, "field-selector", "", "those whose fields match, for example metadata.name=web")
	flags.StringVar(&o.SortBy, "sort-by", "", "sort by the value of this JSONPath expression, for example .metadata.creationTimestamp")
	flags.BoolVar(&o.Table.NoHeaders, "no-headers", false, "print no headings")
	flags.BoolVar(&o.Table.ShowLabels, "show-labels", false, "show all labels in the last column")
	flags.StringSliceVarP(&o.Table.ColumnLabels, "label-columns", "L", nil, "show the values of these labels in columns, for example -L tier,region")
	flags.BoolVar(&o.Table.WithKind, "show-kind", false, "show the kind before the name")
	flags.BoolVarP(&o.Watch, "watch", "w", false, "go on with what changes")
	flags.BoolVar(&o.WatchOnly, "watch-only", false, "show what changes, and not what there is")
	flags.BoolVar(&o.IgnoreNotFound, "ignore-not-found", false, "a name that is not there is no error")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(allowed, cobra.ShellCompDirectiveNoFileComp))
}

// check refuses flags that do not go together, and formats that there are not.
func (o *Options) check() error {
	format := *o.Print.OutputFormat
	human := o.isTable()
	switch {
	case !human && (o.Table.ShowLabels || len(o.Table.ColumnLabels) > 0):
		return fmt.Errorf("--show-labels and --label-columns are for a table, and not for -o %s", format)
	case o.SortBy != "" && (o.Watch || o.WatchOnly):
		return errors.New("--sort-by is for a list, and not for --watch")
	case o.WatchOnly:
		o.Watch = true
	}
	if o.SortBy != "" {
		if _, err := pathOf(o.SortBy); err != nil {
			return fmt.Errorf("--sort-by: %w", err)
		}
	}
	o.Table.Wide = format == "wide"
	o.Table.WithNamespace = o.AllNamespaces
	o.Table.WithKind = o.Table.WithKind || len(o.resources) > 1
	if human {
		return nil
	}
	_, err := o.printer()
	return err
}

// isTable reports whether what is printed is a table for a person.
func (o *Options) isTable() bool {
	format, template := *o.Print.OutputFormat, *o.Print.TemplatePrinterFlags.TemplateArgument
	return format == "wide" || format == "" && template == ""
}

// printer returns what prints objects in another format than a table.
func (o *Options) printer() (printers.ResourcePrinter, error) {
	if columns, is := strings.CutPrefix(*o.Print.OutputFormat, "custom-columns"); is {
		return o.customColumns(columns)
	}
	p, err := o.Print.ToPrinter()
	if genericclioptions.IsNoCompatiblePrinterError(err) {
		return nil, fmt.Errorf("-o must be one of %s, or a format with its argument, and not %q", strings.Join(append(o.Print.AllowedFormats(), formats...), ", "), *o.Print.OutputFormat)
	}
	return p, err
}

// runGet lists. At a terminal tables fit into it, and nothing that a cluster or a Git server wrote steers it.
func runGet(ctx context.Context, o *Options) error {
	if o.Watch {
		return o.watch(ctx)
	}
	ctx, cancel := o.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var text bytes.Buffer
	err := leaveAt(ctx, func() error { return o.list(&text) })
	if err != nil && ctx.Err() != nil {
		return err // what is left behind may still write
	}
	return errors.Join(err, o.write(text.String()))
}

// write writes what was listed.
func (o *Options) write(text string) error {
	if columns := o.IO.Width(); columns > 0 {
		text = iostreams.Clean(text)
		if o.isTable() {
			text = fit(text, columns, !o.Table.NoHeaders)
		}
	}
	if _, err := io.WriteString(o.IO.Out, text); err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	return nil
}

// leaveAt runs what takes no context, as the packages of cli-runtime do, and leaves it behind when ctx ends: the process ends
// then as well.
func leaveAt(ctx context.Context, run func() error) error {
	done := make(chan error, 1)
	go func() { done <- run() }() // ends with the request that it waits for
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
