// Package tree is the command that shows the objects of a Kustomization on its clusters, with their health.
package tree

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/xlab/treeprint"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/cli/status"
	"github.com/skerry-dev/skerry/internal/text"
)

// Options of the command.
type Options struct {
	*factory.Factory
	Name    string
	Cluster string
	Output  string
}

// NewCmdTree returns the command; runF replaces what it runs, for tests.
func NewCmdTree(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	if runF == nil {
		runF = runTree
	}
	cmd := &cobra.Command{
		Use:   "tree KUSTOMIZATION",
		Short: "Show the objects of a kustomization on its clusters, with their health",
		Long: `Show what a kustomization has on its clusters. Without --cluster each cluster is a line, as it
reported last; with it, or where there is only one, the objects of its inventory follow, with their
health.

Inventories and objects lie on the cluster, which is asked with the credentials that the hub has
for it: their Secret must be readable. A cluster that has an agent cannot be asked from here.`,
		Example: `  skerry tree apps
  skerry tree apps --cluster shop-1`,
		Args:              factory.OneName,
		ValidArgsFunction: f.CompleteName(func() client.ObjectList { return &v1alpha1.KustomizationList{} }),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			return runF(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Cluster, "cluster", "", "the objects on this cluster")
	_ = cmd.RegisterFlagCompletionFunc("cluster", f.CompleteFlag(func() client.ObjectList { return &v1alpha1.ClusterList{} }))
	factory.AddOutputFlag(cmd, &o.Output)
	return cmd
}

// Tree is what a Kustomization has. Its texts are clean for a terminal.
type Tree struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Revision  string    `json:"revision,omitempty"`
	Clusters  []Cluster `json:"clusters"`
}

// Cluster is one cluster of it.
type Cluster struct {
	Name  string     `json:"name"`
	Run   status.Run `json:"run"`
	Known string     `json:"-"` // how it is reached, when it is not
	// Objects of the inventory; nil when they were not asked for, or Unknown is why they are not known.
	Objects []Object `json:"objects,omitempty"`
	Unknown string   `json:"unknown,omitempty"`
}

// Object is one object of an inventory.
type Object struct {
	Object  string `json:"object"`
	Health  string `json:"health"`
	Message string `json:"message,omitempty"`
}

func runTree(ctx context.Context, o *Options) error {
	ctx, cancel := o.WithTimeout(ctx, time.Minute)
	defer cancel()
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	ks := &v1alpha1.Kustomization{}
	if err := o.GetKustomization(ctx, hub, o.Name, ks); err != nil {
		return err
	}
	facts, err := o.facts(ctx, hub, ks)
	if err != nil {
		return err
	}
	tree := treeOf(ks, facts)
	if o.Cluster != "" {
		key := v1alpha1.RelativeName(ks.Namespace, v1alpha1.ResolveName(o.Flags.Namespace, o.Cluster))
		at := slices.IndexFunc(tree.Clusters, func(c Cluster) bool { return c.Name == key })
		if at < 0 {
			return factory.NotFound("cluster of kustomization "+o.Name+" named", o.Cluster, o.Flags.Namespace, names(tree))
		}
		tree.Clusters = tree.Clusters[at : at+1]
	}
	failed := error(nil)
	if len(tree.Clusters) == 1 {
		c := &tree.Clusters[0]
		key := v1alpha1.ResolveName(ks.Namespace, c.Name)
		at := slices.IndexFunc(facts.Clusters, func(c v1alpha1.Cluster) bool { return client.ObjectKeyFromObject(&c) == key })
		busy := o.IO.Busy("asking cluster " + c.Name)
		c.Objects, err = objects(ctx, o, hub, ks, &facts.Clusters[at])
		busy.Stop()
		if err != nil {
			c.Unknown = iostreams.Line(err.Error())
			failed = err // the rest is shown all the same
		}
	}
	if o.Output != "" {
		err = factory.Print(o.IO.Out, o.Output, tree)
	} else if _, err = io.WriteString(o.IO.Out, Text(tree, facts.Now, o.IO)); err != nil {
		err = fmt.Errorf("cannot write: %w", err)
	}
	if err == nil && failed == nil && len(tree.Clusters) > 1 && o.Output == "" {
		o.IO.Progressf("--cluster NAME shows the objects on one of them")
	}
	return cmp.Or(err, failed)
}

