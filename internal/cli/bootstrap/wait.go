package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/diagnose"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/wait"
)

// stalledConfirmation is how long a state in which only a change can help is looked at before it is believed: a
// hub may see a GitRepository a moment before its Secret.
const stalledConfirmation = 10 * time.Second

// waitForHub waits until the status of the hub's objects shows that it has applied what was pushed. It asks nothing of the
// Deployment: a hub that runs elsewhere is as good, and an available Pod proves less.
func (r *run) waitForHub(ctx context.Context, s *factory.Step) error {
	source, root, err := r.readSync(ctx)
	if err != nil {
		return err
	}
	if _, err := r.request(ctx, source); err != nil {
		return err
	}
	bounded, giveUp := context.WithCancel(ctx)
	defer giveUp()
	want, state := r.pushed.Revision(), syncState{}
	var doubt *time.Timer
	err = wait.Until(bounded, r.hub, []client.Object{source, root}, func() (bool, error) {
		if state = syncStateOf(source, root, want); state.otherCommit {
			want = r.newest(bounded, want)
			state = syncStateOf(source, root, want)
		}
		if state.done {
			return true, nil
		}
		s.Notef("%s", state.note)
		if doubt != nil {
			doubt.Stop()
		}
		if state.stalled {
			doubt = time.AfterFunc(stalledConfirmation, giveUp)
		}
		return false, nil
	})
	if doubt != nil {
		doubt.Stop()
	}
	switch {
	case err == nil:
		s.Donef("the hub has applied %s", root.Status.LastAppliedRevision)
		return nil
	case state.stalled && errors.Is(err, context.Canceled) && ctx.Err() == nil:
		return factory.Next(errors.New(state.note), "repair it and run this again; 'skerry status' shows the same")
	case errors.Is(err, context.DeadlineExceeded):
		return r.tooLong(ctx, state)
	}
	return err
}

// syncState is how far the hub is.
type syncState struct {
	done bool
	// stalled means that only a change can help.
	stalled bool
	// otherCommit means that the hub is done with another commit than the one pushed.
	otherCommit bool
	note        string
}

// syncStateOf reads it from what the hub wrote. It is pure.
func syncStateOf(source *v1alpha1.GitRepository, root *v1alpha1.Kustomization, want string) syncState {
	fetched := meta.FindStatusCondition(source.Status.Conditions, v1alpha1.ReadyCondition)
	ready := meta.FindStatusCondition(root.Status.Conditions, v1alpha1.ReadyCondition)
	switch {
	case fetched == nil:
		return syncState{note: "no hub has looked at the GitRepository yet"}
	case source.Status.LastHandledReconcileAt != v1alpha1.ReconcileRequest(source.Annotations):
		return syncState{note: "the hub has not looked at the GitRepository yet"}
	case fetched.Status != metav1.ConditionTrue:
		return syncState{note: "GitRepository: " + conditionText(fetched), stalled: isStalled(source)}
	case ready == nil || root.Status.ObservedGeneration < root.Generation:
		return syncState{note: "the hub has not looked at the Kustomization yet"}
	case ready.Status == metav1.ConditionTrue && root.Status.LastAppliedRevision == want:
		return syncState{done: true}
	case ready.Status == metav1.ConditionTrue && root.Status.LastAppliedRevision == revisionOf(source):
		return syncState{note: "the hub is at " + root.Status.LastAppliedRevision, otherCommit: true}
	case root.Status.LastAttemptedRevision != want:
		return syncState{note: "the hub has fetched " + revisionOf(source)}
	}
	return syncState{note: "Kustomization: " + conditionText(ready), stalled: isStalled(root)}
}

func revisionOf(source *v1alpha1.GitRepository) string {
	if source.Status.Artifact == nil {
		return "nothing"
	}
	return source.Status.Artifact.Revision
}

func isStalled(o v1alpha1.Conditioned) bool {
	return meta.IsStatusConditionTrue(o.GetConditions(), v1alpha1.StalledCondition)
}

func conditionText(c *metav1.Condition) string {
	return strings.TrimSuffix(c.Reason+": "+c.Message, ": ")
}

// newest returns what the branch is at now: another user may have pushed on top meanwhile, and the hub
// goes on to the newest.
func (r *run) newest(ctx context.Context, want string) string {
	head, err := r.remote.Head(ctx, r.Branch)
	if err != nil || head == "" {
		return want // which is still wanted; the wait has an end of its own
	}
	return r.Branch + "@sha1:" + head
}

func (r *run) tooLong(ctx context.Context, state syncState) error {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := fmt.Errorf("the hub did not apply %s within %s: %s", r.pushed.Revision(), r.Timeout(5*time.Minute), state.note)
	if r.CRDsOnly {
		return factory.Next(err, "start skerry-hub with a kubeconfig of this cluster and --hub-id %s, then run this again", r.set.hubID)
	}
	return factory.Next(err, "%s; kubectl -n %s describe pods; kubectl -n %s logs deployment/%s; then run this again",
		diagnose.Hub(late, r.hub), name, name, diagnose.HubName)
}
