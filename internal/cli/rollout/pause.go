package rollout

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/text"
)

func newCmdPause(f *factory.Factory, runF run) *cobra.Command {
	return verb(&Options{Factory: f}, runF, runPause, &cobra.Command{
		Use:   "pause NAME",
		Short: "Start no further cluster",
		Long: `Start no further cluster. Those that were sent the change already go on, and sending clusters
back goes on as well. It holds for later changes too, until it is resumed.`,
		Example: "  skerry rollout pause apps",
	})
}

func newCmdResume(f *factory.Factory, runF run) *cobra.Command {
	return verb(&Options{Factory: f}, runF, runResume, &cobra.Command{
		Use:     "resume NAME",
		Short:   "Go on with what was paused",
		Long:    `Go on with what was paused, from where it stood.`,
		Example: "  skerry rollout resume apps",
	})
}

func runPause(ctx context.Context, o *Options) error {
	hub, ks, err := load(ctx, o)
	if err != nil {
		return err
	}
	return ask(ctx, o, hub, ks, request{
		title:       "pause the rollout of " + o.Name,
		annotations: map[string]any{v1alpha1.RolloutPausedAnnotation: "true"},
		followed:    paused,
	})
}

// paused returns what a pause means for what goes on. Where nothing is started anyway, there is nothing
// to wait for.
func paused(ks *v1alpha1.Kustomization) (string, error) {
	r := ks.Status.Rollout
	switch {
	case ks.Spec.Suspend, r == nil, ended(r.Phase):
		return "nothing is under way; the next change waits until it is resumed", nil
	case r.Phase == v1alpha1.RolloutRollingBack:
		return "clusters are being sent back, which goes on; nothing else is started", nil
	case r.Phase != v1alpha1.RolloutPaused:
		return "", errNotYet
	}
	waits := int32(0)
	for _, s := range r.Stages {
		waits += s.Updated - s.Ready - s.Failed
	}
	if waits <= 0 {
		return "nothing new is started", nil
	}
	return fmt.Sprintf("%s under way; nothing new is started", countOf(waits)), nil
}

func runResume(ctx context.Context, o *Options) error {
	hub, ks, err := load(ctx, o)
	if err != nil {
		return err
	}
	if ks.Annotations[v1alpha1.RolloutPausedAnnotation] == "" {
		return factory.Next(errors.New("the rollout of "+o.Name+" is not paused"), "'skerry rollout status %s' shows where it stands; a suspended kustomization goes on with 'skerry resume kustomization'", o.again())
	}
	return ask(ctx, o, hub, ks, request{
		title:       "resume the rollout of " + o.Name,
		annotations: map[string]any{v1alpha1.RolloutPausedAnnotation: nil},
		followed:    resumed,
	})
}

func resumed(ks *v1alpha1.Kustomization) (string, error) {
	r := ks.Status.Rollout
	switch {
	case ks.Spec.Suspend:
		return "nothing moves: the kustomization is suspended", nil
	case r == nil:
		return "nothing is under way", nil
	case r.Phase == v1alpha1.RolloutPaused:
		return "", errNotYet
	}
	return standing(r), nil
}

// ended reports whether nothing more happens by itself.
func ended(p v1alpha1.RolloutPhase) bool {
	return p == v1alpha1.RolloutCompleted || p == v1alpha1.RolloutHalted || p == v1alpha1.RolloutRolledBack
}

// standing is where a rollout stands, in one line.
func standing(r *v1alpha1.RolloutStatus) string {
	return phaseText(r.Phase, r.Message)
}

// countOf returns how many clusters.
func countOf(n int32) string {
	return text.Count(int(n), "cluster")
}
