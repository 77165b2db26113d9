package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
)

// everyStage stands in the annotation for all of them.
const everyStage = "*"

func newCmdPromote(f *factory.Factory, runF run) *cobra.Command {
	o := &Options{Factory: f}
	cmd := verb(o, runF, runPromote, &cobra.Command{
		Use:   "promote NAME",
		Short: "Let a stage begin now, or send a change to every cluster",
		Long: `Let the stage that waits for a person, a soak or a window begin now. With --full the change
goes to every cluster without soak, approval and window, whatever fails, even when it was
halted. Either holds for this one change.`,
		Example: `  skerry rollout promote apps
  skerry rollout promote apps --stage shops
  skerry rollout promote apps --full`,
	})
	cmd.Flags().StringVar(&o.Stage, "stage", "", "the stage (default: the one that waits)")
	cmd.Flags().BoolVar(&o.Full, "full", false, "every stage, whatever fails")
	cmd.MarkFlagsMutuallyExclusive("stage", "full")
	_ = cmd.RegisterFlagCompletionFunc("stage", o.completeStage)
	return cmd
}

func (o *Options) completeStage(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), 3*time.Second)
	defer cancel()
	o.Name = args[0]
	_, ks, err := load(ctx, o)
	if err != nil || ks.Status.Rollout == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return stageNames(ks.Status.Rollout), cobra.ShellCompDirectiveNoFileComp
}

func runPromote(ctx context.Context, o *Options) error {
	hub, ks, err := load(ctx, o)
	if err != nil {
		return err
	}
	if err := steerable(ks); err != nil {
		return err
	}
	r := ks.Status.Rollout.DeepCopy()
	stage, err := o.promotable(ks)
	if err != nil {
		return err
	}
	what := "stage " + stage
	if stage == everyStage {
		what = "every stage"
	}
	annotations := map[string]any{v1alpha1.RolloutPromoteAnnotation: r.ID + "/" + stage}
	if ks.Annotations[v1alpha1.RolloutUndoAnnotation] == r.ID {
		annotations[v1alpha1.RolloutUndoAnnotation] = nil
	}
	return ask(ctx, o, hub, ks, request{
		title:       fmt.Sprintf("promote %s to %s of %s", short(r.Revision), what, o.Name),
		annotations: annotations,
		followed: func(ks *v1alpha1.Kustomization) (string, error) {
			return promoted(ks.Status.Rollout, r.ID, stage)
		},
	})
}

// promotable returns the stage to promote, or "*", or why there is none.
func (o *Options) promotable(ks *v1alpha1.Kustomization) (string, error) {
	r := ks.Status.Rollout
	switch {
	case r.Phase == v1alpha1.RolloutCompleted:
		return "", factory.Next(fmt.Errorf("%s is on every cluster already", short(r.Revision)), "there is nothing to do; 'skerry rollout status %s' shows it", o.again())
	case ks.Annotations[v1alpha1.RolloutPausedAnnotation] == "true":
		return "", factory.Next(fmt.Errorf("the rollout of %s is paused", o.Name), "skerry rollout resume %s", o.again())
	case o.Full:
		return everyStage, nil
	case ended(r.Phase), r.Phase == v1alpha1.RolloutRollingBack:
		return "", factory.Next(fmt.Errorf("%s is halted: it goes to no further cluster by itself", short(r.Revision)),
			"push what corrects it, or, to send it to every cluster whatever fails: skerry rollout promote %s --full", o.again())
	case o.Stage != "":
		return o.Stage, knownStage(r, o.Stage)
	}
	stage := waitingStage(r)
	if stage == "" {
		return "", factory.Next(fmt.Errorf("no stage waits for anybody: %s", standing(r)),
			"name one with --stage (%s), or --full for every cluster, whatever fails", strings.Join(stageNames(r), ", "))
	}
	return stage, nil
}

func knownStage(r *v1alpha1.RolloutStatus, name string) error {
	at := slices.IndexFunc(r.Stages, func(s v1alpha1.RolloutStageStatus) bool { return s.Name == name })
	switch {
	case at < 0:
		return factory.Next(factory.Usagef("there is no stage %q", name), "the stages are %s", strings.Join(stageNames(r), ", "))
	case r.Stages[at].Done:
		return factory.Next(fmt.Errorf("stage %s is done already", name), "the stages are %s", strings.Join(stageNames(r), ", "))
	}
	return nil
}

func stageNames(r *v1alpha1.RolloutStatus) []string {
	names := make([]string, len(r.Stages))
	for i, s := range r.Stages {
		names[i] = s.Name
	}
	return names
}

// promoted reports whether the hub has followed the promotion of a stage of the change with that id.
func promoted(r *v1alpha1.RolloutStatus, id, stage string) (string, error) {
	if r == nil || r.ID != id {
		return "", factory.Next(errors.New("a newer change has come in between, which is not promoted"), "'skerry rollout status' shows it; run this again to promote that one")
	}
	if r.Phase == v1alpha1.RolloutCompleted || stage == everyStage && r.Promoted {
		return standing(r), nil
	}
	for _, s := range r.Stages {
		if s.Name == stage && (s.Approved || s.Done) {
			return standing(r), nil
		}
	}
	return "", errNotYet
}
