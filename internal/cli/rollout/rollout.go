// Package rollout is the commands that show and steer how a change reaches the clusters.
//
// What is read, what is made of it and how it is written are apart; the last two are pure. Steering
// is annotations on the Kustomization: the hub alone decides what moves.
package rollout

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// Options of the commands; each verb reads its own.
type Options struct {
	*factory.Factory
	Name string

	Output string // status, history, simulate
	Watch  bool   // status
	Stage  string // promote
	Full   bool   // promote
	Yes    bool   // undo

	Simulate SimulateOptions
}

type run = func(context.Context, *Options) error

// NewCmdRollout returns the command; runF replaces what its subcommands run, for tests.
func NewCmdRollout(f *factory.Factory, runF run) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollout",
		Short: "Show and steer how a change reaches the clusters",
		Long: `A change, which is a commit or an edit of the kustomization, reaches the clusters in stages and
stops by itself when it does harm. These commands show where it stands, let a stage begin,
hold it, undo it, and simulate it beforehand.`,
		Example: `  # Watch a change on its way; exits with 0 when it is on every cluster, and with 1 when it halts
  skerry rollout status apps --watch

  # What would the next change do? Nothing is touched
  skerry rollout simulate apps

  # Let the stage that waits for a person begin
  skerry rollout promote apps

  # Take the last change back from every cluster that has it
  skerry rollout undo apps`,
	}
	factory.Group(cmd)
	cmd.AddCommand(
		newCmdStatus(f, runF), newCmdPause(f, runF), newCmdResume(f, runF), newCmdPromote(f, runF),
		newCmdUndo(f, runF), newCmdHistory(f, runF), newCmdSimulate(f, runF),
	)
	return cmd
}

// verb completes a subcommand that takes the name of one Kustomization.
func verb(o *Options, runF, byDefault run, cmd *cobra.Command) *cobra.Command {
	if runF == nil {
		runF = byDefault
	}
	cmd.Args = factory.OneName
	cmd.ValidArgsFunction = o.CompleteName(func() client.ObjectList { return &v1alpha1.KustomizationList{} })
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.Name = args[0]
		return runF(cmd.Context(), o)
	}
	return cmd
}

// load reads the Kustomization that the command names.
func load(ctx context.Context, o *Options) (*factory.Hub, *v1alpha1.Kustomization, error) {
	hub, err := o.Hub()
	if err != nil {
		return nil, nil, err
	}
	ks := &v1alpha1.Kustomization{}
	err = hub.Get(ctx, client.ObjectKey{Namespace: o.Flags.Namespace, Name: o.Name}, ks)
	switch {
	case err == nil:
		return hub, ks, nil
	case !apierrors.IsNotFound(err):
		return nil, nil, fmt.Errorf("cannot read kustomization %s: %w", o.Name, err)
	}
	names, err := factory.Names(ctx, hub, &v1alpha1.KustomizationList{}, o.Flags.Namespace)
	if err != nil {
		return nil, nil, err
	}
	return nil, nil, factory.NotFound("kustomization", o.Name, o.Flags.Namespace, names)
}

// again is this command line's "-n" for the commands that are named to a person.
func (o *Options) again() string {
	if o.Flags.Namespace == v1alpha1.SystemNamespace {
		return o.Name
	}
	return o.Name + " -n " + o.Flags.Namespace
}

// stamp is a time as it is shown: absolute, so that it does not change while nothing happens.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// short is a revision, cut and clean for a terminal.
func short(revision string) string { return factory.ShortRevision(iostreams.Line(revision)) }
