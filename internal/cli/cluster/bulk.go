package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/apply"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/text"
)

// BulkOptions are those of `cluster label` and `cluster vars`.
type BulkOptions struct {
	*factory.Factory
	Names    []string
	Changes  []string
	Selector string
	All      bool
	DryRun   bool

	// vars means that spec.vars are changed, and not labels.
	vars bool
}

// NewCmdLabel returns the command; runF replaces what it runs, for tests.
func NewCmdLabel(f *factory.Factory, runF func(context.Context, *BulkOptions) error) *cobra.Command {
	return newCmdBulk(f, runF, &BulkOptions{Factory: f}, "label", "Change labels of clusters, which decide what runs there", `  skerry cluster label shop-1 shop-2 tier=shop
  skerry cluster label -l tier=shop wave=2 old- --dry-run`)
}

// NewCmdVars returns the command; runF replaces what it runs, for tests.
func NewCmdVars(f *factory.Factory, runF func(context.Context, *BulkOptions) error) *cobra.Command {
	return newCmdBulk(f, runF, &BulkOptions{Factory: f, vars: true}, "vars", "Change variables of clusters, which path and postBuild see", `  skerry cluster vars shop-1 region=north
  skerry cluster vars --all currency=EUR`)
}

func newCmdBulk(f *factory.Factory, runF func(context.Context, *BulkOptions) error, o *BulkOptions, use, short, example string) *cobra.Command {
	if runF == nil {
		runF = runBulk
	}
	cmd := &cobra.Command{
		Use:   use + " [NAME...] KEY=VALUE... KEY-...",
		Short: short,
		Long: short + `.
KEY=VALUE sets one, KEY- removes it. The clusters are named, or chosen by -l or --all.
A change of what runs on a cluster goes its way in stages like any other. One that Git keeps is
refused, and then none is changed.`,
		Example:           example,
		ValidArgsFunction: f.CompleteNames(func() client.ObjectList { return &v1alpha1.ClusterList{} }),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, arg := range args {
				if strings.Contains(arg, "=") || strings.HasSuffix(arg, "-") {
					o.Changes = append(o.Changes, arg)
				} else {
					o.Names = append(o.Names, arg)
				}
			}
			return runF(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.Selector, "selector", "l", "", "all whose labels match, for example tier=shop")
	flags.BoolVar(&o.All, "all", false, "all in the namespace")
	flags.BoolVar(&o.DryRun, "dry-run", false, "say what would be changed, and change nothing")
	return cmd
}

// parse reads the command line.
func (o *BulkOptions) parse() (change, labels.Selector, error) {
	ways := 0
	for _, given := range []bool{len(o.Names) > 0, o.Selector != "", o.All} {
		if given {
			ways++
		}
	}
	switch {
	case len(o.Changes) == 0:
		return change{}, nil, factory.Usagef("there is nothing to change: KEY=VALUE sets, KEY- removes")
	case ways != 1:
		return change{}, nil, factory.Usagef("clusters are needed: names, -l or --all, and not two of them")
	}
	selector, err := labels.Parse(o.Selector)
	if err != nil {
		return change{}, nil, factory.Usagef("-l: %s", err)
	}
	problem := labelProblem
	if o.vars {
		problem = varProblem
	}
	c, err := parseChange("argument", o.Changes, problem)
	return c, selector, err
}

func runBulk(ctx context.Context, o *BulkOptions) error {
	c, selector, err := o.parse()
	if err != nil {
		return err
	}
	ctx, cancel := o.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	clusters, err := o.clusters(ctx, hub, selector)
	if err != nil {
		return err
	}
	todo, err := patches(clusters, c, o.vars)
	if err != nil {
		return err
	}
	for _, p := range todo {
		if o.DryRun {
			o.IO.Progressf("would change cluster %s", p.cluster.Name)
			continue
		}
		// The resourceVersion in the patch keeps a change that Git makes meanwhile.
		if err := hub.Patch(ctx, p.cluster, client.RawPatch(types.MergePatchType, p.body), client.FieldOwner(apply.FieldManager)); err != nil {
			return factory.Next(fmt.Errorf("cannot change cluster %s: %w", p.cluster.Name, err), "run it again: what is changed already stays so")
		}
	}
	did := "changed"
	if o.DryRun {
		did = "would be changed"
	}
	o.IO.Progressf("%s of %s %s", text.Count(len(todo), "cluster"), text.Count(len(clusters), "cluster"), did)
	return nil
}

// clusters are those that the command line means, each of which must be there.
func (o *BulkOptions) clusters(ctx context.Context, hub *factory.Hub, selector labels.Selector) ([]*v1alpha1.Cluster, error) {
	var all []*v1alpha1.Cluster
	if len(o.Names) > 0 {
		for _, name := range o.Names {
			c := &v1alpha1.Cluster{}
			err := hub.Get(ctx, client.ObjectKey{Namespace: o.Flags.Namespace, Name: name}, c)
			if apierrors.IsNotFound(err) {
				names, err := factory.Names(ctx, hub, &v1alpha1.ClusterList{}, o.Flags.Namespace)
				if err != nil {
					return nil, err
				}
				return nil, factory.NotFound("cluster", name, o.Flags.Namespace, names)
			}
			if err != nil {
				return nil, fmt.Errorf("cannot read cluster %s: %w", name, err)
			}
			all = append(all, c)
		}
		return all, nil
	}
	list := &v1alpha1.ClusterList{}
	if err := hub.List(ctx, list, client.InNamespace(o.Flags.Namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return nil, fmt.Errorf("cannot list the clusters: %w", err)
	}
	for i := range list.Items {
		all = append(all, &list.Items[i])
	}
	if len(all) == 0 {
		return nil, factory.Next(fmt.Errorf("no cluster in the namespace %s matches", o.Flags.Namespace), "'skerry get clusters --show-labels' shows those that there are; -n names another namespace")
	}
	return all, nil
}

type bulkPatch struct {
	cluster *v1alpha1.Cluster
	body    []byte
}

// patches are what brings clusters to what is wanted; those that are there need none. Where Git keeps one that
// would change, there is an error that names all such, and nothing is changed.
func patches(clusters []*v1alpha1.Cluster, c change, vars bool) ([]bulkPatch, error) {
	var out []bulkPatch
	var kept []string
	for _, cluster := range clusters {
		old := cluster.Labels
		if vars {
			old = map[string]string{}
			for k, v := range cluster.Spec.Vars {
				old[k] = string(v)
			}
		}
		d := c.difference(old)
		if len(d) == 0 {
			continue
		}
		if cluster.Labels[v1alpha1.OwnerLabel] != "" {
			kept = append(kept, cluster.Name)
			continue
		}
		meta := map[string]any{"resourceVersion": cluster.ResourceVersion}
		patch := map[string]any{"metadata": meta}
		if vars {
			patch["spec"] = map[string]any{"vars": d}
		} else {
			meta["labels"] = d
		}
		body, err := json.Marshal(patch)
		if err != nil {
			return nil, fmt.Errorf("cannot encode the change: %w", err)
		}
		out = append(out, bulkPatch{cluster, body})
	}
	if len(kept) > 0 {
		slices.Sort(kept)
		return nil, factory.Next(errors.New("Git keeps "+strings.Join(kept[:min(len(kept), 10)], ", ")+", and would undo the change; nothing was changed"), "change them in Git, or choose others")
	}
	return out, nil
}
