// Package edges leads from the command line to the edge clusters, with the kubeconfigs that the hub has and
// as far as the user may read them.
package edges

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/kubeconfig"
)

// UnknownError is why a cluster cannot be asked from here. It is no error of the cluster.
type UnknownError struct{ Reason, Message string }

func (e *UnknownError) Error() string { return e.Message }

// inflight bounds the requests under way to one cluster, which may be small.
const inflight = 8

// Connect returns a client for the cluster that a Cluster stands for; nil stands for the hub's own, which
// has no Cluster before anything runs there. The caller closes it. An *UnknownError means that there is no
// way to it from here.
func Connect(ctx context.Context, f *factory.Factory, hub *factory.Hub, c *v1alpha1.Cluster) (*edge.Client, error) {
	cfg, err := Config(ctx, hub, c)
	if err != nil {
		return nil, err
	}
	made, err := edge.New(cfg, edge.Options{Timeout: 30 * time.Second, Inflight: inflight, UserAgent: "skerry/" + f.Version})
	if err != nil {
		return nil, fmt.Errorf("cannot connect: %w", err)
	}
	return made, nil
}

// Config returns the connection of a Cluster. It asks the cluster nothing.
func Config(ctx context.Context, hub *factory.Hub, c *v1alpha1.Cluster) (*rest.Config, error) {
	switch {
	case c == nil, c.Spec.KubeConfig == nil && c.Name == v1alpha1.HubCluster:
		return hub.Config, nil
	case c.Spec.KubeConfig == nil:
		return nil, &UnknownError{v1alpha1.ReachedByAgentReason, "it reaches the hub by an agent, and cannot be reached from here"}
	}
	ref := c.Spec.KubeConfig.SecretRef
	secret := &corev1.Secret{}
	err := hub.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: ref.Name}, secret)
	switch {
	case apierrors.IsNotFound(err):
		return nil, &UnknownError{v1alpha1.SecretNotFoundReason, "there is no Secret " + ref.Name + " with its kubeconfig"}
	case apierrors.IsForbidden(err):
		return nil, &UnknownError{v1alpha1.ForbiddenReason, "these credentials may not read the Secret " + ref.Name + " with its kubeconfig"}
	case err != nil:
		return nil, fmt.Errorf("cannot read the Secret %s: %w", ref.Name, err)
	}
	data, err := kubeconfig.Pick(secret.Name, secret.Data, ref.Key)
	if err != nil {
		return nil, &UnknownError{v1alpha1.InvalidKubeConfigReason, err.Error()}
	}
	cfg, _, err := kubeconfig.Parse(data)
	if err != nil {
		return nil, &UnknownError{v1alpha1.InvalidKubeConfigReason, "the Secret " + secret.Name + ": " + err.Error()}
	}
	return cfg, nil
}