// facts reads what the hub knows of the clusters of a Kustomization.
func (o *Options) facts(ctx context.Context, hub *factory.Hub, ks *v1alpha1.Kustomization) (status.Facts, error) {
	facts := status.Facts{Server: hub.Config.Host, Kustomizations: []v1alpha1.Kustomization{*ks}}
	clusters, _, err := factory.Selectable(ctx, hub, ks)
	if err != nil {
		return facts, err
	}
	list := &v1alpha1.AssignmentList{}
	if err := hub.List(ctx, list, factory.InClusterNamespaces(ks)...); err != nil {
		return facts, fmt.Errorf("cannot list Assignments: %w", err)
	}
	if facts.Lease, err = status.ReadLease(ctx, hub); err != nil {
		return facts, err
	}
	facts.Clusters, facts.Assignments, facts.Now = clusters, list.Items, o.Now()
	return facts, nil
}

func names(t Tree) []string {
	var out []string
	for _, c := range t.Clusters {
		out = append(out, c.Name)
	}
	return out
}

// treeOf makes the tree down to the clusters.
func treeOf(ks *v1alpha1.Kustomization, facts status.Facts) Tree {
	tree := Tree{Namespace: ks.Namespace, Name: ks.Name, Revision: iostreams.Line(ks.Status.LastAppliedRevision), Clusters: []Cluster{}}
	for _, c := range status.Summarize(facts).Clusters {
		for _, run := range c.Runs {
			if v1alpha1.ResolveName(c.Namespace, run.Kustomization) != client.ObjectKeyFromObject(ks) {
				continue
			}
			one := Cluster{Name: v1alpha1.RelativeName(ks.Namespace, types.NamespacedName{Namespace: c.Namespace, Name: c.Name}), Run: run}
			if c.Reachable != status.Ready {
				one.Known = status.View{Now: facts.Now}.Known(c.Reachable, c.LastSeen)
			}
			tree.Clusters = append(tree.Clusters, one)
		}
	}
	return tree
}

// edgeWidth is the width of one level of a tree.
const edgeWidth = len("|-- ")

// Text writes a tree for a person. It is pure.
func Text(t Tree, now time.Time, s *iostreams.IOStreams) string {
	root := treeprint.NewWithRoot(fmt.Sprintf("Kustomization %s/%s %s", t.Namespace, s.Bold(t.Name), factory.ShortRevision(t.Revision)))
	for _, c := range t.Clusters {
		branch := root.AddBranch(s.WrapBeside(clusterLine(c, now, s), edgeWidth))
		for _, o := range c.Objects {
			line := o.Object + ": " + paint(o.Health, s)
			if o.Message != "" && o.Health != healthy {
				line += ": " + o.Message
			}
			branch.AddNode(s.WrapBeside(line, 2*edgeWidth))
		}
		if c.Unknown != "" {
			branch.AddNode(s.Yellow("its objects are not known"))
		}
	}
	if len(t.Clusters) == 0 {
		root.AddNode("no clusters")
	}
	return root.String()
}

func clusterLine(c Cluster, now time.Time, s *iostreams.IOStreams) string {
	state := map[bool]func(string) string{true: s.Green, false: s.Yellow}[c.Run.State == status.Ready]
	if c.Run.State == status.NotReady {
		state = s.Red
	}
	parts := []string{state(string(c.Run.State))}
	if c.Run.Revision != "" {
		parts = append(parts, factory.ShortRevision(c.Run.Revision))
	}
	if c.Run.Total > 0 {
		parts = append(parts, fmt.Sprintf("%d/%s", c.Run.Applied, text.Count(int(c.Run.Total), "object")))
	}
	if c.Run.Message != "" && c.Run.State != status.Ready {
		parts = append(parts, c.Run.Message)
	}
	if c.Known != "" {
		parts = append(parts, "last heard from "+c.Known)
	} else if c.Run.Verified != nil {
		parts = append(parts, "verified "+status.Age(c.Run.Verified, now)+" ago")
	}
	return "Cluster " + s.Bold(c.Name) + ": " + strings.Join(parts, ", ")
}

func paint(health string, s *iostreams.IOStreams) string {
	switch health {
	case healthy, exists:
		return s.Green(health)
	case "failed", missing:
		return s.Red(health)
	}
	return s.Yellow(health)
}
