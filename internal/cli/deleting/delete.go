// Package deleting is the command that deletes an object of the hub, and prints first what goes with it on which
// clusters.
package deleting

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/apply"
	"github.com/skerry-dev/skerry/internal/cli/cluster"
	"github.com/skerry-dev/skerry/internal/cli/diagnose"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/wait"
)

// Options of the command.
type Options struct {
	*factory.Factory
	Name           string
	DeletionPolicy string
	Wait           bool
	Yes            bool

	source bool
}

// NewCmdDelete returns the command; runF replaces what its subcommands run, for tests.
func NewCmdDelete(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete",
		Short: "Delete something, and say first what goes with it on which clusters",
		Example: `  skerry delete kustomization web
  skerry delete kustomization web --deletion-policy orphan --yes
  skerry delete source fleet`,
	}
	factory.Group(cmd)
	remove := cluster.NewCmdRemove(f, nil)
	remove.Use, remove.Aliases = "cluster NAME", []string{"cl"}
	remove.Short = "Remove an edge cluster from the hub, as 'skerry cluster remove'"
	remove.Example = strings.ReplaceAll(remove.Example, "skerry cluster remove", "skerry delete cluster")
	cmd.AddCommand(newCmdKustomization(f, runF), newCmdSource(f, runF), remove)
	return cmd
}

