package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
)

// SuspendOptions are those of suspend and resume.
type SuspendOptions struct {
	*factory.Factory
	Names    []string
	Selector string
	All      bool
	// Wait lets resume wait until the hub has taken the object up and it is ready.
	Wait bool

	kind    kind
	suspend bool
}

// NewCmdSuspend returns the command; runF replaces what its subcommands run, for tests.
func NewCmdSuspend(f *factory.Factory, runF func(context.Context, *SuspendOptions) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "suspend",
		Short: "Keep the hub from working on something until it is resumed",
		Long: `Keep the hub from working on something until it is resumed. What stands on the clusters stays.
Where its manifest in Git sets spec.suspend, the hub puts that back.`,
		Example: `  # Leave a cluster alone while people work on it
  skerry suspend cluster shop-1

  # Render, apply and correct nothing of two kustomizations
  skerry suspend kustomization web api

  # Fetch nothing any more
  skerry suspend source --all`,
	}
	factory.Group(cmd)
	cmd.AddCommand(
		newCmdSuspend(f, runF, sourceKind(), true, "Fetch nothing of a source"),
		newCmdSuspend(f, runF, kustomizationKind(), true, "Render, apply, prune and correct nothing of a kustomization"),
		newCmdSuspend(f, runF, clusterKind(), true, "Change nothing on a cluster"),
	)
	return cmd
}

// NewCmdResume returns the command; runF replaces what its subcommands run, for tests.
func NewCmdResume(f *factory.Factory, runF func(context.Context, *SuspendOptions) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resume",
		Short: "Let the hub work on something again, and wait for what comes of it",
		Example: `  # Go on with a cluster, and wait until everything on it is verified
  skerry resume cluster shop-1

  # Go on with whatever is suspended, and wait for nothing
  skerry resume kustomization --all --wait=false`,
	}
	factory.Group(cmd)
	cmd.AddCommand(
		newCmdSuspend(f, runF, sourceKind(), false, "Fetch a source again"),
		newCmdSuspend(f, runF, kustomizationKind(), false, "Keep a kustomization on its clusters again"),
		newCmdSuspend(f, runF, clusterKind(), false, "Work on a cluster again"),
	)
	return cmd
}

func newCmdSuspend(f *factory.Factory, runF func(context.Context, *SuspendOptions) error, k kind, suspend bool, short string) *cobra.Command {
	o := &SuspendOptions{Factory: f, kind: k, suspend: suspend}
	if runF == nil {
		runF = runSuspend
	}
	verb := "resume"
	if suspend {
		verb = "suspend"
	}
	cmd := &cobra.Command{
		Use: k.name + " [NAME...]", Aliases: k.aliases, Short: short,
		Example:           fmt.Sprintf("  skerry %s %s NAME\n  skerry %s %s -l tier=shop", verb, k.name, verb, k.name),
		ValidArgsFunction: f.CompleteNames(k.newList),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Names = args
			if err := o.validate(cmd.CommandPath()); err != nil {
				return err
			}
			return runF(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVarP(&o.Selector, "selector", "l", "", "all whose labels match, for example tier=shop")
	cmd.Flags().BoolVar(&o.All, "all", false, "all in the namespace")
	if !suspend {
		cmd.Flags().BoolVar(&o.Wait, "wait", true, "wait until it is ready")
	}
	return cmd
}

// validate refuses a command line that could mean more, or less, than it names.
func (o *SuspendOptions) validate(command string) error {
	ways := 0
	for _, given := range []bool{len(o.Names) > 0, o.Selector != "", o.All} {
		if given {
			ways++
		}
	}
	switch {
	case ways == 0:
		return factory.Usagef("%s needs a name, -l or --all", command)
	case ways > 1:
		return factory.Usagef("%s takes names, -l or --all, and not two of them", command)
	}
	if _, err := labels.Parse(o.Selector); err != nil {
		return factory.Usagef("-l: %s", err)
	}
	return nil
}

func runSuspend(ctx context.Context, o *SuspendOptions) error {
	ctx, cancel := o.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	objects, err := o.objects(ctx, hub)
	if err != nil {
		return err
	}
	var changed []reconcilable
	for _, object := range objects {
		did, err := o.set(ctx, hub, object)
		if err != nil {
			return err
		}
		if did {
			changed = append(changed, object)
		}
	}
	if o.suspend || !o.Wait {
		return nil
	}
	var failed error
	for _, object := range changed {
		failed = errors.Join(failed, one(ctx, o.Factory, hub, o.kind, object, asking{}))
	}
	return failed
}

// objects are those that the command line names, each of which must be there.
func (o *SuspendOptions) objects(ctx context.Context, hub *factory.Hub) ([]reconcilable, error) {
	if len(o.Names) > 0 {
		var named []reconcilable
		for _, name := range o.Names {
			object := o.kind.newOne()
			object.SetNamespace(o.Flags.Namespace)
			object.SetName(name)
			if err := get(ctx, hub, o.kind, object); err != nil {
				return nil, err
			}
			named = append(named, object)
		}
		return named, nil
	}
	selector, err := labels.Parse(o.Selector)
	if err != nil {
		return nil, factory.Usagef("-l: %s", err)
	}
	list := o.kind.newList()
	if err := hub.List(ctx, list, client.InNamespace(o.Flags.Namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return nil, fmt.Errorf("cannot list what there is: %w", err)
	}
	var found []reconcilable
	err = meta.EachListItem(list, func(item runtime.Object) error {
		if object, ok := item.(reconcilable); ok {
			found = append(found, object)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read what there is: %w", err)
	}
	if len(found) == 0 {
		return nil, factory.Next(fmt.Errorf("no %s in the namespace %s matches", o.kind.name, o.Flags.Namespace), "'skerry get %ss --show-labels' shows those that there are; -n names another namespace", o.kind.name)
	}
	slices.SortFunc(found, func(a, b reconcilable) int { return strings.Compare(a.GetName(), b.GetName()) })
	return found, nil
}

// set writes spec.suspend, unless it is that already, and returns whether it wrote.
func (o *SuspendOptions) set(ctx context.Context, hub *factory.Hub, object reconcilable) (bool, error) {
	title := "suspend " + o.kind.name + " " + object.GetName()
	body := []byte(`{"spec":{"suspend":true}}`)
	if !o.suspend {
		title, body = "resume "+o.kind.name+" "+object.GetName(), []byte(`{"spec":{"suspend":null}}`)
	}
	did := o.kind.known(object).suspended != o.suspend
	return did, o.Steps().Do(title, func(s *factory.Step) error {
		switch {
		case !did && o.suspend:
			s.Donef("was suspended already")
			return nil
		case !did:
			s.Donef("was not suspended")
			return nil
		}
		if err := hub.Patch(ctx, object, client.RawPatch(types.MergePatchType, body), client.FieldOwner("skerry-cli")); err != nil {
			return fmt.Errorf("cannot %s: %w", title, err)
		}
		if owner := object.GetLabels()[v1alpha1.OwnerLabel]; owner != "" {
			s.Notef("it comes from Git: where its manifest sets spec.suspend, the hub puts that back")
		}
		return nil
	})
}
