// Package events is the command that shows the events of the hub's kinds.
package events

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/cli/table"
	"github.com/skerry-dev/skerry/internal/report"
)

// Options of the command.
type Options struct {
	*factory.Factory
	AllNamespaces bool
	For           string
	Types         []string
	Since         time.Duration
	Watch         bool
	Output        string

	kind, name string // of For
}

// kinds are what --for may call them.
var kinds = map[string]string{
	"kustomization": v1alpha1.KustomizationKind, "kustomizations": v1alpha1.KustomizationKind, "ks": v1alpha1.KustomizationKind, "skks": v1alpha1.KustomizationKind,
	"source": v1alpha1.GitRepositoryKind, "gitrepository": v1alpha1.GitRepositoryKind, "gitrepositories": v1alpha1.GitRepositoryKind, "gitrepo": v1alpha1.GitRepositoryKind, "skrepo": v1alpha1.GitRepositoryKind,
	"cluster": v1alpha1.ClusterKind, "clusters": v1alpha1.ClusterKind, "cl": v1alpha1.ClusterKind, "skcl": v1alpha1.ClusterKind,
}

// NewCmdEvents returns the command; runF replaces what it runs, for tests.
func NewCmdEvents(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	if runF == nil {
		runF = runEvents
	}
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what happened: commits, drift, rollouts, failures",
		Long: `Show the events of sources, kustomizations and clusters, the oldest first. Those of a kustomization
begin with the cluster that they are of; --for cluster/NAME shows them beside those of the Cluster
itself. Where many clusters prune at once, one event sums up all beyond the tenth: it is shown for each
of the clusters that it names, and for all where it does not name all.

An API server keeps events for an hour unless it is told otherwise.`,
		Example: `  skerry events
  skerry events --for kustomization/apps --watch
  skerry events --for cluster/shop-1 --types Warning --since 10m`,
		Args: factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			return runF(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&o.AllNamespaces, "all-namespaces", "A", false, "of all namespaces")
	flags.StringVar(&o.For, "for", "", "of this object: KIND/NAME, for example kustomization/apps")
	flags.StringSliceVar(&o.Types, "types", nil, "of these types: Normal, Warning")
	flags.DurationVar(&o.Since, "since", 0, "of this time, for example 10m")
	flags.BoolVarP(&o.Watch, "watch", "w", false, "go on with what happens")
	factory.AddOutputFlag(cmd, &o.Output)
	cmd.MarkFlagsMutuallyExclusive("watch", "output")
	_ = cmd.RegisterFlagCompletionFunc("types", cobra.FixedCompletions([]string{"Normal", "Warning"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("for", completeFor(f))
	return cmd
}

func (o *Options) validate() error {
	for _, t := range o.Types {
		if !strings.EqualFold(t, corev1.EventTypeNormal) && !strings.EqualFold(t, corev1.EventTypeWarning) {
			return factory.Usagef("--types must be Normal or Warning, and not %q", t)
		}
	}
	if o.For == "" {
		return nil
	}
	kind, name, ok := strings.Cut(o.For, "/")
	o.kind, o.name = kinds[strings.ToLower(kind)], name
	if !ok || o.kind == "" || name == "" {
		return factory.Usagef("--for is KIND/NAME, where KIND is source, kustomization or cluster, and not %q", o.For)
	}
	return nil
}

func completeFor(f *factory.Factory) cobra.CompletionFunc {
	lists := []struct {
		prefix string
		list   func() client.ObjectList
	}{
		{"kustomization/", func() client.ObjectList { return &v1alpha1.KustomizationList{} }},
		{"source/", func() client.ObjectList { return &v1alpha1.GitRepositoryList{} }},
		{"cluster/", func() client.ObjectList { return &v1alpha1.ClusterList{} }},
	}
	return func(cmd *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var out []cobra.Completion
		for _, l := range lists {
			if !strings.HasPrefix(toComplete, l.prefix) {
				if strings.HasPrefix(l.prefix, toComplete) {
					out = append(out, l.prefix)
				}
				continue
			}
			names, directive := f.CompleteName(l.list)(cmd, nil, "")
			if directive == cobra.ShellCompDirectiveError {
				return nil, directive
			}
			for _, name := range names {
				out = append(out, l.prefix+name)
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		}
		return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

// Event is one event as it is printed. Its texts are clean for a terminal.
type Event struct {
	Namespace string    `json:"namespace"`
	At        time.Time `json:"at"`
	Count     int32     `json:"count,omitempty"`
	Type      string    `json:"type"`
	Reason    string    `json:"reason"`
	Kind      string    `json:"kind"`
	Name      string    `json:"name"`
	Message   string    `json:"message"`
}

func runEvents(ctx context.Context, o *Options) error {
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	asking, cancel := o.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	namespace := o.Flags.Namespace
	if o.AllNamespaces {
		namespace = ""
	}
	list := &corev1.EventList{}
	if err := hub.List(asking, list, client.InNamespace(namespace)); err != nil {
		return fmt.Errorf("cannot list events: %w", err)
	}
	events := o.Pick(list.Items, o.Now())
	switch {
	case o.Output != "":
		return factory.Print(o.IO.Out, o.Output, events)
	case len(events) == 0 && !o.Watch:
		o.IO.Progressf("there are no events")
		return nil
	}
	if len(events) > 0 {
		if err := o.write(Text(events, o.Now(), o)); err != nil {
			return err
		}
	}
	if !o.Watch {
		return nil
	}
	return o.follow(ctx, hub, namespace, list.ResourceVersion)
}

// follow writes a line for each event from a resourceVersion on. A watch that ends is begun again where it ended.
func (o *Options) follow(ctx context.Context, hub *factory.Hub, namespace, from string) error {
	for {
		w, err := hub.Watch(ctx, &corev1.EventList{}, &client.ListOptions{Namespace: namespace, Raw: rawFrom(from)})
		if err != nil {
			return fmt.Errorf("cannot watch events: %w", err)
		}
		for e := range w.ResultChan() {
			event, is := e.Object.(*corev1.Event)
			if e.Type == watch.Error {
				w.Stop()
				return fmt.Errorf("cannot watch events: %w", statusError(e))
			}
			if !is {
				continue
			}
			from = event.ResourceVersion
			if e.Type == watch.Deleted {
				continue
			}
			for _, one := range o.Pick([]corev1.Event{*event}, o.Now()) {
				if err := o.write(Line(one, o) + "\n"); err != nil {
					w.Stop()
					return err
				}
			}
		}
		w.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (o *Options) write(text string) error {
	if _, err := io.WriteString(o.IO.Out, text); err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	return nil
}

// Pick returns the events that are asked for, the oldest first. It is pure.
func (o *Options) Pick(all []corev1.Event, now time.Time) []Event {
	out := []Event{}
	for i := range all {
		e := &all[i]
		of := e.InvolvedObject
		if !strings.HasPrefix(of.APIVersion, v1alpha1.Group+"/") || !o.isFor(e) {
			continue
		}
		if len(o.Types) > 0 && !slices.ContainsFunc(o.Types, func(t string) bool { return strings.EqualFold(t, e.Type) }) {
			continue
		}
		at, count := seen(e)
		if o.Since > 0 && now.Sub(at) > o.Since {
			continue
		}
		out = append(out, Event{
			Namespace: e.Namespace, At: at.UTC(), Count: count, Type: iostreams.Line(e.Type), Reason: iostreams.Line(e.Reason),
			Kind: iostreams.Line(of.Kind), Name: iostreams.Line(of.Name), Message: iostreams.Line(e.Message),
		})
	}
	slices.SortStableFunc(out, func(a, b Event) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// isFor reports whether an event is of the object that is asked for. An event of an engine is of a Kustomization,
// and begins with the name of the Cluster; it may stand for those of others as well.
func (o *Options) isFor(e *corev1.Event) bool {
	of := e.InvolvedObject
	switch {
	case o.For == "", of.Kind == o.kind && of.Name == o.name:
		return true
	case o.kind != v1alpha1.ClusterKind:
		return false
	}
	where, _, ok := strings.Cut(e.Message, ": ")
	return ok && slices.ContainsFunc([]string{o.name, e.Namespace + "/" + o.name}, func(name string) bool {
		return where == name || report.StandsFor(e.Annotations, name)
	})
}

// seen is when an event happened last, and how often it did.
func seen(e *corev1.Event) (time.Time, int32) {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time, e.Series.Count
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time, e.Count
	case !e.EventTime.IsZero():
		return e.EventTime.Time, e.Count
	}
	return e.CreationTimestamp.Time, e.Count
}

// Text writes events for a person. It is pure.
func Text(events []Event, now time.Time, o *Options) string {
	rows := [][]table.Cell{table.Header("NAMESPACE", "AGE", "TYPE", "REASON", "OBJECT", "MESSAGE")}
	for _, e := range events {
		namespace := ""
		if o.AllNamespaces {
			namespace = e.Namespace
		}
		age := duration.HumanDuration(max(0, now.Sub(e.At)))
		if e.Count > 1 {
			age += fmt.Sprintf(" (x%d)", e.Count)
		}
		rows = append(rows, []table.Cell{
			table.Plain(namespace), table.Plain(age), table.Painted(e.Type, o.colour(e)), table.Plain(e.Reason),
			table.Plain(e.Kind + "/" + e.Name), table.Plain(factory.ShortRevisions(e.Message)),
		})
	}
	var b strings.Builder
	table.WriteWithin(&b, rows, o.IO.Width(), "TYPE")
	return b.String()
}

// Line is one event in a line, for --watch.
func Line(e Event, o *Options) string {
	name := e.Kind + "/" + e.Name
	if o.AllNamespaces {
		name = e.Kind + "/" + e.Namespace + "/" + e.Name
	}
	return fmt.Sprintf("%s  %s  %s  %s  %s", e.At.Format("15:04:05"), o.colour(e)(e.Type), e.Reason, name, factory.ShortRevisions(e.Message))
}

func (o *Options) colour(e Event) func(string) string {
	if e.Type == corev1.EventTypeWarning {
		return o.IO.Yellow
	}
	return func(text string) string { return text }
}
