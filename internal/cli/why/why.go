// Package why is the command that explains why a cluster does not run what Git says.
package why

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/cli/status"
	"github.com/skerry-dev/skerry/internal/explain"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// Options of the command.
type Options struct {
	*factory.Factory
	Cluster       string
	Kustomization string
	Output        string
}

// NewCmdWhy returns the command; runF replaces what it runs, for tests.
func NewCmdWhy(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	if runF == nil {
		runF = runWhy
	}
	cmd := &cobra.Command{
		Use:   "why CLUSTER [KUSTOMIZATION]",
		Short: "Say why a cluster does not run what Git says",
		Long: `Say in a paragraph for each kustomization why a cluster does not run what Git says: from the source
that cannot be fetched over the render, the rollout and its stages to the object that is not
healthy. The rollout planner that the hub runs is asked for its own reason.

HEAD is the last commit that the hub has fetched. What is not known now, because the hub or the
cluster does not answer, is never called fine.

The exit code is 0 when the cluster is at HEAD of each, and 1 when it is not.`,
		Example: `  skerry why shop-1
  skerry why shop-1 apps
  skerry why shop-1 apps -o json | jq -r '.[].causes[0].reason'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) > 2 {
				return factory.Usagef("%s takes the name of a cluster, and may be given that of a kustomization", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Cluster = args[0]
			if len(args) > 1 {
				o.Kustomization = args[1]
			}
			return runF(cmd.Context(), o)
		},
	}
	cmd.ValidArgsFunction = f.CompleteEach(
		func() client.ObjectList { return &v1alpha1.ClusterList{} },
		func() client.ObjectList { return &v1alpha1.KustomizationList{} },
	)
	factory.AddOutputFlag(cmd, &o.Output)
	return cmd
}

// Answer is one answer as it is printed.
type Answer struct {
	Cluster       string     `json:"cluster"`
	Kustomization string     `json:"kustomization"`
	AtHead        bool       `json:"atHead"`
	Head          string     `json:"head,omitempty"`
	Wanted        string     `json:"wanted,omitempty"`
	Applied       string     `json:"applied,omitempty"`
	VerifiedAt    *time.Time `json:"verifiedAt,omitempty"`
	Causes        []Cause    `json:"causes"`
	Text          string     `json:"text"`
}

// Cause is one reason, and what to do about it where that is known.
type Cause struct {
	Kind    string `json:"kind"`
	Name    string `json:"name,omitempty"`
	Reason  string `json:"reason"`
	Message string `json:"message,omitempty"`
	Next    string `json:"next,omitempty"`
}

func runWhy(ctx context.Context, o *Options) error {
	ctx, cancel := o.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	k, err := load(ctx, o, hub)
	if err != nil {
		return err
	}
	list := k.named(o)
	if len(list) == 0 {
		return o.none(k)
	}
	answers, all := []Answer{}, true
	for _, ks := range list {
		why, err := k.why(ctx, ks)
		if err != nil {
			return err
		}
		answers, all = append(answers, answerOf(why, k.now)), all && why.AtHead
	}
	if o.Output != "" {
		err = factory.Print(o.IO.Out, o.Output, answers)
	} else if _, err = io.WriteString(o.IO.Out, text(answers, o)); err != nil {
		err = fmt.Errorf("cannot write: %w", err)
	}
	if err == nil && !all {
		err = factory.ErrSilent
	}
	return err
}

// none is the error for a Kustomization that is not there, or for a cluster that gets none.
func (o *Options) none(k *knowledge) error {
	if o.Kustomization == "" {
		err := fmt.Errorf("no kustomization selects cluster %s", k.cluster.Name)
		if ready := apimeta.FindStatusCondition(k.cluster.Status.Conditions, v1alpha1.ReadyCondition); ready != nil && ready.Status != metav1.ConditionTrue {
			err = fmt.Errorf("%w, which is not ready itself: %s: %s", err, ready.Reason, iostreams.Line(ready.Message))
		}
		return factory.Next(err, "'skerry get kustomizations -A' lists them; spec.clusters of one selects by label")
	}
	var names []string
	for i := range k.kustomizations {
		names = append(names, v1alpha1.RelativeName(o.Flags.Namespace, client.ObjectKeyFromObject(&k.kustomizations[i])))
	}
	return factory.NotFound("kustomization", o.Kustomization, o.Flags.Namespace, names)
}

func answerOf(w explain.Why, now time.Time) Answer {
	a := Answer{
		Cluster: w.Cluster.Name, Kustomization: v1alpha1.RelativeName(w.Cluster.Namespace, w.Kustomization), AtHead: w.AtHead,
		Head: w.Head, Wanted: w.Wanted, Applied: w.Applied, Causes: []Cause{}, Text: w.Paragraph(now),
	}
	if !w.VerifiedAt.IsZero() {
		a.VerifiedAt = &w.VerifiedAt
	}
	for _, c := range w.Causes {
		name := ""
		if c.Name.Name != "" {
			name = v1alpha1.RelativeName(w.Cluster.Namespace, c.Name)
		}
		a.Causes = append(a.Causes, Cause{Kind: c.Kind, Name: name, Reason: c.Reason, Message: c.Message, Next: next(c)})
	}
	return a
}

func next(c explain.Cause) string {
	flag := ""
	if c.Name.Namespace != "" && c.Name.Namespace != v1alpha1.SystemNamespace {
		flag = " -n " + c.Name.Namespace
	}
	switch c.Reason {
	case explain.HubNotRunning:
		return "skerry logs; kubectl -n " + v1alpha1.SystemNamespace + " get pods"
	case v1alpha1.SuspendedReason:
		return "skerry resume " + map[string]string{
			v1alpha1.GitRepositoryKind: "source", v1alpha1.KustomizationKind: "kustomization", v1alpha1.ClusterKind: "cluster",
		}[c.Kind] + " " + c.Name.Name + flag
	case v1alpha1.RolloutWaitingReason:
		return "skerry rollout status " + c.Name.Name + flag
	}
	return status.Next(status.Problem{Kind: c.Kind, Namespace: c.Name.Namespace, Name: c.Name.Name, State: status.NotReady, Reason: c.Reason, Message: c.Message})
}

// text writes the answers, each as a paragraph, wrapped to a terminal.
func text(answers []Answer, o *Options) string {
	var b strings.Builder
	for i, a := range answers {
		if i > 0 {
			b.WriteString("\n")
		}
		mark := o.IO.Green("✔")
		if !a.AtHead {
			mark = o.IO.Red("✗")
		}
		paragraph := factory.ShortRevisions(a.Text)
		b.WriteString(mark + " " + o.IO.Wrap(paragraph, "  ") + "\n")
		for _, c := range a.Causes {
			if c.Next != "" {
				b.WriteString("  next: " + c.Next + "\n")
				break
			}
		}
	}
	return b.String()
}

// knowledge is what was read of the hub.
type knowledge struct {
	hub            *factory.Hub
	now            time.Time
	down           string
	cluster        *v1alpha1.Cluster
	assignment     *v1alpha1.Assignment
	kustomizations []v1alpha1.Kustomization
	sources        map[types.NamespacedName]*v1alpha1.GitRepository
	access         targeting.Access
}

func load(ctx context.Context, o *Options, hub *factory.Hub) (*knowledge, error) {
	k := &knowledge{hub: hub, cluster: &v1alpha1.Cluster{}, assignment: &v1alpha1.Assignment{}, sources: map[types.NamespacedName]*v1alpha1.GitRepository{}}
	if err := o.GetCluster(ctx, hub, o.Cluster, k.cluster); err != nil {
		return nil, err
	}
	err := hub.Get(ctx, client.ObjectKeyFromObject(k.cluster), k.assignment)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("cannot read the Assignment of cluster %s: %w", k.cluster.Name, err)
	}
	if err != nil {
		k.assignment = nil
	}
	list := &v1alpha1.KustomizationList{}
	if err := hub.List(ctx, list); apierrors.IsForbidden(err) { // of a tenant, who sees those of one namespace
		err = hub.List(ctx, list, client.InNamespace(k.cluster.Namespace))
		if err != nil {
			return nil, fmt.Errorf("cannot list Kustomizations: %w", err)
		}
		o.IO.Progressf("kustomizations of other namespaces than %s may not be listed", k.cluster.Namespace)
	} else if err != nil {
		return nil, fmt.Errorf("cannot list Kustomizations: %w", err)
	}
	k.kustomizations = list.Items
	lease, err := status.ReadLease(ctx, hub)
	if err != nil {
		return nil, err
	}
	k.now = o.Now()
	if h := status.HubReport(status.Facts{Now: k.now, Server: hub.Config.Host, Lease: lease}); h.State == status.NotReady {
		k.down = h.Reason
	}
	return k, nil
}

// named returns the Kustomizations that are asked for, sorted: the named one, or those that select the cluster
// or have something there.
func (k *knowledge) named(o *Options) []*v1alpha1.Kustomization {
	var out []*v1alpha1.Kustomization
	for i := range k.kustomizations {
		ks := &k.kustomizations[i]
		if o.Kustomization != "" {
			if client.ObjectKeyFromObject(ks) == v1alpha1.ResolveName(o.Flags.Namespace, o.Kustomization) {
				return []*v1alpha1.Kustomization{ks}
			}
			continue
		}
		entry, _ := explain.EntryOf(k.assignment, client.ObjectKeyFromObject(ks))
		selection, err := targeting.Select(ks, []v1alpha1.Cluster{*k.cluster}, k.access)
		if entry != nil || err == nil && len(selection.Targets) > 0 {
			out = append(out, ks)
		}
	}
	slices.SortFunc(out, func(a, b *v1alpha1.Kustomization) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return out
}

// why answers for one Kustomization. The whole fleet is read only where the planner has to be asked.
func (k *knowledge) why(ctx context.Context, ks *v1alpha1.Kustomization) (explain.Why, error) {
	facts := explain.Facts{Now: k.now, HubDown: k.down, Kustomization: ks, Cluster: k.cluster, Assignment: k.assignment, Access: k.access}
	key := targeting.SourceOf(ks)
	if _, known := k.sources[key]; !known {
		source := &v1alpha1.GitRepository{}
		err := k.hub.Get(ctx, key, source)
		switch {
		case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
			source = nil
		case err != nil:
			return explain.Why{}, fmt.Errorf("cannot read GitRepository %s: %w", key, err)
		}
		k.sources[key] = source
	}
	facts.Source = k.sources[key]
	for _, name := range targeting.Dependencies(ks) {
		i := slices.IndexFunc(k.kustomizations, func(d v1alpha1.Kustomization) bool { return client.ObjectKeyFromObject(&d) == name })
		if i >= 0 {
			facts.Dependencies = append(facts.Dependencies, &k.kustomizations[i])
		}
	}
	why := explain.Explain(facts)
	if !why.NeedsFleet {
		return why, nil
	}
	var err error
	if facts.Fleet, facts.Access, err = k.fleet(ctx, ks); err != nil {
		return explain.Why{}, err
	}
	why = explain.Explain(facts)
	if why.NeedsFleet {
		return why, errors.New("the rollout planner has no answer")
	}
	return why, nil
}

func (k *knowledge) fleet(ctx context.Context, ks *v1alpha1.Kustomization) (*explain.Fleet, targeting.Access, error) {
	clusters, access, err := factory.Selectable(ctx, k.hub, ks)
	if err != nil {
		return nil, access, err
	}
	list := &v1alpha1.AssignmentList{}
	if err := k.hub.List(ctx, list, factory.InClusterNamespaces(ks)...); err != nil {
		return nil, access, fmt.Errorf("cannot list Assignments: %w", err)
	}
	return &explain.Fleet{Clusters: clusters, Assignments: list.Items}, access, nil
}
