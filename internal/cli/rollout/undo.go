package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/rollout"
)

func newCmdUndo(f *factory.Factory, runF run) *cobra.Command {
	o := &Options{Factory: f}
	cmd := verb(o, runF, runUndo, &cobra.Command{
		Use:   "undo NAME",
		Short: "Send the clusters back to what they had before the last change",
		Long: `Halt the last change and send every cluster that has it back to what was verified there
before, from the hub's store and without Git. The change goes to no cluster again unless it
is promoted with --full; the next commit goes its own way.

On a terminal it asks first.`,
		Example: `  skerry rollout undo apps
  skerry rollout undo apps --yes`,
	})
	cmd.Flags().BoolVarP(&o.Yes, "yes", "y", false, "do not ask")
	return cmd
}

func runUndo(ctx context.Context, o *Options) error {
	hub, ks, err := load(ctx, o)
	if err != nil {
		return err
	}
	if err := steerable(ks); err != nil {
		return err
	}
	id, revision := ks.Status.Rollout.ID, short(ks.Status.Rollout.Revision)
	back, err := wayBack(ctx, o, hub, ks)
	if err != nil {
		return err
	}
	if ok, err := o.sure(ctx, fmt.Sprintf("Take %s back and send %s?", revision, back)); !ok || err != nil {
		return err
	}
	annotations := map[string]any{v1alpha1.RolloutUndoAnnotation: id}
	if strings.HasPrefix(ks.Annotations[v1alpha1.RolloutPromoteAnnotation], id+"/") {
		annotations[v1alpha1.RolloutPromoteAnnotation] = nil
	}
	return ask(ctx, o, hub, ks, request{
		title:       fmt.Sprintf("take %s back from %s: send %s", revision, o.Name, back),
		annotations: annotations,
		followed:    func(ks *v1alpha1.Kustomization) (string, error) { return undone(ks.Status.Rollout, id) },
	})
}

// sure asks for confirmation at a terminal.
func (o *Options) sure(ctx context.Context, question string) (bool, error) {
	if o.Yes || !o.IO.CanPrompt() {
		return true, nil
	}
	yes, err := o.IO.Confirm(ctx, question)
	if err == nil && !yes {
		err = errors.New("nothing was changed")
	}
	return yes, err
}

// wayBack returns which clusters go back to what: "2 clusters back to main@sha1:1234567". An error says
// that there are none.
func wayBack(ctx context.Context, o *Options, hub *factory.Hub, ks *v1alpha1.Kustomization) (string, error) {
	ctx, cancel := o.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r := ks.Status.Rollout
	if r.Phase == v1alpha1.RolloutRollingBack || r.Phase == v1alpha1.RolloutRolledBack {
		return "", factory.Next(fmt.Errorf("%s is being taken back already: %s", short(r.Revision), standing(r)), "'skerry rollout status %s' follows it", o.again())
	}
	var list v1alpha1.AssignmentList
	if err := hub.List(ctx, &list, factory.InClusterNamespaces(ks)...); err != nil {
		return "", fmt.Errorf("cannot list what the clusters have: %w", err)
	}
	counts := fallbacks(list.Items, ks)
	if len(counts) == 0 {
		return "", factory.Next(fmt.Errorf("there is nothing to go back to: no cluster with %s had anything verified before it", short(r.Revision)),
			"revert the commit in Git")
	}
	return strings.Join(counts, ", "), nil
}

// fallbacks counts the clusters that the undo of the change sends back, by what they would go back to.
func fallbacks(assignments []v1alpha1.Assignment, ks *v1alpha1.Kustomization) []string {
	counts := map[string]int32{}
	r, rendered := ks.Status.Rollout, ks.Status.Rendered
	for i := range assignments {
		for j := range assignments[i].Spec.Entries {
			e := &assignments[i].Spec.Entries[j]
			has := v1alpha1.ResolveName(assignments[i].Namespace, e.Name) == client.ObjectKeyFromObject(ks) && (e.Change == r.ID || report.RevisionOf(rendered, "", e.Digest) == r.Revision)
			if has && rollout.Returns(e, r, r.ID) {
				counts[short(report.RevisionOf(rendered, e.Fallback.Revision, e.Fallback.Digest))]++
			}
		}
	}
	var out []string
	for revision, n := range counts {
		out = append(out, fmt.Sprintf("%s back to %s", countOf(n), revision))
	}
	slices.Sort(out)
	return out
}

// undone reports whether the hub has begun to take the change with that id back.
func undone(r *v1alpha1.RolloutStatus, id string) (string, error) {
	switch {
	case r == nil || r.ID != id:
		return "", factory.Next(errors.New("a newer change has come in between, which is not taken back"), "'skerry rollout status' shows it; run this again to take that one back")
	case r.Phase == v1alpha1.RolloutRollingBack, r.Phase == v1alpha1.RolloutRolledBack:
		return standing(r), nil
	}
	return "", errNotYet
}