func newCmdKustomization(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	cmd := newCmd(f, o, runF, func() client.ObjectList { return &v1alpha1.KustomizationList{} })
	cmd.Use, cmd.Aliases, cmd.Short = "kustomization NAME", []string{"ks"}, "Delete a kustomization, and what it applied unless it is to stay"
	cmd.Long = `Delete a kustomization. What it applied is deleted on every cluster, or stays and belongs to
nobody, as --deletion-policy says, or else its own deletionPolicy and prune. It says first what
that is.`
	cmd.Example = "  skerry delete kustomization web\n  skerry delete kustomization web --deletion-policy orphan --yes"
	cmd.Flags().StringVar(&o.DeletionPolicy, "deletion-policy", "", "delete or orphan what it applied (default: what the kustomization says)")
	_ = cmd.RegisterFlagCompletionFunc("deletion-policy", cobra.FixedCompletions([]string{"delete", "orphan"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func newCmdSource(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f, source: true}
	cmd := newCmd(f, o, runF, func() client.ObjectList { return &v1alpha1.GitRepositoryList{} })
	cmd.Use, cmd.Aliases, cmd.Short = "source NAME", []string{"gitrepository", "gitrepo"}, "Delete a source; what was applied from it stays"
	cmd.Example = "  skerry delete source fleet"
	return cmd
}

func newCmd(f *factory.Factory, o *Options, runF func(context.Context, *Options) error, list func() client.ObjectList) *cobra.Command {
	if runF == nil {
		runF = runDelete
	}
	cmd := &cobra.Command{
		Args:              factory.OneName,
		ValidArgsFunction: f.CompleteName(list),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			return runF(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.Wait, "wait", true, "wait until it is gone")
	cmd.Flags().BoolVarP(&o.Yes, "yes", "y", false, "do not ask; without a terminal it is needed")
	return cmd
}

func runDelete(ctx context.Context, o *Options) error {
	policies := map[string]v1alpha1.DeletionPolicy{"": "", "delete": v1alpha1.DeletionDelete, "orphan": v1alpha1.DeletionOrphan}
	policy, known := policies[strings.ToLower(o.DeletionPolicy)]
	if !known {
		return factory.Usagef("--deletion-policy must be delete or orphan")
	}
	if !o.Yes && !o.IO.CanPrompt() {
		return factory.Usagef("there is no terminal to ask at: --yes is needed")
	}
	ctx, cancel := o.WithTimeout(ctx, 6*time.Minute)
	defer cancel()
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	if o.source {
		return o.deleteSource(ctx, hub)
	}
	return o.deleteKustomization(ctx, hub, policy)
}

func (o *Options) deleteSource(ctx context.Context, hub *factory.Hub) error {
	source := &v1alpha1.GitRepository{}
	if err := o.find(ctx, hub, "source", source, &v1alpha1.GitRepositoryList{}); err != nil {
		return err
	}
	all := &v1alpha1.KustomizationList{}
	if err := hub.List(ctx, all); err != nil {
		return fmt.Errorf("cannot list the Kustomizations: %w", err)
	}
	return o.finish(ctx, hub, source, "source", sourceLines(source, all.Items))
}

func (o *Options) deleteKustomization(ctx context.Context, hub *factory.Hub, policy v1alpha1.DeletionPolicy) error {
	ks := &v1alpha1.Kustomization{}
	if err := o.find(ctx, hub, "kustomization", ks, &v1alpha1.KustomizationList{}); err != nil {
		return err
	}
	assignments, clusters := &v1alpha1.AssignmentList{}, &v1alpha1.ClusterList{}
	if err := errors.Join(hub.List(ctx, assignments), hub.List(ctx, clusters)); err != nil {
		return fmt.Errorf("cannot find out what it has on which clusters: %w", err)
	}
	if policy != "" {
		ks.Spec.DeletionPolicy = policy
	}
	if ks.Namespace == v1alpha1.SystemNamespace && ks.Name == v1alpha1.SystemNamespace && ks.GetDeletionPolicy() == v1alpha1.DeletionDelete {
		return factory.Next(errors.New("this kustomization holds the hub itself, which would have to do the deleting"), "'skerry uninstall' takes the hub off")
	}
	lines := kustomizationLines(ks, assignments.Items, clusters.Items)
	if policy == "" {
		return o.finish(ctx, hub, ks, "kustomization", lines)
	}
	return o.finish(ctx, hub, ks, "kustomization", lines, func() error {
		body, err := json.Marshal(map[string]any{"spec": map[string]any{"deletionPolicy": policy}})
		if err != nil {
			return fmt.Errorf("cannot encode the change: %w", err)
		}
		if err := hub.Patch(ctx, ks, client.RawPatch(types.MergePatchType, body), client.FieldOwner(apply.FieldManager)); err != nil {
			return fmt.Errorf("cannot set deletionPolicy of %s: %w", ks.Name, err)
		}
		return nil
	})
}

// find reads the object. One that Git keeps is refused: its Kustomization would make it again.
func (o *Options) find(ctx context.Context, hub *factory.Hub, kind string, object client.Object, list client.ObjectList) error {
	err := hub.Get(ctx, client.ObjectKey{Namespace: o.Flags.Namespace, Name: o.Name}, object)
	if apierrors.IsNotFound(err) {
		names, err := factory.Names(ctx, hub, list, o.Flags.Namespace)
		if err != nil {
			return err
		}
		return factory.NotFound(kind, o.Name, o.Flags.Namespace, names)
	}
	if err != nil {
		return fmt.Errorf("cannot read %s %s: %w", kind, o.Name, err)
	}
	if owner := object.GetLabels()[v1alpha1.OwnerLabel]; owner != "" && object.GetDeletionTimestamp().IsZero() {
		return factory.Next(fmt.Errorf("the %s %s is kept from Git by %s, which would make it again", kind, o.Name, owner), "delete it in Git")
	}
	return nil
}

// finish announces, asks, prepares, deletes and waits.
func (o *Options) finish(ctx context.Context, hub *factory.Hub, object client.Object, kind string, lines []string, prepare ...func() error) error {
	for _, line := range lines {
		o.IO.Progressf("%s", line)
	}
	if !o.Yes {
		yes, err := o.IO.Confirm(ctx, "Delete "+kind+" "+o.Name+"?")
		if err != nil {
			return err
		}
		if !yes {
			return errors.New("nothing was changed")
		}
	}
	return o.Steps().Do("delete "+kind+" "+o.Name, func(s *factory.Step) error {
		for _, do := range prepare {
			if err := do(); err != nil {
				return err
			}
		}
		uid := object.GetUID()
		if err := hub.Delete(ctx, object, client.Preconditions{UID: &uid}); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("cannot delete %s %s: %w", kind, o.Name, err)
		}
		if !o.Wait {
			s.Donef("is being deleted")
			return nil
		}
		return o.waitGone(ctx, hub, object, uid, s)
	})
}

func (o *Options) waitGone(ctx context.Context, hub *factory.Hub, object client.Object, uid types.UID, s *factory.Step) error {
	stand := "the hub has not looked at it"
	err := wait.Until(ctx, hub, []client.Object{object}, func() (bool, error) {
		if object.GetUID() != uid {
			return true, nil
		}
		if c, ok := object.(v1alpha1.Conditioned); ok {
			if ready := apimeta.FindStatusCondition(c.GetConditions(), v1alpha1.ReadyCondition); ready != nil && ready.Message != "" {
				stand = ready.Message
				s.Notef("%s", stand)
			}
		}
		return false, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return factory.Next(fmt.Errorf("it is not gone yet: %s", stand), "the hub goes on, and this can be run again; %s", diagnose.Hub(late, hub))
	}
	if err == nil {
		s.Donef("gone")
	}
	return err
}
