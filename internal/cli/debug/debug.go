// Package debug is the command that shows what a Kustomization is rendered with, and what is known of it.
package debug

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/cli/table"
	"github.com/skerry-dev/skerry/internal/explain"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// Options of the command.
type Options struct {
	*factory.Factory
	Name       string
	Cluster    string
	ShowVars   bool
	ShowStatus bool
	Output     string
}

// NewCmdDebug returns the command; runF replaces what its subcommand runs, for tests.
func NewCmdDebug(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "debug",
		Short:   "Show what something is made with, and all that is known of it",
		Example: "  skerry debug kustomization apps --show-vars --cluster shop-1",
	}
	factory.Group(cmd)
	cmd.AddCommand(newCmdKustomization(f, runF))
	return cmd
}

func newCmdKustomization(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	if runF == nil {
		runF = runDebug
	}
	cmd := &cobra.Command{
		Use:     "kustomization NAME",
		Aliases: []string{"ks"},
		Short:   "Show the variables and the status of a kustomization",
		Long: `Show the variables that a kustomization is rendered with, each with where it comes from, as those
of a cluster come together in order: varsFrom and vars of the Cluster, substituteFrom and
substitute of the Kustomization; a later one wins. The values of Secrets are never shown.

--show-status shows the status, and with --cluster the entry in the cluster's Assignment as well.`,
		Example: `  skerry debug kustomization apps --show-vars --cluster shop-1
  skerry debug kustomization apps --show-status`,
		Args:              factory.OneName,
		ValidArgsFunction: f.CompleteName(func() client.ObjectList { return &v1alpha1.KustomizationList{} }),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			if !o.ShowVars && !o.ShowStatus {
				return factory.Usagef("%s needs --show-vars or --show-status", cmd.CommandPath())
			}
			return runF(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.ShowVars, "show-vars", false, "show the variables; those of Secrets without their values")
	cmd.Flags().BoolVar(&o.ShowStatus, "show-status", false, "show the status")
	cmd.Flags().StringVar(&o.Cluster, "cluster", "", "with what there is of this cluster")
	cmd.MarkFlagsMutuallyExclusive("show-vars", "show-status")
	_ = cmd.RegisterFlagCompletionFunc("cluster", f.CompleteFlag(func() client.ObjectList { return &v1alpha1.ClusterList{} }))
	factory.AddOutputFlag(cmd, &o.Output)
	return cmd
}

// Hidden stands in the place of a value of a Secret.
const Hidden = "***"

// Variable is one variable as it is seen by the render.
type Variable struct {
	Name string `json:"name"`
	// Value is Hidden when it comes from a Secret.
	Value string `json:"value"`
	From  string `json:"from"`
}

// Layer is a source of variables; a later one overrides an earlier one.
type Layer struct {
	From   string
	Data   map[string]string
	Secret bool
}

// Merge returns the variables of layers, sorted by name. It is pure.
func Merge(layers []Layer) []Variable {
	all := map[string]Variable{}
	for _, l := range layers {
		for name, value := range l.Data {
			if l.Secret {
				value = Hidden
			}
			all[name] = Variable{Name: name, Value: iostreams.Line(value), From: l.From}
		}
	}
	out := make([]Variable, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[name])
	}
	return out
}

func runDebug(ctx context.Context, o *Options) error {
	ctx, cancel := o.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	ks := &v1alpha1.Kustomization{}
	if err := o.GetKustomization(ctx, hub, o.Name, ks); err != nil {
		return err
	}
	var c *v1alpha1.Cluster
	if o.Cluster != "" {
		c = &v1alpha1.Cluster{}
		if err := o.GetCluster(ctx, hub, o.Cluster, c); err != nil {
			return err
		}
	}
	if o.ShowStatus {
		return showStatus(ctx, o, hub, ks, c)
	}
	layers, err := o.layers(ctx, hub, ks, c)
	if err != nil {
		return err
	}
	vars := Merge(layers)
	if o.Output != "" {
		return factory.Print(o.IO.Out, o.Output, vars)
	}
	if c == nil {
		o.IO.Progressf("--cluster NAME adds the variables of a cluster, which those of the kustomization override")
	}
	if !substitutes(ks) {
		o.IO.Progressf("%s", o.IO.WrapProgress("only path sees them: spec.postBuild names no variables, and substituteStrategy is not Always", ""))
	}
	if len(vars) == 0 {
		o.IO.Progressf("there are no variables")
		return nil
	}
	rows := [][]table.Cell{table.Header("NAME", "FROM", "VALUE")}
	for _, v := range vars {
		rows = append(rows, []table.Cell{table.Plain(v.Name), table.Plain(v.From), table.Plain(v.Value)})
	}
	var b strings.Builder
	table.WriteWithin(&b, rows, o.IO.Width())
	return o.write(b.String())
}

