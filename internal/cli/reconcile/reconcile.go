// Package reconcile is the command that asks the hub to look at something now, and waits for what
// comes of it.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/diagnose"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/wait"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// Options of the command.
type Options struct {
	*factory.Factory
	Name       string
	WithSource bool
	// Once reconciles what is suspended, and leaves it suspended.
	Once bool

	kind kind
}

// NewCmdReconcile returns the command; runF replaces what its subcommands run, for tests.
func NewCmdReconcile(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reconcile",
		Short: "Let the hub look at something now, and wait for what comes of it",
		Example: `  # Fetch the newest commit
  skerry reconcile source fleet

  # Fetch it, and wait until it is on every cluster that can be reached
  skerry reconcile kustomization apps --with-source

  # Bring a suspended one to the newest commit, and leave it suspended
  skerry reconcile kustomization apps --with-source --once

  # Try a cluster now, and verify everything on it
  skerry reconcile cluster shop-1`,
	}
	factory.Group(cmd)
	cmd.AddCommand(
		newCmd(f, runF, sourceKind(), "Fetch a source now"),
		newCmd(f, runF, kustomizationKind(), "Render a kustomization and verify its objects on every cluster now"),
		newCmd(f, runF, clusterKind(), "Try a cluster and verify everything on it now"),
	)
	return cmd
}

func newCmd(f *factory.Factory, runF func(context.Context, *Options) error, k kind, short string) *cobra.Command {
	o := &Options{Factory: f, kind: k}
	if runF == nil {
		runF = runReconcile
	}
	cmd := &cobra.Command{
		Use: k.name + " NAME", Aliases: k.aliases, Short: short,
		Example:           "  skerry reconcile " + k.name + " NAME --timeout 2m",
		Args:              factory.OneName,
		ValidArgsFunction: f.CompleteName(k.newList),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			return runF(cmd.Context(), o)
		},
	}
	if k.name == kustomizationKind().name {
		cmd.Flags().BoolVar(&o.WithSource, "with-source", false, "fetch its source first")
		cmd.Flags().BoolVar(&o.Once, "once", false, "also when it is suspended, which it stays: until it and its rollout have nothing more to do by themselves")
	}
	return cmd
}

func runReconcile(ctx context.Context, o *Options) error {
	ctx, cancel := o.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	revision := ""
	if o.WithSource {
		if revision, err = reconcileSource(ctx, o, hub); err != nil {
			return err
		}
	}
	object := o.kind.newOne()
	object.SetNamespace(o.Flags.Namespace)
	object.SetName(o.Name)
	ask := asking{also: func(v result) result { return atRevision(v, object, revision) }, once: o.Once}
	return one(ctx, o.Factory, hub, o.kind, object, ask)
}

// reconcileSource reconciles the source of the Kustomization and returns its revision.
func reconcileSource(ctx context.Context, o *Options, hub *factory.Hub) (string, error) {
	ks := &v1alpha1.Kustomization{}
	ks.SetNamespace(o.Flags.Namespace)
	ks.SetName(o.Name)
	if err := get(ctx, hub, o.kind, ks); err != nil {
		return "", err
	}
	source := &v1alpha1.GitRepository{}
	key := targeting.SourceOf(ks)
	source.SetNamespace(key.Namespace)
	source.SetName(key.Name)
	if err := one(ctx, o.Factory, hub, sourceKind(), source, asking{}); err != nil {
		return "", err
	}
	if source.Status.Artifact == nil {
		return "", nil
	}
	return source.Status.Artifact.Revision, nil
}

// atRevision waits on until a Kustomization that is done is so at the revision that was fetched.
func atRevision(v result, o client.Object, revision string) result {
	ks, ok := o.(*v1alpha1.Kustomization)
	if ok && v.done && revision != "" && ks.Status.LastAttemptedRevision != revision {
		return result{note: "the hub has not taken up " + revision + " yet"}
	}
	return v
}

// asking is how one object is to be reconciled.
type asking struct {
	// also changes the result of the object; nil leaves it.
	also func(result) result
	// once holds while the object is suspended.
	once bool
}

// one requests and awaits the reconciliation of one object, as one step.
func one(ctx context.Context, f *factory.Factory, hub *factory.Hub, k kind, object reconcilable, ask asking) error {
	if err := get(ctx, hub, k, object); err != nil {
		return err
	}
	title := "reconcile " + k.name + " " + object.GetName()
	if k.known(object).suspended && !ask.once {
		next := fmt.Sprintf("'skerry resume %s %s'", k.name, object.GetName())
		if k.name == kustomizationKind().name {
			next += ", or --once, which leaves it suspended"
		}
		return factory.Next(fmt.Errorf("cannot %s: it is suspended", title), "%s", next)
	}
	return f.Steps().Do(title, func(s *factory.Step) error {
		if err := request(ctx, f, hub, object, ask.once); err != nil {
			return err
		}
		last := result{}
		err := wait.Until(ctx, hub, []client.Object{object}, func() (bool, error) {
			if last = resultOf(object, k.known(object)); ask.also != nil {
				last = ask.also(last)
			}
			if last.note != "" {
				s.Notef("%s", last.note)
			}
			return last.done, last.err
		})
		switch {
		case err == nil:
			s.Donef("%s", k.known(object).outcome)
			return nil
		case errors.Is(err, context.DeadlineExceeded):
			return tooLong(ctx, f, hub, title, last)
		case last.err != nil:
			return factory.Next(fmt.Errorf("cannot %s: %w", title, err), "'skerry status' says what is wrong where, and 'skerry why CLUSTER' why; run this again when it is mended")
		}
		return fmt.Errorf("cannot %s: %w", title, err)
	})
}

func get(ctx context.Context, hub *factory.Hub, k kind, object client.Object) error {
	namespace, name := object.GetNamespace(), object.GetName()
	err := hub.Get(ctx, client.ObjectKeyFromObject(object), object)
	if !apierrors.IsNotFound(err) {
		return err
	}
	names, err := factory.Names(ctx, hub, k.newList(), namespace)
	if err != nil {
		return err
	}
	return factory.NotFound(k.name, name, namespace, names)
}

// request writes a value that was not there before.
func request(ctx context.Context, f *factory.Factory, hub *factory.Hub, object client.Object, once bool) error {
	value := f.Now().Format(time.RFC3339Nano)
	body := v1alpha1.ReconcileRequestPatch(value)
	if once {
		body = v1alpha1.ReconcileOncePatch(value)
	}
	if err := hub.Patch(ctx, object, client.RawPatch(types.MergePatchType, body), client.FieldOwner("skerry-cli")); err != nil {
		return fmt.Errorf("cannot request a reconciliation: %w", err)
	}
	return nil
}

func tooLong(ctx context.Context, f *factory.Factory, hub *factory.Hub, title string, last result) error {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return factory.Next(fmt.Errorf("cannot %s within %s: %s", title, f.Timeout(5*time.Minute), last.note),
		"'skerry status' tells more, --timeout gives it longer; %s", diagnose.Hub(late, hub))
}
