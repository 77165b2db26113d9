package cluster

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/cli/status"
	"github.com/skerry-dev/skerry/internal/cli/table"
)

// ListOptions are those of list.
type ListOptions struct {
	*factory.Factory
	AllNamespaces bool
	Selector      string
	Output        string
	NoHeaders     bool
}

// NewCmdList returns the command; runF replaces what it runs, for tests.
func NewCmdList(f *factory.Factory, runF func(context.Context, *ListOptions) error) *cobra.Command {
	o := &ListOptions{Factory: f}
	if runF == nil {
		runF = runList
	}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List clusters: how they are reached, whether they answer, and how much of them is ready",
		Long: `List clusters: how the hub reaches them, whether they answer and since when not, which Kubernetes
they run, and on how many of their kustomizations they are ready.

MODE is push where the hub reaches the cluster, agent where an agent there reaches the hub, and hub
for the hub's own cluster. KNOWN is how old what is known of the cluster is.

Of an agent, CONNECTED is for how long its connection has stood, or "pending" until the first agent
of the cluster reports, and again when its key was taken away, "pending approval" while one that has
joined waits for 'skerry cluster approve'. BEHIND is on how many kustomizations the cluster does not
have what the hub wants, and for how long, and WAS AWAY, for an hour after a return, how long the hub
had not heard from it, and how much drift it put back meanwhile.`,
		Example: `  skerry cluster list
  skerry cluster list -l region=north -o wide
  skerry cluster list -A -o json | jq -r '.[] | select(.reachable != "ready") | .name'`,
		Args: factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runF(cmd.Context(), o) },
	}
	cmd.Flags().BoolVarP(&o.AllNamespaces, "all-namespaces", "A", false, "of all namespaces")
	cmd.Flags().StringVarP(&o.Selector, "selector", "l", "", "those whose labels match, for example tier=shop")
	cmd.Flags().BoolVar(&o.NoHeaders, "no-headers", false, "print no headings")
	factory.AddOutputFlag(cmd, &o.Output, "wide", "name")
	return cmd
}

// Listed is one row of the list. Its texts are clean for a terminal.
type Listed struct {
	Namespace string            `json:"namespace"`
	Name      string            `json:"name"`
	Mode      string            `json:"mode"`
	State     status.State      `json:"state"`
	Reason    string            `json:"reason,omitempty"`
	Reachable status.State      `json:"reachable"`
	LastSeen  *time.Time        `json:"lastSeen,omitempty"`
	Version   string            `json:"version,omitempty"`
	Agent     *status.Agent     `json:"agent,omitempty"`
	Ready     int               `json:"ready"`
	Total     int               `json:"total"`
	Labels    map[string]string `json:"labels,omitempty"`
	Vars      map[string]string `json:"vars,omitempty"`
	// VarsFrom names the ConfigMaps and Secrets that hold further variables, "Secret/shop-1".
	VarsFrom []string `json:"varsFrom,omitempty"`
}

func runList(ctx context.Context, o *ListOptions) error {
	selector, err := labels.Parse(o.Selector)
	if err != nil {
		return factory.Usagef("-l: %s", err)
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
	facts, err := status.Gather(ctx, hub, namespace, o.Now)
	if err != nil {
		return err
	}
	list := List(facts, selector)
	switch o.Output {
	case "json", "yaml":
		return factory.Print(o.IO.Out, o.Output, list)
	case "name":
		var b strings.Builder
		for _, c := range list {
			fmt.Fprintf(&b, "cluster.%s/%s\n", v1alpha1.Group, c.Name)
		}
		return o.write(b.String())
	}
	if len(list) == 0 {
		o.IO.Progressf("there are no clusters; 'skerry cluster join NAME --from-kubeconfig FILE' adds one")
		return nil
	}
	return o.write(ListText(list, facts.Now, *o))
}

func (o *ListOptions) write(text string) error {
	if _, err := io.WriteString(o.IO.Out, text); err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	return nil
}

// List makes the rows, sorted by namespace and name. It is pure.
func List(facts status.Facts, selector labels.Selector) []Listed {
	specs := map[[2]string]*v1alpha1.Cluster{}
	for i := range facts.Clusters {
		c := &facts.Clusters[i]
		specs[[2]string{c.Namespace, c.Name}] = c
	}
	list := []Listed{}
	for _, c := range status.Summarize(facts).Clusters {
		spec := specs[[2]string{c.Namespace, c.Name}]
		if !selector.Matches(labels.Set(spec.Labels)) {
			continue
		}
		one := Listed{
			Namespace: c.Namespace, Name: c.Name, Mode: mode(spec), State: c.State, Reason: c.Reason, Reachable: c.Reachable,
			LastSeen: c.LastSeen, Version: c.Version, Agent: c.Agent, Total: len(c.Runs), Labels: spec.Labels,
		}
		for _, run := range c.Runs {
			if run.State == status.Ready {
				one.Ready++
			}
		}
		for name, value := range spec.Spec.Vars {
			if one.Vars == nil {
				one.Vars = map[string]string{}
			}
			one.Vars[name] = iostreams.Line(string(value))
		}
		for _, from := range spec.Spec.VarsFrom {
			one.VarsFrom = append(one.VarsFrom, iostreams.Line(from.Kind+"/"+from.Name))
		}
		list = append(list, one)
	}
	return list
}

func mode(c *v1alpha1.Cluster) string {
	switch {
	case c.Name == v1alpha1.HubCluster:
		return "hub"
	case c.Spec.Agent != nil:
		return "agent"
	}
	return "push"
}

// ListText writes the rows for a person. It is pure.
func ListText(list []Listed, now time.Time, o ListOptions) string {
	v := status.View{Now: now, Namespaces: o.AllNamespaces, IO: o.IO}
	header := slices.Concat([]string{"NAMESPACE", "NAME", "MODE", "READY", "REACHABLE", "KNOWN", "VERSION", "KUSTOMIZATIONS"}, status.AgentHeader(), []string{"LABELS", "VARS"})
	rows := [][]table.Cell{table.Header(header...)}
	for _, c := range list {
		labels, vars := table.Cell{}, table.Cell{}
		if o.Output == "wide" {
			labels, vars = table.Plain(pairs(c.Labels)), table.Plain(strings.Join(slices.DeleteFunc(append([]string{pairs(c.Vars)}, c.VarsFrom...), isEmpty), ","))
		}
		rows = append(rows, slices.Concat([]table.Cell{
			v.Namespace(c.Namespace), table.Plain(c.Name), table.Plain(c.Mode), v.State(c.State), v.Reachable(c.Reachable), table.Plain(v.Known(c.Reachable, c.LastSeen)),
			table.Plain(c.Version), table.Plain(fmt.Sprintf("%d/%d", c.Ready, c.Total)),
		}, v.AgentCells(c.Agent), []table.Cell{labels, vars}))
	}
	var b strings.Builder
	table.WriteWithin(&b, rows, o.IO.Width(), "AGENT", "VERSION", "WAS AWAY", "CONNECTED", "KNOWN", "MODE", "KUSTOMIZATIONS")
	text := b.String()
	if o.NoHeaders {
		_, text, _ = strings.Cut(text, "\n")
	}
	return text
}

func isEmpty(text string) bool { return text == "" }

// pairs is "a=1,b=2", sorted.
func pairs(of map[string]string) string {
	out := make([]string, 0, len(of))
	for _, name := range slices.Sorted(maps.Keys(of)) {
		out = append(out, name+"="+of[name])
	}
	return strings.Join(out, ",")
}