// substitutes reports whether variables are put into what is rendered.
func substitutes(ks *v1alpha1.Kustomization) bool {
	p := ks.Spec.PostBuild
	return p != nil && (len(p.Substitute)+len(p.SubstituteFrom) > 0 || p.SubstituteStrategy == v1alpha1.SubstituteAlways)
}

// layers reads where variables come from, in the order in which they override each other.
func (o *Options) layers(ctx context.Context, hub *factory.Hub, ks *v1alpha1.Kustomization, c *v1alpha1.Cluster) ([]Layer, error) {
	var all []Layer
	add := func(refs []v1alpha1.SubstituteReference, namespace, where string, secrets bool) error {
		for _, ref := range refs {
			l, err := o.layer(ctx, hub, ref, namespace)
			if err != nil {
				return err
			}
			l.From = where + ref.Kind + "/" + ref.Name
			if l.Secret && !secrets {
				o.IO.Progressf("%s: Secrets do not cross namespaces, so that the kustomization does not see it", l.From)
				continue
			}
			all = append(all, l)
		}
		return nil
	}
	if c != nil {
		if err := add(c.Spec.VarsFrom, c.Namespace, "varsFrom of Cluster: ", c.Namespace == ks.Namespace); err != nil {
			return nil, err
		}
		vars := map[string]string{}
		for name, value := range c.Spec.Vars {
			vars[name] = string(value)
		}
		all = append(all, Layer{From: "vars of Cluster", Data: vars}, Layer{From: "the Cluster itself", Data: map[string]string{
			targeting.ClusterNameVar: c.Name, targeting.ClusterNamespaceVar: c.Namespace,
		}})
	}
	if p := ks.Spec.PostBuild; p != nil {
		if err := add(p.SubstituteFrom, ks.Namespace, "substituteFrom: ", true); err != nil {
			return nil, err
		}
		all = append(all, Layer{From: "substitute", Data: p.Substitute})
	}
	return all, nil
}

func (o *Options) layer(ctx context.Context, hub *factory.Hub, ref v1alpha1.SubstituteReference, namespace string) (Layer, error) {
	key := client.ObjectKey{Namespace: namespace, Name: ref.Name}
	l := Layer{Secret: ref.Kind == "Secret", Data: map[string]string{}}
	var err error
	if l.Secret {
		secret := &corev1.Secret{}
		err = hub.Get(ctx, key, secret)
		for name := range secret.Data {
			l.Data[name] = ""
		}
	} else {
		config := &corev1.ConfigMap{}
		err = hub.Get(ctx, key, config)
		l.Data = config.Data
	}
	switch {
	case apierrors.IsNotFound(err) && ref.Optional:
		o.IO.Progressf("%s %s is not there, and optional", ref.Kind, ref.Name)
		return Layer{Secret: l.Secret}, nil
	case apierrors.IsNotFound(err):
		o.IO.Progressf("%s %s is not there: nothing can be rendered until it is", ref.Kind, ref.Name)
		return Layer{Secret: l.Secret}, nil
	case apierrors.IsForbidden(err):
		o.IO.Progressf("%s %s may not be read: the names of its variables are not known", ref.Kind, ref.Name)
		return Layer{Secret: l.Secret}, nil
	case err != nil:
		return l, fmt.Errorf("cannot read %s %s: %w", ref.Kind, ref.Name, err)
	}
	return l, nil
}

// Status is what is known of a Kustomization, and of it on one cluster.
type Status struct {
	Status   v1alpha1.KustomizationStatus    `json:"status"`
	Entry    *v1alpha1.AssignmentEntry       `json:"entry,omitempty"`
	Reported *v1alpha1.AssignmentEntryStatus `json:"reported,omitempty"`
}

func showStatus(ctx context.Context, o *Options, hub *factory.Hub, ks *v1alpha1.Kustomization, c *v1alpha1.Cluster) error {
	s := Status{Status: ks.Status}
	if c != nil {
		a := &v1alpha1.Assignment{}
		if err := hub.Get(ctx, client.ObjectKeyFromObject(c), a); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("cannot read the Assignment of cluster %s: %w", c.Name, err)
		}
		if s.Entry, s.Reported = explain.EntryOf(a, client.ObjectKeyFromObject(ks)); s.Entry == nil && s.Reported == nil {
			return factory.Next(errors.New("cluster "+c.Name+" has no entry of kustomization "+ks.Name), "skerry why %s %s", o.Cluster, o.Name)
		}
	}
	format := o.Output
	if format == "" {
		format = "yaml"
	}
	return factory.Print(o.IO.Out, format, s)
}

func (o *Options) write(text string) error {
	if _, err := io.WriteString(o.IO.Out, text); err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	return nil
}
