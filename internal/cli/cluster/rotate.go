package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/apply"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/link"
)

// NewCmdRotate returns the command; runF replaces what it runs, for tests.
func NewCmdRotate(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	if runF == nil {
		runF = runRotate
	}
	cmd := &cobra.Command{
		Use:   "rotate NAME",
		Short: "End the key of a cluster's agent, or the hub's token for a cluster, and make another",
		Long: `End the key of a cluster's agent at once, a live connection included, and let an agent join anew
with a token that serves once. What stands on the cluster stays, and its agent goes on correcting
drift there; it gets no news from the hub until it has joined with the new token.

With --from-kubeconfig the token is written to the cluster; else the Secret that holds it is
printed, for whoever applies it there.

For a cluster that the hub reaches, the ServiceAccount that join made there is made anew, which ends
every token of it within the ten seconds for which an API server remembers one, and the hub gets
another; that needs --from-kubeconfig.`,
		Example: `  # After a cluster was stolen or copied: give the key to one agent alone
  skerry cluster rotate ship-1 --from-kubeconfig ship-1.yaml

  # Or print what a person there applies within a day
  skerry cluster rotate ship-2 > ship-2-agent.yaml

  # End the token with which the hub reaches a cluster, and let the next one expire and be renewed
  skerry cluster rotate shop-1 --from-kubeconfig shop-1.yaml --token-lifetime 720h`,
		Args:              factory.OneName,
		ValidArgsFunction: f.CompleteName(func() client.ObjectList { return &v1alpha1.ClusterList{} }),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			return runF(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.FromKubeconfig, "from-kubeconfig", "", "kubeconfig of the edge cluster (default: print the Secret)")
	flags.StringVar(&o.FromContext, "from-context", "", "context of that kubeconfig (default: its current one)")
	flags.StringVar(&o.Agent.Gateway, "gateway", "", "URL at which the agent reaches the hub's gateway (default: what the hub is started with)")
	flags.DurationVar(&o.Agent.TokenFor, "token-for", 24*time.Hour, "how long the token of the agent lets it join")
	flags.DurationVar(&o.TokenLifetime, "token-lifetime", 0, "let the hub's token expire after this time, and the hub renew it before (default: as the one that ends)")
	_ = cmd.MarkFlagFilename("from-kubeconfig")
	return cmd
}

func runRotate(ctx context.Context, o *Options) error {
	ctx, cancel := o.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	steps := o.Steps()
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	c, err := rotated(ctx, o, hub)
	if err != nil {
		return err
	}
	if c.Spec.KubeConfig != nil {
		return rotateAccount(ctx, o, steps, hub, c)
	}
	o.Agent.Enabled = true
	if err := errors.Join(checkReach(o), o.Agent.check(o)); err != nil {
		return err
	}
	var there *edge
	if o.FromKubeconfig != "" { // an edge that does not answer must not lose the key that it has
		if there, err = loadEdge(o); err != nil {
			return err
		}
		if err := steps.Do("edge", func(s *factory.Step) error { return there.reach(ctx, s) }); err != nil {
			return err
		}
	}
	enrollment, err := gatewayOf(ctx, o, hub)
	if err != nil {
		return err
	}
	if err := steps.Do("hub", func(s *factory.Step) error {
		enrollment.Token, err = rotateKey(ctx, o, hub, c, s)
		return err
	}); err != nil {
		return err
	}
	secret, err := enrollmentSecret(hub, enrollment)
	if err != nil {
		return err
	}
	if there == nil {
		return printAgent(o, []*unstructured.Unstructured{secret})
	}
	return steps.Do("agent", func(s *factory.Step) error {
		if err := apply.All(ctx, there.client, []*unstructured.Unstructured{secret}, s); err != nil {
			return factory.EdgeError(err)
		}
		return nil
	})
}

// rotated returns the Cluster that is named.
func rotated(ctx context.Context, o *Options, hub *factory.Hub) (*v1alpha1.Cluster, error) {
	c := &v1alpha1.Cluster{}
	err := o.GetCluster(ctx, hub, o.Name, c)
	switch {
	case err != nil:
		return nil, err
	case !c.DeletionTimestamp.IsZero():
		return nil, errors.New("the cluster " + o.Name + " is being removed")
	case c.Spec.Agent == nil && c.Spec.KubeConfig == nil:
		return nil, fmt.Errorf("the cluster %s is the hub's own, which it reaches as itself", o.Name)
	}
	return c, nil
}

// rotateKey takes the key of the agent away, and returns the token with which one may join. One patch does both, so
// that nothing is lost in between.
func rotateKey(ctx context.Context, o *Options, hub *factory.Hub, c *v1alpha1.Cluster, s *factory.Step) (string, error) {
	token := rand.Text()
	body, err := rotation(c, token, o.Now().Add(o.Agent.TokenFor))
	if err != nil {
		return "", err
	}
	if err := hub.Patch(ctx, c, client.RawPatch(types.MergePatchType, body), client.FieldOwner(apply.FieldManager)); err != nil {
		return "", fmt.Errorf("cannot change cluster %s: %w", o.Name, err)
	}
	s.Donef("the key of the agent of %s is revoked; one may join anew", o.Name)
	return token, nil
}

// rotation is the merge patch that takes the key of an agent away and offers a token.
func rotation(c *v1alpha1.Cluster, token string, expires time.Time) ([]byte, error) {
	hash := link.HashToken(token)
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": c.UID, "resourceVersion": c.ResourceVersion},
		"spec": map[string]any{"agent": map[string]any{
			"publicKey": nil, "clusterUID": nil,
			"join": map[string]any{"tokenHash": hex.EncodeToString(hash[:]), "expires": metav1.NewTime(expires).UTC().Format(time.RFC3339)},
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("cannot encode the change: %w", err)
	}
	return body, nil
}

// enrollmentSecret is where an agent finds what it joins with.
func enrollmentSecret(hub *factory.Hub, e link.Enrollment) (*unstructured.Unstructured, error) {
	raw, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the enrollment: %w", err)
	}
	return apply.FromTyped(hub.Scheme(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: link.EnrollmentSecret, Labels: map[string]string{"app.kubernetes.io/name": "skerry-agent"}},
		Type:       corev1.SecretTypeOpaque, Data: map[string][]byte{link.EnrollmentKey: raw},
	})
}
