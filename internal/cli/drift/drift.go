// Package drift is the command that lists what was changed on clusters beside Git: where, which fields, by which
// field manager, when, and what was done about it.
package drift

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/cli/table"
	"github.com/skerry-dev/skerry/internal/text"
)

// Options of the command.
type Options struct {
	*factory.Factory
	AllNamespaces bool
	Cluster       string
	Selector      string
	Since         time.Duration
	Output        string
	// Kustomization limits the list to one; empty: all.
	Kustomization string
}

// NewCmdDrift returns the command; runF replaces what it runs, for tests.
func NewCmdDrift(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	if runF == nil {
		runF = runDrift
	}
	cmd := &cobra.Command{
		Use:   "drift [KUSTOMIZATION]",
		Short: "List what was changed on clusters beside Git",
		Long: `List what was changed on clusters beside Git: the object, which fields, by which field manager,
when, and whether it was put back. What is left as it is, because spec.drift.mode is Report, comes
first: it differs from Git now.

The hub keeps the last ten for each kustomization and cluster, and those that were put back until
it restarts; 'skerry events' has older ones. The values of fields are never recorded.`,
		Example: `  # What was changed by hand in the last hour
  skerry drift --since 1h

  # On one cluster; on those of the north
  skerry drift --cluster shop-1
  skerry drift -l region=north -o json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return factory.OneName(cmd, args)
			}
			return nil
		},
		ValidArgsFunction: f.CompleteName(func() client.ObjectList { return &v1alpha1.KustomizationList{} }),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.Kustomization = args[0]
			}
			return runF(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&o.AllNamespaces, "all-namespaces", "A", false, "of the clusters of all namespaces")
	flags.StringVar(&o.Cluster, "cluster", "", "on this cluster")
	flags.StringVarP(&o.Selector, "selector", "l", "", "on the clusters whose labels match, for example region=north")
	flags.DurationVar(&o.Since, "since", 0, "what was put back in this time, for example 1h (default: whatever is known)")
	cmd.MarkFlagsMutuallyExclusive("cluster", "selector")
	_ = cmd.RegisterFlagCompletionFunc("cluster", f.CompleteFlag(func() client.ObjectList { return &v1alpha1.ClusterList{} }))
	factory.AddOutputFlag(cmd, &o.Output)
	return cmd
}

// Found is one drift. Its texts are clean for a terminal.
type Found struct {
	Namespace     string    `json:"namespace"`
	Cluster       string    `json:"cluster"`
	Kustomization string    `json:"kustomization"`
	Object        string    `json:"object"`
	Change        string    `json:"change"`
	Paths         []string  `json:"paths,omitempty"`
	MorePaths     int32     `json:"morePaths,omitempty"`
	Manager       string    `json:"manager,omitempty"`
	At            time.Time `json:"at"`
	Action        string    `json:"action"`
}

// Result is what is known of drift.
type Result struct {
	// Drifts holds what is left as it is, and then what was put back, each the newest first.
	Drifts []Found `json:"drifts"`
	// Unrecorded counts the corrections that are known by their number alone.
	Unrecorded int64 `json:"unrecorded,omitempty"`
}

func runDrift(ctx context.Context, o *Options) error {
	selector, err := labels.Parse(o.Selector)
	switch {
	case err != nil:
		return factory.Usagef("-l: %s", err)
	case o.Since < 0:
		return factory.Usagef("--since: must be longer than 0")
	}
	ctx, cancel := o.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	assignments, err := o.assignments(ctx, hub, selector)
	if err != nil {
		return err
	}
	now := o.Now()
	var only *types.NamespacedName
	if o.Kustomization != "" {
		ks := &v1alpha1.Kustomization{}
		if err := o.GetKustomization(ctx, hub, o.Kustomization, ks); err != nil {
			return err
		}
		key := client.ObjectKeyFromObject(ks)
		only = &key
	}
	result := Collect(assignments, only, now, o.Since)
	if o.Output != "" {
		return factory.Print(o.IO.Out, o.Output, result)
	}
	if len(result.Drifts) == 0 {
		o.IO.Progressf("no drift is known%s", result.rest(o))
		return nil
	}
	if _, err := io.WriteString(o.IO.Out, Text(result, now, o)); err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	if rest := result.rest(o); rest != "" {
		o.IO.Progressf("%s", strings.TrimPrefix(rest, "; "))
	}
	return nil
}

// rest returns how many corrections are known by their number alone. With --since it cannot be known when they were.
func (r Result) rest(o *Options) string {
	if r.Unrecorded == 0 || o.Since > 0 {
		return ""
	}
	return "; " + text.Count(int(r.Unrecorded), "further correction") + " since the hub started: 'skerry events' may have them"
}

// assignments are those of the clusters that are asked for.
func (o *Options) assignments(ctx context.Context, hub *factory.Hub, selector labels.Selector) ([]v1alpha1.Assignment, error) {
	if o.Cluster != "" {
		c, a := &v1alpha1.Cluster{}, &v1alpha1.Assignment{}
		if err := o.GetCluster(ctx, hub, o.Cluster, c); err != nil {
			return nil, err
		}
		if err := hub.Get(ctx, client.ObjectKeyFromObject(c), a); client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("cannot read the Assignment of cluster %s: %w", o.Cluster, err)
		}
		return []v1alpha1.Assignment{*a}, nil
	}
	namespace := o.Flags.Namespace
	if o.AllNamespaces {
		namespace = ""
	}
	list := &v1alpha1.AssignmentList{}
	if err := hub.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("cannot list Assignments: %w", err)
	}
	if selector.Empty() {
		return list.Items, nil
	}
	clusters := &v1alpha1.ClusterList{}
	if err := hub.List(ctx, clusters, client.InNamespace(namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return nil, fmt.Errorf("cannot list Clusters: %w", err)
	}
	selected := map[types.NamespacedName]bool{}
	for i := range clusters.Items {
		selected[client.ObjectKeyFromObject(&clusters.Items[i])] = true
	}
	return slices.DeleteFunc(list.Items, func(a v1alpha1.Assignment) bool { return !selected[client.ObjectKeyFromObject(&a)] }), nil
}

// Collect returns the drift that Assignments report, of one Kustomization when only is not nil. Of what was put
// back it takes what is younger than since, unless that is zero. It is pure.
func Collect(assignments []v1alpha1.Assignment, only *types.NamespacedName, now time.Time, since time.Duration) Result {
	result := Result{Drifts: []Found{}}
	for i := range assignments {
		a := &assignments[i]
		for _, e := range a.Status.Entries {
			if only != nil && v1alpha1.ResolveName(a.Namespace, e.Name) != *only {
				continue
			}
			corrected := int64(0)
			for _, d := range e.Drifts {
				if d.Action == v1alpha1.DriftCorrected {
					corrected++
					if since > 0 && now.Sub(d.At.Time) > since {
						continue
					}
				}
				result.Drifts = append(result.Drifts, found(a, e.Name, d))
			}
			result.Unrecorded += max(0, e.Drift-corrected)
		}
	}
	slices.SortStableFunc(result.Drifts, func(a, b Found) int {
		return cmp.Or(
			-cmp.Compare(order(a), order(b)), b.At.Compare(a.At), cmp.Compare(a.Namespace, b.Namespace),
			cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Kustomization, b.Kustomization), cmp.Compare(a.Object, b.Object),
		)
	})
	return result
}

func order(f Found) int {
	if f.Action == string(v1alpha1.DriftReported) {
		return 1
	}
	return 0
}

func found(a *v1alpha1.Assignment, kustomization string, d v1alpha1.DriftRecord) Found {
	f := Found{
		Namespace: a.Namespace, Cluster: a.Name, Kustomization: iostreams.Line(kustomization), Object: iostreams.Line(d.Object),
		Change: iostreams.Line(string(d.Change)), MorePaths: d.MorePaths, Manager: iostreams.Line(d.Manager),
		At: d.At.UTC(), Action: iostreams.Line(string(d.Action)),
	}
	for _, path := range d.Paths {
		f.Paths = append(f.Paths, iostreams.Line(path))
	}
	return f
}

// Text writes the drift for a person. It is pure.
func Text(r Result, now time.Time, o *Options) string {
	rows := [][]table.Cell{table.Header("NAMESPACE", "CLUSTER", "KUSTOMIZATION", "OBJECT", "BY", "AGE", "NOW", "FIELDS")}
	for _, d := range r.Drifts {
		namespace := ""
		if o.AllNamespaces {
			namespace = d.Namespace
		}
		rows = append(rows, append([]table.Cell{table.Plain(namespace)}, Row(d, now, o.IO)...))
	}
	var b strings.Builder
	table.WriteWithin(&b, rows, o.IO.Width(), GiveWay...)
	return b.String()
}

// GiveWay are the columns that a narrow terminal does without.
var GiveWay = []string{"KUSTOMIZATION", "AGE"}

// Row is a drift in a table: cluster, Kustomization, object, field manager, age, what it is now, fields.
func Row(d Found, now time.Time, s *iostreams.IOStreams) []table.Cell {
	action := table.Painted("put back", s.Green)
	if d.Action == string(v1alpha1.DriftReported) {
		action = table.Painted("differs", s.Yellow)
	}
	by := d.Manager
	if by == "" && d.Change != string(v1alpha1.DriftDeleted) {
		by = "unknown"
	}
	return []table.Cell{
		table.Plain(d.Cluster), table.Plain(d.Kustomization), table.Plain(d.Object), table.Plain(by),
		table.Plain(duration.HumanDuration(max(0, now.Sub(d.At)))), action, table.Plain(fields(d)),
	}
}

// fields returns what of the object was changed.
func fields(d Found) string {
	if d.Change != string(v1alpha1.DriftChanged) {
		return "(" + strings.ToLower(d.Change) + ")"
	}

	list := strings.Join(d.Paths, ", ")
	if d.MorePaths > 0 {
		list += fmt.Sprintf(" and %d more", d.MorePaths)
	}
	return list
}
