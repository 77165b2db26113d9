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

// patience is how long a state in which only a change can help is looked at before it is believed: a
// hub may see a GitRepository a moment before its Secret.
const patience = 10 * time.Second

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
	want, stand := r.pushed.Revision(), stand{}
	var doubt *time.Timer
	err = wait.Until(bounded, r.hub, []client.Object{source, root}, func() (bool, error) {
		if stand = standOf(source, root, want); stand.elsewhere {
			want = r.newest(bounded, want)
			stand = standOf(source, root, want)
		}
		if stand.done {
			return true, nil
		}
		s.Notef("%s", stand.note)
		if doubt != nil {
			doubt.Stop()
		}
		if stand.stalled {
			doubt = time.AfterFunc(patience, giveUp)
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
	case stand.stalled && errors.Is(err, context.Canceled) && ctx.Err() == nil:
		return factory.Next(errors.New(stand.note), "repair it and run this again; 'skerry status' shows the same")
	case errors.Is(err, context.DeadlineExceeded):
		return r.tooLong(ctx, stand)
	}
	return err
}

// stand says how far the hub is.
type stand struct {
	done bool
	// stalled means that only a change can help.
	stalled bool
	// elsewhere means that the hub is done with another commit than the one pushed.
	elsewhere bool
	note      string
}

// standOf reads it from what the hub wrote. It is pure.
func standOf(source *v1alpha1.GitRepository, root *v1alpha1.Kustomization, want string) stand {
	fetched := meta.FindStatusCondition(source.Status.Conditions, v1alpha1.ReadyCondition)
	ready := meta.FindStatusCondition(root.Status.Conditions, v1alpha1.ReadyCondition)
	switch {
	case fetched == nil:
		return stand{note: "no hub has looked at the GitRepository yet"}
	case source.Status.LastHandledReconcileAt != v1alpha1.ReconcileRequest(source.Annotations):
		return stand{note: "the hub has not looked at the GitRepository yet"}
	case fetched.Status != metav1.ConditionTrue:
		return stand{note: "GitRepository: " + said(fetched), stalled: isStalled(source)}
	case ready == nil || root.Status.ObservedGeneration < root.Generation:
		return stand{note: "the hub has not looked at the Kustomization yet"}
	case ready.Status == metav1.ConditionTrue && root.Status.LastAppliedRevision == want:
		return stand{done: true}
	case ready.Status == metav1.ConditionTrue && root.Status.LastAppliedRevision == revisionOf(source):
		return stand{note: "the hub is at " + root.Status.LastAppliedRevision, elsewhere: true}
	case root.Status.LastAttemptedRevision != want:
		return stand{note: "the hub has fetched " + revisionOf(source)}
	}
	return stand{note: "Kustomization: " + said(ready), stalled: isStalled(root)}
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

func said(c *metav1.Condition) string { return strings.TrimSuffix(c.Reason+": "+c.Message, ": ") }

// newest returns what the branch is at now: another user may have pushed on top meanwhile, and the hub
// goes on to the newest.
func (r *run) newest(ctx context.Context, want string) string {
	head, err := r.remote.Head(ctx, r.Branch)
	if err != nil || head == "" {
		return want // which is still wanted; the wait has an end of its own
	}
	return r.Branch + "@sha1:" + head
}

func (r *run) tooLong(ctx context.Context, stand stand) error {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := fmt.Errorf("the hub did not apply %s within %s: %s", r.pushed.Revision(), r.Timeout(5*time.Minute), stand.note)
	if r.CRDsOnly {
		return factory.Next(err, "start skerry-hub with a kubeconfig of this cluster and --hub-id %s, then run this again", r.set.hubID)
	}
	return factory.Next(err, "%s; kubectl -n %s describe pods; kubectl -n %s logs deployment/%s; then run this again",
		diagnose.Hub(late, r.hub), name, name, diagnose.HubName)
}
