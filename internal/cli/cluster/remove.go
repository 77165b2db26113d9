package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/apply"
	"github.com/skerry-dev/skerry/internal/cli/diagnose"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/wait"
	"github.com/skerry-dev/skerry/internal/text"
)

// RemoveOptions of the command.
type RemoveOptions struct {
	*factory.Factory
	Name           string
	DeletionPolicy string
	Wait           bool
	Yes            bool
}

// NewCmdRemove returns the command; runF replaces what it runs, for tests.
func NewCmdRemove(f *factory.Factory, runF func(context.Context, *RemoveOptions) error) *cobra.Command {
	o := &RemoveOptions{Factory: f}
	if runF == nil {
		runF = runRemove
	}
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove an edge cluster from the hub",
		Long: `Remove an edge cluster from the hub. What becomes of what stands there is said by
--deletion-policy, or else by spec.deletionPolicy of the Cluster:

  delete   every object that was applied is deleted, and then what the hub keeps there
  orphan   the objects stay and belong to nobody; what the hub keeps there goes
  abandon  nothing is sent to the cluster

Delete and orphan need the cluster's answer. One that does not answer is waited for for five
minutes and then forgotten, with an event that names what stays there. To abandon one at once
that is being removed already, run this with --deletion-policy abandon.

The credentials that 'skerry cluster join' made go too: the Secret here, and the account there.`,
		Example: `  skerry cluster remove shop-1
  skerry cluster remove shop-1 --deletion-policy delete --wait --yes
  skerry cluster remove shop-2 --deletion-policy abandon`,
		Args:              factory.OneName,
		ValidArgsFunction: f.CompleteName(func() client.ObjectList { return &v1alpha1.ClusterList{} }),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			return runF(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.DeletionPolicy, "deletion-policy", "", "delete, orphan or abandon (default: what the Cluster says)")
	flags.BoolVar(&o.Wait, "wait", false, "wait until the Cluster is gone")
	flags.BoolVarP(&o.Yes, "yes", "y", false, "do not ask before objects are deleted; without a terminal it is needed for that")
	_ = cmd.RegisterFlagCompletionFunc("deletion-policy", cobra.FixedCompletions([]string{"delete", "orphan", "abandon"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// deletionPolicies are the words of --deletion-policy.
var deletionPolicies = map[string]v1alpha1.ClusterDeletionPolicy{
	"delete": v1alpha1.ClusterDeletionDelete, "orphan": v1alpha1.ClusterDeletionOrphan, "abandon": v1alpha1.ClusterDeletionAbandon,
}

func runRemove(ctx context.Context, o *RemoveOptions) error {
	asked, known := deletionPolicies[strings.ToLower(o.DeletionPolicy)]
	if o.DeletionPolicy != "" && !known {
		return factory.Usagef("--deletion-policy must be delete, orphan or abandon")
	}
	if o.Name == v1alpha1.HubCluster {
		return factory.Next(factory.Usagef("the cluster %s is the hub's own, and is made again when something is to run there", o.Name),
			"delete what is not to run there any more")
	}
	ctx, cancel := o.WithTimeout(ctx, 6*time.Minute)
	defer cancel()
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	c, err := findCluster(ctx, o, hub)
	if err != nil {
		return err
	}
	policy := c.Spec.DeletionPolicy
	if known {
		policy = asked
	}
	if policy == "" {
		policy = v1alpha1.ClusterDeletionOrphan
	}
	if err := announce(ctx, o, hub, c, policy); err != nil {
		return err
	}
	steps := o.Steps()
	if err := steps.Do("hub", func(s *factory.Step) error { return deleteCluster(ctx, hub, c, policy, s) }); err != nil {
		return err
	}
	if !o.Wait {
		return nil
	}
	return steps.Do("cluster "+o.Name, func(s *factory.Step) error { return waitForRemoval(ctx, hub, c, s) })
}

func findCluster(ctx context.Context, o *RemoveOptions, hub *factory.Hub) (*v1alpha1.Cluster, error) {
	c := &v1alpha1.Cluster{}
	if err := o.GetCluster(ctx, hub, o.Name, c); err != nil {
		return nil, err
	}
	if owner := c.Labels[v1alpha1.OwnerLabel]; owner != "" && c.DeletionTimestamp.IsZero() {
		return nil, factory.Next(fmt.Errorf("the cluster %s is kept from Git by %s, which would make it again", o.Name, owner),
			"set spec.deletionPolicy there if need be, and then delete it in Git")
	}
	return c, nil
}

// announce prints what is about to happen, and asks before objects are deleted.
func announce(ctx context.Context, o *RemoveOptions, hub *factory.Hub, c *v1alpha1.Cluster, policy v1alpha1.ClusterDeletionPolicy) error {
	a := &v1alpha1.Assignment{}
	if err := hub.Get(ctx, client.ObjectKeyFromObject(c), a); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("cannot read what is assigned to %s: %w", c.Name, err)
	}
	for _, line := range summary(c, a, policy) {
		o.IO.Progressf("%s", line)
	}
	if policy != v1alpha1.ClusterDeletionDelete || o.Yes || deletesAlready(c) {
		return nil
	}
	if !o.IO.CanPrompt() {
		return factory.Usagef("there is no terminal to ask at whether all of it is to be deleted: --yes is needed")
	}
	yes, err := o.IO.Confirm(ctx, "Delete all of it?")
	if err != nil {
		return err
	}
	if !yes {
		return errors.New("nothing was changed")
	}
	return nil
}

// deletesAlready reports whether the Cluster is being removed with all that stands there: to run the command again
// changes nothing.
func deletesAlready(c *v1alpha1.Cluster) bool {
	return !c.DeletionTimestamp.IsZero() && c.Spec.DeletionPolicy == v1alpha1.ClusterDeletionDelete
}

// summary returns what becomes of what stands on a cluster.
func summary(c *v1alpha1.Cluster, a *v1alpha1.Assignment, policy v1alpha1.ClusterDeletionPolicy) []string {
	objects := int32(0)
	for i := range a.Status.Entries {
		objects += a.Status.Entries[i].Objects.Applied
	}
	what := text.Count(int(objects), "object") + " of " + text.Count(len(a.Spec.Entries), "kustomization")
	consequence := map[v1alpha1.ClusterDeletionPolicy]string{
		v1alpha1.ClusterDeletionDelete:  "are deleted there, then the hub's inventories, claim and account",
		v1alpha1.ClusterDeletionOrphan:  "stay there and belong to nobody; the hub's inventories, claim and account are deleted",
		v1alpha1.ClusterDeletionAbandon: "stay there, and so do the hub's inventories, claim and account; nothing is sent to it",
	}[policy]
	if c.Spec.Agent != nil {
		consequence = map[v1alpha1.ClusterDeletionPolicy]string{
			v1alpha1.ClusterDeletionDelete:  "are deleted there, then the hub's inventories and claim, and the agent",
			v1alpha1.ClusterDeletionOrphan:  "stay there and belong to nobody; the hub's inventories and claim are deleted, and the agent",
			v1alpha1.ClusterDeletionAbandon: "stay there, and its agent goes on putting back drift until its Deployment skerry-agent is deleted there; nothing is sent to it",
		}[policy]
	}
	lines := []string{fmt.Sprintf("cluster %s: %s: %s %s", c.Name, strings.ToLower(string(policy)), what, consequence)}
	if reach := apimeta.FindStatusCondition(c.Status.Conditions, v1alpha1.ReachableCondition); policy != v1alpha1.ClusterDeletionAbandon && (reach == nil || reach.Status != metav1.ConditionTrue) {
		lines = append(lines, "it does not answer: it is waited for for five minutes, and then forgotten")
	}
	return lines
}

// deleteCluster prints what is to become of what stands there, and then deletes the Cluster.
func deleteCluster(ctx context.Context, hub *factory.Hub, c *v1alpha1.Cluster, policy v1alpha1.ClusterDeletionPolicy, s *factory.Step) error {
	if c.Spec.DeletionPolicy != policy {
		body, err := json.Marshal(map[string]any{"spec": map[string]any{"deletionPolicy": policy}})
		if err != nil {
			return fmt.Errorf("cannot encode the change: %w", err)
		}
		if err := hub.Patch(ctx, c, client.RawPatch(types.MergePatchType, body), client.FieldOwner(apply.FieldManager)); err != nil {
			return fmt.Errorf("cannot set deletionPolicy of cluster %s: %w", c.Name, err)
		}
	}
	if !c.DeletionTimestamp.IsZero() {
		s.Donef("%s is being removed already, now with %s", c.Name, strings.ToLower(string(policy)))
		return nil
	}
	if err := hub.Delete(ctx, c, client.Preconditions{UID: &c.UID}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("cannot delete cluster %s: %w", c.Name, err)
	}
	s.Donef("cluster %s is being removed", c.Name)
	return nil
}

// waitForRemoval waits until the Cluster is gone, and sees to it that its credentials are: a hub
// without a garbage collector keeps what is not deleted by name.
func waitForRemoval(ctx context.Context, hub *factory.Hub, c *v1alpha1.Cluster, s *factory.Step) error {
	stand, uid := "the hub has not looked at it", c.UID
	live := &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: c.Name}}
	err := wait.Until(ctx, hub, []client.Object{live}, func() (bool, error) {
		if live.UID != uid {
			return true, nil
		}
		if ready := apimeta.FindStatusCondition(live.Status.Conditions, v1alpha1.ReadyCondition); ready != nil &&
			(ready.Reason == v1alpha1.RemovingReason || ready.Reason == v1alpha1.RetiringReason) {
			stand = ready.Message
			s.Notef("%s", stand)
		}
		return false, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return factory.Next(fmt.Errorf("the cluster %s is not gone yet: %s", c.Name, stand),
			"the hub goes on; to leave what stands there as it is, 'skerry cluster remove %s --deletion-policy abandon'; %s", c.Name, diagnose.Hub(late, hub))
	}
	if err != nil {
		return err
	}
	if err := deleteCredentials(ctx, hub, c); err != nil {
		return err
	}
	s.Donef("gone")
	return nil
}

// deleteCredentials deletes the Secret that the Cluster owned. One that the hub's cluster has deleted
// already, or that has another owner, is left.
func deleteCredentials(ctx context.Context, hub *factory.Hub, c *v1alpha1.Cluster) error {
	if c.Spec.KubeConfig == nil {
		return nil
	}
	secret := &corev1.Secret{}
	err := hub.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: c.Spec.KubeConfig.SecretRef.Name}, secret)
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read the cluster's credentials: %w", err)
	}
	for _, owner := range secret.OwnerReferences {
		if owner.UID == c.UID && len(secret.OwnerReferences) == 1 {
			if err := hub.Delete(ctx, secret, client.Preconditions{UID: &secret.UID}); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("cannot delete the cluster's credentials: %w", err)
			}
		}
	}
	return nil
}
