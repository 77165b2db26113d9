// Package export is the command that prints what the hub has as manifests that can be committed.
package export

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
)

// Options of the command.
type Options struct {
	*factory.Factory
	AllNamespaces bool
	Names         []string

	kinds []kind
}

type kind struct {
	name    string
	aliases []string
	kind    string
	newList func() client.ObjectList
}

var kinds = []kind{
	{"source", []string{"sources", "gitrepository", "gitrepo"}, v1alpha1.GitRepositoryKind, func() client.ObjectList { return &v1alpha1.GitRepositoryList{} }},
	{"kustomization", []string{"kustomizations", "ks"}, v1alpha1.KustomizationKind, func() client.ObjectList { return &v1alpha1.KustomizationList{} }},
	{"cluster", []string{"clusters", "cl"}, v1alpha1.ClusterKind, func() client.ObjectList { return &v1alpha1.ClusterList{} }},
}

// NewCmdExport returns the command; runF replaces what its subcommands run, for tests.
func NewCmdExport(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	if runF == nil {
		runF = runExport
	}
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Print what the hub has as manifests that can be committed",
		Long: `Print sources, kustomizations and clusters as manifests that can be committed: without status and
without what the API server and the hub add. Secrets are never printed; what they are named is.`,
		Example: `  skerry export all > hub.yaml
  skerry export kustomization apps`,
	}
	factory.Group(cmd)
	for _, k := range kinds {
		cmd.AddCommand(newCmdKind(f, runF, k.name+" [NAME...]", k.aliases, []kind{k}))
	}
	cmd.AddCommand(newCmdKind(f, runF, "all", nil, kinds))
	return cmd
}

func newCmdKind(f *factory.Factory, runF func(context.Context, *Options) error, use string, aliases []string, kinds []kind) *cobra.Command {
	o := &Options{Factory: f, kinds: kinds}
	cmd := &cobra.Command{
		Use: use, Aliases: aliases,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Names = args
			return runF(cmd.Context(), o)
		},
	}
	name, _, _ := strings.Cut(use, " ")
	if len(kinds) == 1 {
		cmd.Short, cmd.ValidArgsFunction = "Print "+name+"s as manifests", f.CompleteNames(kinds[0].newList)
	} else {
		cmd.Short, cmd.Args = "Print sources, kustomizations and clusters as manifests", factory.NoArgs
	}
	cmd.Example = "  skerry export " + name
	cmd.Flags().BoolVarP(&o.AllNamespaces, "all-namespaces", "A", false, "of all namespaces")
	return cmd
}

func runExport(ctx context.Context, o *Options) error {
	if len(o.Names) > 0 && o.AllNamespaces {
		return factory.Usagef("a name is of one namespace: leave out -A")
	}
	ctx, cancel := o.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	namespace := o.Flags.Namespace
	if o.AllNamespaces {
		namespace = ""
	}
	var out bytes.Buffer
	for _, k := range o.kinds {
		list := k.newList()
		if err := hub.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return fmt.Errorf("cannot list %ss: %w", k.kind, err)
		}
		if err := o.print(&out, k, list); err != nil {
			return err
		}
	}
	if out.Len() == 0 {
		o.IO.Progressf("there is nothing to export")
		return nil
	}
	if _, err := o.IO.Out.Write(out.Bytes()); err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	return nil
}

func (o *Options) print(out *bytes.Buffer, k kind, list client.ObjectList) error {
	var known []string
	objects := map[string]client.Object{}
	err := meta.EachListItem(list, func(item runtime.Object) error {
		if object, ok := item.(client.Object); ok {
			key := object.GetNamespace() + "/" + object.GetName()
			objects[key], known = object, append(known, key)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot read the list: %w", err)
	}
	slices.Sort(known)
	wanted := known
	if len(o.Names) > 0 {
		wanted = nil
		for _, name := range o.Names {
			key := o.Flags.Namespace + "/" + name
			if objects[key] == nil {
				var names []string
				for _, k := range known {
					_, name, _ := strings.Cut(k, "/")
					names = append(names, name)
				}
				return factory.NotFound(k.name, name, o.Flags.Namespace, names)
			}
			wanted = append(wanted, key)
		}
	}
	for _, key := range wanted {
		if isMade(objects[key]) && len(o.Names) == 0 {
			continue
		}
		doc, err := Manifest(k.kind, objects[key])
		if err != nil {
			return err
		}
		out.WriteString("---\n")
		out.Write(doc)
	}
	return nil
}

// isMade reports whether the hub makes the object by itself: its own Cluster.
func isMade(o client.Object) bool {
	_, is := o.(*v1alpha1.Cluster)
	return is && o.GetName() == v1alpha1.HubCluster
}

// Manifest is an object as it would be committed. It is pure.
func Manifest(kind string, o client.Object) ([]byte, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("cannot convert %s %s: %w", kind, o.GetName(), err)
	}
	head := map[string]any{"name": o.GetName(), "namespace": o.GetNamespace()}
	labels, annotations := map[string]any{}, map[string]any{}
	for name, value := range o.GetLabels() {
		if name != v1alpha1.OwnerLabel { // the hub's mark; Git must not set it
			labels[name] = value
		}
	}
	for name, value := range o.GetAnnotations() {
		if !slices.Contains(passing, name) {
			annotations[name] = value
		}
	}
	if len(labels) > 0 {
		head["labels"] = labels
	}
	if len(annotations) > 0 {
		head["annotations"] = annotations
	}
	doc, err := yaml.Marshal(map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": kind, "metadata": head, "spec": content["spec"],
	})
	if err != nil {
		return nil, fmt.Errorf("cannot encode %s %s: %w", kind, o.GetName(), err)
	}
	return doc, nil
}

// passing are the annotations that ask for something once.
var passing = []string{
	v1alpha1.ReconcileRequestAnnotation, v1alpha1.FluxReconcileRequestAnnotation, v1alpha1.ReconcileOnceAnnotation, v1alpha1.AcceptRevisionAnnotation, v1alpha1.AllowPruneAnnotation, v1alpha1.RolloutPausedAnnotation,
	v1alpha1.RolloutPromoteAnnotation, v1alpha1.RolloutUndoAnnotation, v1alpha1.TakeOverAnnotation, "kubectl.kubernetes.io/last-applied-configuration",
}
